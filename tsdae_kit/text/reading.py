"""Streams files as chunks of about a megabyte.

Bytes are only cut at line ends here, which is fast; decoding and JSON (:mod:`tsdae_kit.text.parsing`) are
done by all cores. What goes wrong names the file and the line (a row, in formats that have no lines). Chunks depend
on the files alone, so that the result is the same for any number of workers.
"""

from __future__ import annotations

import codecs
import csv
import lzma
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsdae_kit.errors import KitError
from tsdae_kit.text.files import kind_of, open_stream

CHUNK = 1 << 20
LONGEST = 64 << 20  # a "line" beyond this is a file without line ends, which would fill the memory
ID_COLUMNS = ("id", "_id")


@dataclass(frozen=True)
class Format:
    """How the files are written: the settings of the same names."""

    column: str
    encoding: str
    errors: str
    paragraphs: bool


@dataclass(frozen=True)
class Chunk:
    """Some whole texts of one file.

    Attributes:
        path: The file, for messages.
        kind: What ``content`` is: ``lines`` or ``json`` as bytes, or ``rows``, texts already.
        file: The file's number in the input, from 1.
        first: The number of its first line or row, from 1.
        content: The texts.
        ids: The documents' own names, if the rows have them.
        position: Bytes of the input read by then, of all files, as they are on the disk.
    """

    path: str
    kind: str
    file: int
    first: int
    content: bytes | list[str | None]
    ids: list[Any] | None
    position: int


def read_chunks(paths: Sequence[Path], form: Format, first_file: int = 1) -> Iterator[Chunk]:
    """Yield everything in the files, in order; the first has the number ``first_file``.

    Raises:
        KitError: Naming the file and the line where reading ends.
    """
    position = 0
    for file, path in enumerate(paths, start=first_file):
        kind = kind_of(path) or ("json" if ".json" in path.suffixes else "lines")
        parts = _bytes(path, form, kind) if kind in ("lines", "json") else _rows(path, form, kind)
        first = 1
        for content, ids, read in parts:
            name = kind if isinstance(content, bytes) else "rows"
            yield Chunk(str(path), name, file, first, content, ids, position + read)
            count = len(content) if isinstance(content, list) else content.count(b"\n") + (content[-1:] != b"\n")
            first += count
        position += path.stat().st_size


Part = tuple[bytes | list[str | None], list[Any] | None, int]


@contextmanager
def readable(path: Path, place: Any) -> Iterator[None]:
    """Turn what a damaged file makes the libraries raise into one line; ``place()`` says how far it was read."""
    try:
        yield
    except (OSError, EOFError, zlib.error, lzma.LZMAError, csv.Error, ValueError, KeyError,
            NotImplementedError, MemoryError) as error:  # the last three: pyarrow, of damaged files  # fmt: skip
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise KitError(f"{path}, after {place()}: {reason}. Check that the file is whole and readable.") from error


def _bytes(path: Path, form: Format, kind: str) -> Iterator[Part]:
    ends = (b"\n\n", b"\n\r\n") if form.paragraphs and kind == "lines" else (b"\n",)
    yield from ((block, None, position) for block, _, position in read_blocks(path, form, ends))


def read_blocks(path: Path, form: Format, ends: Sequence[bytes] = (b"\n",)) -> Iterator[tuple[bytes, int, int]]:
    """Yield blocks of whole lines (or what else has these ends), the lines before each, and the bytes read by then."""
    lines, rest = 0, b""
    with readable(path, lambda: f"line {lines}"), open_stream(path) as (stream, below):
        for block in _as_ascii_based(path, stream, form):
            rest += block
            found = [(at, len(end)) for end in ends if (at := rest.rfind(end, max(len(rest) - len(block) - 3, 0))) >= 0]
            if found:
                cut = sum(max(found))
                whole, rest = rest[:cut], rest[cut:]
                yield whole, lines, below.tell()
                lines += whole.count(b"\n")
            elif len(rest) > LONGEST:
                raise KitError(
                    f"{path}, line {lines + 1}: no text ends within {LONGEST >> 20} MB. Put each text on a line."
                )
        if rest:
            yield rest, lines, below.tell()


def _as_ascii_based(path: Path, stream: Any, form: Format) -> Iterator[bytes]:
    """Yield the stream in blocks; encodings whose line end is no single byte (UTF-16) are turned into UTF-8."""
    if "\n".encode(form.encoding) == b"\n":
        start = True
        while block := stream.read(CHUNK):
            yield block.removeprefix(codecs.BOM_UTF8) if start and is_utf8(form.encoding) else block
            start = False
        return
    decoder = codecs.getincrementaldecoder(form.encoding)(form.errors)
    lines = 0
    while True:
        block = stream.read(CHUNK)
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode(form.encoding, "ignore")
            raise wrong_byte(str(path), lines + before.count("\n") + 1, error, form.encoding) from error
        lines += text.count("\n")
        yield text.encode("utf-8", "replace")
        if not block:
            return


def is_utf8(encoding: str) -> bool:
    """Return whether the name means UTF-8, however it is spelled."""
    return codecs.lookup(encoding).name == "utf-8"


def wrong_byte(path: str, line: int, error: UnicodeDecodeError, encoding: str) -> KitError:
    """Return the error for bytes that the encoding forbids."""
    byte, name = error.object[error.start], encoding.upper() if is_utf8(encoding) else encoding
    return KitError(
        f"{path}, line {line}: the byte 0x{byte:02x} is not {name}. "
        "Convert the file, pass its --encoding, or --encoding-errors replace."
    )


def no_column(where: str, column: str, found: Any) -> KitError:
    """Return the error that lists the columns there are."""
    listed = ", ".join(map(str, found)) or "none"
    return KitError(f"{where}: there is no column {column!r} (there are: {listed:.300}). Pass --column NAME.")


def _rows(path: Path, form: Format, kind: str) -> Iterator[Part]:
    from tsdae_kit.text.tables import read_csv, read_tables

    yield from read_csv(path, form, kind) if kind in ("csv", "tsv") else read_tables(path, form, kind)
