"""Streams the rows of CSV, TSV, JSON lists, Parquet and Arrow files; a wrong name lists the columns found."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

from tsdae_kit.corpus.files import open_stream
from tsdae_kit.corpus.parsing import decode, describe, json_decoder, json_fault, mend_characters
from tsdae_kit.corpus.reading import (
    ID_COLUMNS,
    LONGEST,
    TEXT,
    Format,
    Part,
    Row,
    decoded_blocks,
    encoding_of_blocks,
    read_blocks,
    readable,
)
from tsdae_kit.errors import KitError

logger = logging.getLogger("tsdae_kit")
ROWS = 4096
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}  # of CSV; the first of equals
_SEPARATOR = re.compile(r"sep=(.)\s*")
_SPACE = re.compile(r"[ \t\r\n]*")


class _Lines:
    """The lines of a text file, as they are read.

    Attributes:
        position: Bytes read by then, as they are on the disk.
    """

    def __init__(self, path: Path, form: Format) -> None:
        self._path, self._form = path, form
        self.position = 0

    def __iter__(self) -> Iterator[str]:
        codec = (encoding_of_blocks(self._form.encoding), self._form.errors)
        for block, before, position in read_blocks(self._path, self._form):
            self.position = position
            text = decode(block, str(self._path), before + 1, codec)
            if "\r" in text and "\n" not in text:  # classic Mac OS
                text = text.replace("\r", "\n")
            yield from io.StringIO(text, newline="\n")  # its lines


def read_csv(path: Path, form: Format, kind: str) -> Iterator[Part]:
    """Yield the rows; Python's own reader, because it names the line, and quoted fields may hold line ends.

    A delimiter of CSV other than the comma is recognised by the first line. Fields of TSV are not quoted, unless the
    settings say so. Where all columns asked for are numbers, and the first line has none of them, there is no header.

    Raises:
        KitError: Naming the line of a row that is wrong.
    """
    lines = _Lines(path, form)
    reader = _open_csv(lines, (path, form, kind))
    with readable(path, lambda: f"line {reader.line_num}"):
        first: list[str] = next((row for row in reader if row), [])
        rows: Iterator[list[str]] = reader
        names = first
        if not form.header or (_are_numbers(form.columns) and not set(form.columns) & set(first)):
            names, rows = [str(number) for number in range(1, len(first) + 1)], chain([first], reader)
        selected = form.select(names, str(path))
        places = [names.index(name) for name in selected]
        pick: Callable[[list[str]], Sequence[str]] = (
            itemgetter(*places) if len(places) > 1 else lambda row: (row[places[0]],)
        )
        part: list[Row] = []
        numbers: list[int] = []
        size = quoted = 0
        for row in rows:
            if not row:
                continue
            if len(row) != len(names):
                raise KitError(_wrong_width(f"{path}, line {reader.line_num}", len(row), len(names), kind))
            values = pick(row)
            part.append(dict(zip(selected, values)))  # noqa: B905  # of one length; checking it costs
            numbers.append(reader.line_num)
            size += sum(map(len, values))
            if kind == "tsv":
                quoted += any(map(_is_quoted, row)) or all(map(_is_enclosed, row))
            if len(part) == ROWS or size > LONGEST:
                yield part, numbers, lines.position
                part, numbers, size = [], [], 0
        yield part, numbers, lines.position
    # A program encloses all fields, or those with a mark in it, which it doubles; a quoted speech is a text.
    if form.quoting == "auto" and quoted:
        logger.warning(
            "!!! %s: in %s rows quotation marks seem to enclose the fields, and are read as part of the text. "
            "If they do, pass --quoting quotes.", path, f"{quoted:,}"
        )  # fmt: skip


def _open_csv(lines: _Lines, source: tuple[Path, Format, str]) -> Any:
    """Return a reader of the rows; a line ``sep=;`` at the start, which Excel writes, is read over."""
    path, form, kind = source
    csv.field_size_limit(LONGEST)  # a quote that is never closed would swallow the file
    quotes = form.quoting == "quotes" or (form.quoting == "auto" and kind == "csv")
    first = next(iter(_Lines(path, form)), "")
    said = _SEPARATOR.fullmatch(first)
    delimiter = "\t" if kind == "tsv" else said[1] if said else _find_delimiter(first)
    reader = csv.reader(
        lines, delimiter=delimiter, strict=True, skipinitialspace=quotes and kind == "csv",
        quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
    )  # fmt: skip
    if said:
        next(reader)
    return reader


def _find_delimiter(first: str) -> str:
    """Return what parts the fields of a CSV file's first line: what stands there most often outside of quotes."""
    plain = re.sub(r'"[^"]*"', "", first)
    return max(_DELIMITERS, key=plain.count)


def _are_numbers(columns: Sequence[str]) -> bool:
    return bool(columns) and all(column.isdecimal() for column in columns)


def _is_enclosed(field: str) -> bool:
    return len(field) > 1 and field[0] == field[-1] == '"'


def _is_quoted(field: str) -> bool:
    """Return whether a field is quoted as a writer of CSV does it: in marks, those within it doubled."""
    return _is_enclosed(field) and '""' in field[1:-1] and '"' not in field[1:-1].replace('""', "")


