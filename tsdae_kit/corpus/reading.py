"""Streams files as chunks of about a megabyte.

Bytes are only cut at line ends here, which is fast; decoding and JSON (:mod:`tsdae_kit.corpus.parsing`) are
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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsdae_kit.config.settings import ReadingSettings
from tsdae_kit.corpus.files import kind_of, open_stream
from tsdae_kit.errors import KitError

if TYPE_CHECKING:
    from collections.abc import Collection

CHUNK = 1 << 20
LONGEST = 64 << 20  # a "line" beyond this is a file without line ends, which would fill the memory
ID_COLUMNS = ("id", "_id")
TEXT, TITLE = "text", "title"
# UTF-32's little-endian mark begins with that of UTF-16.
_MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF16_LE: "utf-16",
          codecs.BOM_UTF16_BE: "utf-16"}  # fmt: skip


@dataclass(frozen=True)
class Format:
    """How the files are written, and what of them is read.

    Attributes:
        encoding: As the setting of this name.
        errors: As ``encoding_errors``.
        quoting: As the setting of this name.
        columns: Columns that hold the text. Without any, ``text``, with ``title`` before it where there is one.
        all_columns: Whether each row is read whole, whatever its columns.
        header: Whether the first line of CSV and TSV names the columns; without, they are called 1, 2, 3.
        paragraphs: Whether blank lines part the texts of plain text.
        advice: What to do about a file whose column of text is not known, by the flags of the command that reads.
    """

    encoding: str = ReadingSettings.encoding
    errors: str = ReadingSettings.encoding_errors
    quoting: str = ReadingSettings.quoting
    columns: tuple[str, ...] = ()
    all_columns: bool = False
    header: bool = True
    paragraphs: bool = False
    advice: str = "Pass --column NAME."

    @classmethod
    def of(cls, settings: ReadingSettings) -> Format:
        """Return the format that a command's settings describe."""
        return cls(settings.encoding, settings.encoding_errors, settings.quoting)

    def select(self, names: Collection[str], where: str) -> list[str]:
        """Return those of a file's columns that are read: texts in their order, then the document's id.

        Raises:
            KitError: If one that must be there is missing, or two have one name.
        """
        present = list(names)
        if self.all_columns:
            selected = present
        else:
            for column in self.columns or (TEXT,):
                if column not in present:
                    raise no_column(where, column, present, self.advice)
            texts = self.columns or [*find_title(present), TEXT]
            selected = [*texts, *[key for key in ID_COLUMNS if key in present and key not in texts][:1]]
        twice = next((name for name in selected if present.count(name) > 1), None)
        if twice is not None:
            raise KitError(f"{where}: {present.count(twice)} columns are called {twice!r}. Rename all but one.")
        return selected


DEFAULT = Format()


def find_title(names: Collection[str]) -> list[str]:
    """Return the column of titles, whatever its case, if there is one."""
    return [TITLE] if TITLE in names else [name for name in names if name.lower() == TITLE][:1]


@dataclass(frozen=True)
class Chunk:
    """Some whole texts or rows of one file.

    Attributes:
        path: The file, for messages.
        kind: What ``content`` is: ``lines`` or ``json`` as bytes, or ``rows``, parsed already.
        file: The file's number in the input, from 1.
        first: The number of its first line or row, from 1.
        content: The bytes, or rows by column.
        lines: The line (or row) of each of the rows.
        encoding: Of the bytes.
        position: Bytes of the input read by then, of all files, as they are on the disk.
    """

    path: str
    kind: str
    file: int
    first: int
    content: bytes | list[Row]
    lines: Sequence[int]
    encoding: str
    position: int


Row = dict[str, Any]
Part = tuple[bytes | list[Row], Sequence[int], int]  # content, lines of the rows, bytes read by then


