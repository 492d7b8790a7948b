"""Atomic folders and files (written under a temporary name, synced, renamed), locks, digests, output checks."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tsdae_kit.errors import KitError, first_line

_names: set[str] = set()  # locked in this process
_released = threading.Condition()
os.register_at_fork(after_in_child=_names.clear)  # a child has its parent's memory, and none of its locks
_FOR_PEOPLE = {".md", ".html"}


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder that is renamed to ``path`` when the block succeeds, and deleted when it fails.

    A folder that was at ``path`` is replaced at that moment. A kill at any time leaves the old folder, the new one, or
    (between two renames) neither; never a part of one under the name.
    """
    path = path.resolve()  # "." has no name, and a link's target is what is meant
    staging = path.with_name(f".{path.name}.partial")
    replaced = path.with_name(f".{path.name}.replaced")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        yield staging
        for entry in [*staging.rglob("*"), staging]:
            fsync_path(entry)
        shutil.rmtree(replaced, ignore_errors=True)
        if path.exists():
            path.rename(replaced)
        staging.rename(path)
        fsync_path(path.parent)
        shutil.rmtree(replaced, ignore_errors=True)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files and folders that killed processes left directly in ``folder``."""
    for suffix in ("partial", "replaced"):
        for leftover in folder.glob(f".*.{suffix}"):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


@contextmanager
def folder_lock(folder: Path, wait: bool) -> Iterator[bool]:
    """Lock ``folder`` through a file next to it; yield whether the lock was acquired (always, with ``wait``).

    The lock holds between threads too. It is a POSIX record lock: it is released when its owner dies, and forked
    children do not inherit it. (A lock of the package filelock would live on in a DataLoader's workers, which outlive a
    killed run by seconds.)

    Raises:
        KitError: If nothing can be written there.
    """
    folder = folder.resolve()
    with name_lock(str(folder), wait) as is_alone:
        if not is_alone:
            yield False
            return
        try:
            str(folder).encode()  # a name that is no UTF-8 ends in a traceback of pyarrow or safetensors
            folder.parent.mkdir(parents=True, exist_ok=True)
            handle = folder.with_name(f".{folder.name}.lock").open("a")
        except (OSError, ValueError) as error:  # a root folder has no name
            raise KitError(
                f"The folder {folder} cannot be written ({first_line(error)}). Choose another --output."
            ) from error
        with handle:
            try:
                fcntl.lockf(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except (BlockingIOError, PermissionError):
                yield False
                return
            yield True


@contextmanager
def name_lock(name: str, wait: bool) -> Iterator[bool]:
    """Lock a name within this process; yield whether the lock was acquired (always, with ``wait``).

    A lock on a file holds between processes alone, and a process loses it when it closes the file anywhere.
    """
    with _released:
        if wait:
            _released.wait_for(lambda: name not in _names)
        acquired = name not in _names
        _names.add(name)
    try:
        yield acquired
    finally:
        if acquired:
            with _released:
                _names.discard(name)
                _released.notify_all()


def fsync_path(path: Path) -> None:
    """Write a file's or folder's content through to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path that is renamed to ``path`` when the block succeeds: it is always complete."""
    temporary = path.with_name(f".{path.name}.partial")
    try:
        yield temporary
        fsync_path(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def path_digests(names: Iterable[str | Path]) -> dict[str, str]:
    """Return a digest of the content of each name that is a file or folder; a copy has the same digest.

    Of a folder, the names and contents of all files below it count, except model cards, pages and hidden files.
    """
    return {str(name): _digest(Path(name)) for name in names if Path(name).exists()}


def _digest(path: Path) -> str:
    if not path.is_dir():
        return sha256_of(path)
    inside = sorted((file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file())
    lines = [
        f"{name} {sha256_of(file)}\n" for name, file in inside
        if file.suffix not in _FOR_PEOPLE and not any(part.startswith(".") for part in name.split("/"))
    ]  # fmt: skip
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def check_writable(path: Path) -> None:
    """Check, before the work is done, that a file or folder can be written there; nothing is left behind.

    Raises:
        KitError: If it cannot.
    """
    try:
        place = next(folder for folder in path.absolute().parents if folder.exists())
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise KitError(
            f"{path} cannot be written ({error.strerror or first_line(error)}). Choose another --output."
        ) from error


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file that is complete at every moment."""
    with atomic_file(path) as temporary:
        text = json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n"
        # A file's name may hold what UTF-8 cannot; the backslashes are JSON's own way to write it.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


LEFTOVERS = (".*.partial", ".*.partial/*", ".*.replaced/*", ".*.lock")  # of processes that were killed


def check_only_known_files(folder: Path, known: Collection[str]) -> None:
    """Check that a folder holds only files that this command writes.

    Args:
        folder: May be missing.
        known: Patterns of the files' paths in it; a star stands for no slash.

    Raises:
        KitError: Naming up to three other files.
    """
    ours = set(_known_files(folder, known))
    others = [str(path.relative_to(folder)) for path in _files_below(folder) if path not in ours]
    if others:
        shown = ", ".join(others[:3]) + (f" and {len(others) - 3:,} more" if len(others) > 3 else "")
        raise KitError(
            f"{folder} holds {shown}, not written by this command: --overwrite deletes nothing there. "
            "Move that away, or choose another --output."
        )


def remove_known_files(folder: Path, known: Collection[str]) -> None:
    """Delete the known files of :func:`check_only_known_files`, and folders that are then empty; others stay."""
    ours = _known_files(folder, known)
    for path in ours:
        path.unlink()
    for place in sorted({place for path in ours for place in path.relative_to(folder).parents}, reverse=True):
        with suppress(OSError):  # something else is in it
            if place.parts:
                (folder / place).rmdir()


def _known_files(folder: Path, known: Collection[str]) -> list[Path]:
    """Return the files below a folder that match a pattern, or that a killed process left."""
    return [
        path for path in _files_below(folder)
        if any(_matches(path.relative_to(folder).parts, pattern) for pattern in known)
        or any(fnmatchcase(str(path.relative_to(folder)), pattern) for pattern in LEFTOVERS)
    ]  # fmt: skip


def _files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())


def _matches(parts: Sequence[str], pattern: str) -> bool:
    patterns = pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


def check_no_outside_links(folder: Path) -> None:
    """Check that no link in a folder, which may come from others, leads out of it.

    Raises:
        KitError: Naming the link.
    """
    inside = folder.resolve()
    for path in sorted(folder.iterdir()):
        if path.is_symlink() and not path.resolve().is_relative_to(inside):
            raise KitError(
                f"{path} is a link to {path.resolve()}, where the run would write. Put what it leads to in its place."
            )


def check_overwritable(path: Path, is_ours: Callable[[str], bool]) -> None:
    """Check that a file about to be replaced was written by this command, or is empty.

    Args:
        path: May be missing.
        is_ours: Recognises the content.

    Raises:
        KitError: If it was not, or is no file.
    """
    if not path.exists():
        return
    with suppress(OSError, ValueError):
        if path.is_file() and (not (text := path.read_text(encoding="utf-8")) or is_ours(text)):
            return
    raise KitError(f"{path} exists and was not written by this command. Choose another --output, or delete it.")
