"""Text files in: finds them and streams their lines, one text per line, plain or gzip-compressed.

Lines are decoded one at a time so that a wrong byte is reported with its file and line, and so that
memory does not depend on the file's size.
"""

from __future__ import annotations

import glob
import gzip
import hashlib
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, cast

from tsdae_kit.settings import KitError

SUFFIXES = (".txt", ".text", ".txt.gz", ".text.gz")


def find_files(names: Sequence[str]) -> list[Path]:
    """Return the files meant by file names, folders (searched to the bottom) and globs, sorted within each.

    Raises:
        KitError: Naming every input that is missing, empty or a folder without text.
    """
    found: list[Path] = []
    problems: list[str] = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            matches = sorted(p for p in path.rglob("*") if p.is_file() and p.name.endswith(SUFFIXES))
            if not matches:
                problems.append(f"The folder {name} holds no text ({', '.join(SUFFIXES)})")
        elif path.exists():
            matches = [path]
        else:
            matches = sorted(Path(p) for p in glob.glob(name, recursive=True) if Path(p).is_file())  # noqa: PTH207
            if not matches:
                problems.append(f"There is no file {name}")
        problems += [f"The file {p} is empty" for p in matches if p.stat().st_size == 0]
        found += matches
    if problems:
        raise KitError(". ".join(problems) + ". Name text files with one text per line.")
    return list(dict.fromkeys(found))


def _open(path: Path) -> IO[bytes]:
    # The caller closes it.
    return cast("IO[bytes]", gzip.open(path) if path.name.endswith(".gz") else path.open("rb"))


def read_lines(path: Path, errors: str) -> Iterator[str]:
    """Yield the file's lines, without their ends.

    Args:
        path: A text file in UTF-8, with or without a byte-order mark, plain or gzip.
        errors: ``strict`` or ``replace``, for bytes that are not UTF-8.

    Raises:
        KitError: Naming the file, and for a wrong byte its line.
    """
    number = 0
    try:
        with _open(path) as stream:
            for number, line in enumerate(stream, start=1):
                if b"\0" in line:
                    raise KitError(
                        f"{path}, line {number}: it holds a zero byte, so it is no UTF-8 text. Convert the file."
                    )
                yield line.decode("utf-8-sig" if number == 1 else "utf-8", errors).rstrip("\r\n")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise KitError(
            f"{path}, line {number}: the byte 0x{byte:02x} is not UTF-8. "
            "Convert the file, or pass --encoding-errors replace."
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise KitError(f"{path}, after line {number}: {error}. Check that the file is whole and readable.") from error


def content_digest(paths: Sequence[Path]) -> str:
    """Return a digest of the files' bytes, in order (not of their names: a moved corpus is the same corpus)."""
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        try:
            with path.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise KitError(f"{path} cannot be read ({error.strerror}). Check its permissions.") from error
        digest.update(b"\0end of file\0")
    return digest.hexdigest()
