"""Streams the rows of CSV and TSV files."""

from __future__ import annotations

import csv
import io
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

from tsdae_kit.corpus.blocks import MAX_TEXT_BYTES, read_blocks
from tsdae_kit.corpus.decoding import block_encoding, decode_block
from tsdae_kit.corpus.files import convert_read_errors
from tsdae_kit.corpus.formats import ROWS_PER_BATCH, Format, Row, RowBatch
from tsdae_kit.errors import KitError

logger = logging.getLogger("tsdae_kit")
_DELIMITERS = (",", ";", "\t", "|")  # of CSV; the first one wins a tie
_SEPARATOR_LINE = re.compile(r"sep=(.)\s*")  # written by Excel before the header


class _Lines:
    """The lines of a text file, as they are read.

    Attributes:
        position: How many bytes of the file, as it lies on the disk, have been read.
    """

    def __init__(self, path: Path, file_format: Format) -> None:
        self._path, self._format = path, file_format
        self.position = 0

    def __iter__(self) -> Iterator[str]:
        codec = (block_encoding(self._format.encoding), self._format.errors)
        for block in read_blocks(self._path, self._format):
            self.position = block.position
            text = decode_block(block.content, str(self._path), block.first_line, codec)
            if "\r" in text and "\n" not in text:  # classic Mac OS
                text = text.replace("\r", "\n")
            yield from io.StringIO(text, newline="\n")  # its lines


def read_csv(path: Path, file_format: Format, kind: str) -> Iterator[RowBatch]:
    """Yield the rows of a CSV or TSV file.

    Python's own reader is used because it knows the line, and a quoted field may hold line ends. The first line shows
    which delimiter a CSV file has. Fields of TSV are not quoted, unless the settings say so. A file has no header if
    all columns asked for are numbers and its first line has none of these.

    Raises:
        KitError: Naming the line of an invalid row.
    """
    lines = _Lines(path, file_format)
    reader = _open_reader(lines, path, file_format, kind)
    quoted_rows = 0
    with convert_read_errors(path, lambda: f"line {reader.line_num}"):
        names, rows = _read_header(reader, file_format)
        selected = file_format.select(names, str(path))
        select_values = _selector([names.index(name) for name in selected])
        batch: list[Row] = []
        line_numbers: list[int] = []
        size = 0
        for row in rows:
            if not row:
                continue
            if len(row) != len(names):
                raise KitError(_wrong_width(f"{path}, line {reader.line_num}", len(row), len(names), kind))
            values = select_values(row)
            batch.append(dict(zip(selected, values)))  # noqa: B905  # of equal length; the check is slow
            line_numbers.append(reader.line_num)
            size += sum(map(len, values))
            if kind == "tsv":
                quoted_rows += any(map(_is_escaped, row)) or all(map(_is_enclosed, row))
            if len(batch) == ROWS_PER_BATCH or size > MAX_TEXT_BYTES:
                yield RowBatch(batch, line_numbers, lines.position)
                batch, line_numbers, size = [], [], 0
        yield RowBatch(batch, line_numbers, lines.position)
    if file_format.quoting == "auto" and quoted_rows:
        logger.warning(
            "!!! %s: in %s rows quotation marks seem to enclose the fields, and are read as part of the text. "
            "If they do, pass --quoting quotes.", path, f"{quoted_rows:,}"
        )  # fmt: skip


def _open_reader(lines: _Lines, path: Path, file_format: Format, kind: str) -> Any:
    """Return a reader of the rows (``_csv.reader`` has no public type); Excel's line ``sep=;`` is skipped."""
    csv.field_size_limit(MAX_TEXT_BYTES)  # a quote that is never closed would swallow the file
    quotes = file_format.quoting == "quotes" or (file_format.quoting == "auto" and kind == "csv")
    first_line = next(iter(_Lines(path, file_format)), "")
    separator = _SEPARATOR_LINE.fullmatch(first_line)
    delimiter = "\t" if kind == "tsv" else separator[1] if separator else _find_delimiter(first_line)
    reader = csv.reader(
        lines, delimiter=delimiter, strict=True, skipinitialspace=quotes and kind == "csv",
        quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
    )  # fmt: skip
    if separator:
        next(reader)
    return reader


def _find_delimiter(first_line: str) -> str:
    """Return the delimiter that is most frequent in the first line, outside of quotes."""
    unquoted = re.sub(r'"[^"]*"', "", first_line)
    return max(_DELIMITERS, key=unquoted.count)


def _read_header(reader: Iterator[list[str]], file_format: Format) -> tuple[list[str], Iterator[list[str]]]:
    """Return the names of the columns, and the rows."""
    first: list[str] = next((row for row in reader if row), [])
    columns = file_format.columns
    by_number = bool(columns) and all(column.isdecimal() for column in columns)
    if not file_format.header or (by_number and not set(columns) & set(first)):
        return [str(number) for number in range(1, len(first) + 1)], chain([first], reader)
    return first, reader


def _selector(places: Sequence[int]) -> Callable[[list[str]], Sequence[str]]:
    """Return a function that selects the fields at these places."""
    return itemgetter(*places) if len(places) > 1 else lambda row: (row[places[0]],)


def _is_enclosed(field: str) -> bool:
    return len(field) > 1 and field[0] == field[-1] == '"'


def _is_escaped(field: str) -> bool:
    """Return whether a program quoted the field: enclosed, the marks inside doubled. A quoted speech is a text."""
    return _is_enclosed(field) and '""' in field[1:-1] and '"' not in field[1:-1].replace('""', "")


def _wrong_width(where: str, fields: int, columns: int, kind: str) -> str:
    advice = "Quote fields that hold the delimiter, or pass --quoting none if quotation marks are text."
    if kind == "tsv":
        advice = "A text may hold no tab or line end; if fields are quoted, pass --quoting quotes."
    return f"{where}: {fields} fields where the first line has {columns}. {advice}"