def read_chunks(paths: Sequence[Path], form: Format, first_file: int = 1) -> Iterator[Chunk]:
    """Yield everything in the files, in order; the first has the number ``first_file``.

    Raises:
        KitError: Naming the file and the line where reading ends.
    """
    position = 0
    for file, path in enumerate(paths, start=first_file):
        kind = kind_of(path) or "lines"
        encoding = _find_encoding(path, form) if kind in ("lines", "json", "csv", "tsv") else form.encoding
        known = replace(form, encoding=encoding)
        first = 1
        for content, lines, read in _read_parts(path, known, kind):
            name = kind if isinstance(content, bytes) else "rows"
            yield Chunk(str(path), name, file, first, content, lines, encoding_of_blocks(encoding), position + read)
            first += len(content) if isinstance(content, list) else content.count(b"\n") + (content[-1:] != b"\n")
        position += path.stat().st_size


def _read_parts(path: Path, form: Format, kind: str) -> Iterator[Part]:
    from tsdae_kit.corpus.tables import read_csv, read_json_array, read_tables

    if kind in ("csv", "tsv"):
        return read_csv(path, form, kind)
    if kind in ("parquet", "arrow"):
        return read_tables(path, form, kind)
    if kind == "json" and first_byte(path, form) == b"[":
        return read_json_array(path, form)
    ends = (b"\n\n", b"\n\r\n") if form.paragraphs and kind == "lines" else (b"\n",)
    return ((block, (), position) for block, _, position in read_blocks(path, form, ends))


@contextmanager
def readable(path: Path, place: Any) -> Iterator[None]:
    """Turn what a damaged file makes the libraries raise into one line; ``place()`` says how far it was read."""
    try:
        yield
    except (OSError, EOFError, zlib.error, lzma.LZMAError, csv.Error, ValueError, KeyError,
            NotImplementedError, MemoryError) as error:  # the last three: pyarrow, of damaged files  # fmt: skip
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise KitError(f"{path}, after {place()}: {reason}. Check that the file is whole and readable.") from error


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


def _find_encoding(path: Path, form: Format) -> str:
    """Return the file's encoding: where the setting is UTF-8, a mark of UTF-16 or UTF-32 says otherwise."""
    if not is_utf8(form.encoding):
        return form.encoding
    with readable(path, lambda: "line 0"), open_stream(path) as (stream, _):
        start = stream.read(4)
    return next((encoding for mark, encoding in _MARKS.items() if start.startswith(mark)), form.encoding)


def encoding_of_blocks(encoding: str) -> str:
    """Return how the blocks of a file are encoded: as the file is, where a line end is one byte; else in UTF-8."""
    return encoding if "\n".encode(encoding) == b"\n" else "utf-8"


def first_byte(path: Path, form: Format) -> bytes:
    """Return the first byte of a text file that is no white space."""
    for block, _, _ in read_blocks(path, form):
        if found := block.lstrip()[:1]:
            return found
    return b""


def _as_ascii_based(path: Path, stream: Any, form: Format) -> Iterator[bytes]:
    """Yield the stream in blocks; encodings whose line end is no single byte (UTF-16) are turned into UTF-8."""
    if encoding_of_blocks(form.encoding) == form.encoding:
        start = True
        while block := stream.read(CHUNK):
            yield block.removeprefix(codecs.BOM_UTF8) if start and is_utf8(form.encoding) else block
            start = False
        return
    yield from (text.encode("utf-8", "replace") for text in decoded_blocks(path, stream, form))


def decoded_blocks(path: Path, stream: Any, form: Format) -> Iterator[str]:
    """Yield a stream as text, in blocks that may end anywhere.

    Raises:
        KitError: Naming the line of bytes that the encoding forbids.
    """
    decoder = codecs.getincrementaldecoder("utf-8-sig" if is_utf8(form.encoding) else form.encoding)(form.errors)
    lines = 0
    while True:
        block = stream.read(CHUNK)
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode(form.encoding, "ignore")
            raise wrong_byte(str(path), lines + before.count("\n") + 1, error, form.encoding) from error
        yield text if lines or text[:1] != "\ufeff" else text[1:]
        lines += text.count("\n")
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


def no_column(where: str, column: str, names: Collection[str], advice: str) -> KitError:
    """Return the error that lists the columns there are."""
    listed = ", ".join(map(str, names)) or "none"
    return KitError(f"{where}: there is no column {column!r} (there are: {listed:.300}). {advice}")