def _wrong_width(where: str, fields: int, columns: int, kind: str) -> str:
    advice = "Quote fields that hold the delimiter, or pass --quoting none if quotation marks are text."
    if kind == "tsv":
        advice = "A text may hold no tab or line end; if fields are quoted, pass --quoting quotes."
    return f"{where}: {fields} fields where the first line has {columns}. {advice}"


def read_json_array(path: Path, form: Format) -> Iterator[Part]:
    """Yield the rows of a JSON list of objects (or of texts, whose column is ``text``), without reading it whole.

    Raises:
        KitError: Naming the line of what is no JSON or no row.
    """
    with readable(path, lambda: "line 0"), open_stream(path) as (stream, below):
        part: list[Row] = []
        numbers: list[int] = []
        blocks = decoded_blocks(path, stream, form)
        if form.errors == "replace":
            blocks = (block.replace("\0", " ") for block in blocks)
        for line, value in _read_elements(path, blocks, form.all_columns):
            row = {TEXT: value} if isinstance(value, str) else value
            if not isinstance(row, dict):
                raise KitError(f"{path}, line {line}: the list holds {describe(value)}, not an object. Mend it.")
            part.append(row)
            numbers.append(line)
            if len(part) == ROWS:
                yield part, numbers, below.tell()
                part, numbers = [], []
        yield part, numbers, below.tell()


def _read_elements(path: Path, blocks: Iterator[str], strict: bool) -> Iterator[tuple[int, Any]]:
    """Yield the elements of a JSON list with their lines; ``strict`` as in :func:`json_decoder`."""
    decoder = json_decoder(strict)
    text, line, follows = "", 1, "["  # what comes next: the list, a value, a comma, or nothing any more
    for block in chain(blocks, [None]):
        text, at = text + (block or ""), 0
        while (at := _SPACE.match(text, at).end()) < len(text):  # type: ignore[union-attr]  # matches always
            where = f"{path}, line {line + text.count(chr(10), 0, at)}"
            if follows in ("[", ",") and text[at] == follows:
                at, follows = at + 1, "value"
            elif follows in ("value", ",") and text[at] == "]":
                at, follows = at + 1, "end"
            elif follows != "value":
                raise KitError(f"{where}: no JSON ({_UNEXPECTED[follows]}). Give one list of objects.")
            else:
                try:
                    value, end = decoder.raw_decode(text, at)
                except (ValueError, RecursionError) as error:
                    if block and len(text) < LONGEST and isinstance(error, json.JSONDecodeError):
                        break  # the rest of it is in the next block
                    reason = json_fault(error)
                    place = line + text.count("\n", 0, getattr(error, "pos", at))
                    raise KitError(f"{path}, line {place}: no JSON ({reason}). Give one list of objects.") from error
                yield line + text.count("\n", 0, at), mend_characters(value) if strict else value
                at, follows = end, ","
        line += text.count("\n", 0, at)
        text = text[at:]
    if follows != "end":
        raise KitError(f"{path}, line {line}: the list does not end. Check that the file is whole.")


_UNEXPECTED = {"[": "a list was expected", ",": "a comma is missing", "end": "something follows the list"}


def read_tables(path: Path, form: Format, kind: str) -> Iterator[Part]:
    """Yield the rows of a Parquet or Arrow file, batch by batch.

    Raises:
        KitError: For a damaged file, or a column that is missing or holds no text.
    """
    from pyarrow import ipc, parquet

    done, size = 0, path.stat().st_size
    with readable(path, lambda: f"row {done}"), path.open("rb") as stream:
        batches: Any
        if kind == "parquet":
            file = parquet.ParquetFile(stream)
            schema, total = file.schema_arrow, file.metadata.num_rows
            selected = _select(path, form, schema)
            batches = file.iter_batches(ROWS, columns=selected)
        elif stream.read(6) == b"ARROW1":
            file = ipc.open_file(stream)
            schema, total = file.schema, 0
            batches = (file.get_batch(i) for i in range(file.num_record_batches))
        else:
            stream.seek(0)
            batches = ipc.open_stream(stream)
            schema, total = batches.schema, 0
        selected = _select(path, form, schema)
        for batch in batches:
            batch.validate(full=True)  # wrong offsets in a damaged file would end the process
            for start in range(0, len(batch), ROWS):
                part = batch.slice(start, ROWS).select(selected).to_pylist()
                yield part, range(done + 1, done + 1 + len(part)), size * done // total if total else stream.tell()
                done += len(part)


def _select(path: Path, form: Format, schema: Any) -> list[str]:
    selected = form.select(schema.names, str(path))
    for name in selected:
        kind = schema.field(name).type
        if not (form.all_columns or name in ID_COLUMNS or _is_text(kind)):
            raise KitError(f"{path}: the column {name!r} holds {kind}, not text. {form.advice}")
    return selected


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    tests: list[Callable[[Any], bool]] = [types.is_string, types.is_large_string, types.is_string_view, types.is_null]
    return any(test(kind) for test in tests)
