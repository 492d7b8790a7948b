"""Finds the files that are meant, opens them plain or compressed, and knows what kind each is.

A kind is told from the name, never guessed from the content: a guess would read one file of a folder
differently from the others without a word.
"""

from __future__ import annotations

import bz2
import glob
import gzip
import hashlib
import json
import logging
import lzma
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from tsdae_kit.errors import KitError

logger = logging.getLogger("tsdae_kit")

KINDS = {
    ".txt": "lines", ".text": "lines", ".jsonl": "json", ".ndjson": "json", ".csv": "csv", ".tsv": "tsv",
    ".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow",
}  # fmt: skip
_COMPRESSED = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zst": None}


def kind_of(path: Path) -> str | None:
    """Return lines, json, csv, tsv, parquet or arrow, or ``None`` for another name."""
    suffixes = path.suffixes
    if suffixes and suffixes[-1] in _COMPRESSED:
        return KINDS.get(suffixes[-2]) if len(suffixes) > 1 else None
    return KINDS.get(path.suffix)


def find_files(names: Sequence[str]) -> list[Path]:
    """Return the files meant by file names, folders (searched to the bottom) and globs, sorted within each.

    A folder saved by ``datasets`` gives the files it lists; a folder that is met twice is searched once.

    Raises:
        KitError: Naming every input that is missing, empty or a folder without texts.
    """
    found: dict[Path, Path] = {}  # by where they really are: one file given twice, or through links, is read once
    problems: list[str] = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            matches = _search(path)
            if not matches:
                problems.append(f"The folder {name} holds no texts ({', '.join(KINDS)}, also compressed)")
        elif path.exists():
            matches = [path]
        else:
            matches = sorted(Path(p) for p in glob.glob(name, recursive=True) if Path(p).is_file())  # noqa: PTH207
            if not matches:
                problems.append(f"There is no file {name}")
        problems += [f"The file {p} is empty" for p in matches if p.is_file() and p.stat().st_size == 0]
        for match in matches:
            found.setdefault(match.resolve(), match)
    if problems:
        raise KitError(". ".join(problems) + ". Name files of texts.")
    return list(found.values())


def _search(folder: Path) -> list[Path]:
    found: list[Path] = []
    others: set[str] = set()
    seen: set[tuple[int, int]] = set()

    def refuse(error: OSError) -> None:
        raise KitError(f"{error.filename}: {error.strerror}. Check its permissions, or name the files.") from error

    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        where = Path(place).stat()
        if (where.st_dev, where.st_ino) in seen:  # links that go round in a circle
            folders.clear()
            continue
        seen.add((where.st_dev, where.st_ino))
        folders.sort()
        listed = _listed(Path(place))
        for name in sorted(names):
            path = Path(place, name)
            if path.is_file() and kind_of(path) and (listed is None or name in listed):
                found.append(path)
            elif listed is None and not name.startswith("."):
                others.add(path.suffix or name)
    if found and others:
        logger.info("%s: files of other kinds are passed over (%s).", folder, ", ".join(sorted(others)[:8]))
    return sorted(found)


def _listed(folder: Path) -> set[str] | None:
    """Return the names of the data files in a folder saved by ``datasets`` (others there are its caches)."""
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        return {entry["filename"] for entry in state["_data_files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def as_file(name: str) -> Iterator[str]:
    """Yield a name for what can be read only once (standard input, a pipe): it is copied, as it is read twice."""
    path = Path(name)
    if name != "-" and (not path.exists() or path.is_dir() or path.is_file()):
        yield name
        return
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / ("standard input" if name == "-" else path.name)
        with copy.open("wb") as target:
            if name == "-":
                shutil.copyfileobj(sys.stdin.buffer, target)
            else:
                with path.open("rb") as source:
                    shutil.copyfileobj(source, target)
        yield str(copy)


@contextmanager
def open_stream(path: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Yield the file's bytes, decompressed, and the file below, whose position tells how far reading has come."""
    with path.open("rb") as below:
        if path.suffix == ".zst":
            import pyarrow

            stream: Any = pyarrow.CompressedInputStream(pyarrow.PythonFile(below), "zstd")
        elif opener := _COMPRESSED.get(path.suffix):
            stream = opener(below)
        else:
            stream = below
        yield cast("IO[bytes]", stream), below


def content_digest(paths: Sequence[Path]) -> str:
    """Return a digest of the files' bytes and kinds, in order (not their names: a moved corpus is the same corpus)."""
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        try:
            with path.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise KitError(f"{path} cannot be read ({error.strerror}). Check its permissions.") from error
        digest.update(f"\0end of a file of {kind_of(path)}\0".encode())
    return digest.hexdigest()
