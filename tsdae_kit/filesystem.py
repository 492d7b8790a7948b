"""Folders and files that are whole or not there: written under another name, flushed, then renamed."""

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

_names: set[str] = set()  # held in this process
_released = threading.Condition()
os.register_at_fork(after_in_child=_names.clear)  # a child has its parent's memory, and none of its locks
_FOR_PEOPLE = {".md", ".html"}


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes ``path`` when the block ends well, and vanishes when it does not.

    A folder that ``path`` held before is replaced at that moment. A kill at any time leaves either the
    old folder, or the new one, or (between two renames) neither; never a part of one under the name.
    """
    path = path.resolve()  # "." has no name, and a link's target is what is meant
    staging = path.with_name(f".{path.name}.partial")
    replaced = path.with_name(f".{path.name}.replaced")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        yield staging
        for entry in [*staging.rglob("*"), staging]:
            flush(entry)
        shutil.rmtree(replaced, ignore_errors=True)
        if path.exists():
            path.rename(replaced)
        staging.rename(path)
        flush(path.parent)
        shutil.rmtree(replaced, ignore_errors=True)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def remove_leftovers(folder: Path) -> None:
    """Delete what killed processes left unfinished directly below ``folder``."""
    for suffix in ("partial", "replaced"):
        for leftover in folder.glob(f".*.{suffix}"):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path, wait: bool) -> Iterator[bool]:
    """Hold a lock on ``folder``, kept in a file beside it; yield whether it was got (always, with ``wait``).

    It holds between the threads of a process too. A POSIX record lock: it dies with its owner and forked children do
    not inherit it. (A lock of the package filelock would live on in a DataLoader's workers, which outlive a killed run
    by seconds.)

    Raises:
        KitError: If nothing can be written there.
    """
    folder = folder.resolve()
    with held(str(folder), wait) as alone:
        if not alone:
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
def held(name: str, wait: bool) -> Iterator[bool]:
    """Hold a name within this process; yield whether it was got (always, with ``wait``).

    A lock on a file holds between processes alone, and a process that closes the file again has lost it.
    """
    with _released:
        if wait:
            _released.wait_for(lambda: name not in _names)
        got = name not in _names
        _names.add(name)
    try:
        yield got
    finally:
        if got:
            with _released:
                _names.discard(name)
                _released.notify_all()


def flush(path: Path) -> None:
    """Make sure that a file's or folder's content has reached the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield where to write a file that becomes ``path`` when the block ends well: whole at every moment."""
    temporary = path.with_name(f".{path.name}.partial")
    try:
        yield temporary
        flush(temporary)
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
    """Return, of those names that are files or folders, a digest of the content: that of a copy is the same.

    In a folder, the files below it count by name and content; cards, pages and hidden files decide nothing.
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
    """See to it, before the work is done, that a file or folder can be written there; nothing is left behind.

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
    """Write a JSON file that is whole at every moment."""
    with atomic_file(path) as temporary:
        text = json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n"
        # A file's name may hold what UTF-8 cannot; the backslashes are JSON's own way to write it.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


LEFTOVERS = (".*.partial", ".*.partial/*", ".*.replaced/*", ".*.lock")  # of processes that were killed


def check_only_known_files(folder: Path, known: Collection[str]) -> None:
    """See to it that a folder holds nothing but what we wrote.

    Args:
        folder: May be missing.
        known: Patterns of the files' paths in it; a star stands for no slash.

    Raises:
        KitError: Naming up to three others.
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
    """Delete what :func:`check_only_known_files` knows, and folders that are empty then; what has come since stays."""
    ours = _known_files(folder, known)
    for path in ours:
        path.unlink()
    for place in sorted({place for path in ours for place in path.relative_to(folder).parents}, reverse=True):
        with suppress(OSError):  # something else is in it
            if place.parts:
                (folder / place).rmdir()


def _known_files(folder: Path, known: Collection[str]) -> list[Path]:
    """Return the files below a folder that a pattern matches, or that a killed process left."""
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
    """See to it that what is written in a folder, which may be anyone's, stays in it.

    Raises:
        KitError: If a link in it leads out of it.
    """
    inside = folder.resolve()
    for path in sorted(folder.iterdir()):
        if path.is_symlink() and not path.resolve().is_relative_to(inside):
            raise KitError(
                f"{path} is a link to {path.resolve()}, where the run would write. Put what it leads to in its place."
            )


def check_overwritable(path: Path, is_ours: Callable[[str], bool]) -> None:
    """See to it that a file about to be replaced is one that we wrote, or empty.

    Args:
        path: May be missing.
        is_ours: Tells it by its content.

    Raises:
        KitError: If it is another one, or no file.
    """
    if not path.exists():
        return
    with suppress(OSError, ValueError):
        if path.is_file() and (not (text := path.read_text(encoding="utf-8")) or is_ours(text)):
            return
    raise KitError(f"{path} exists and was not written by this command. Choose another --output, or delete it.")
