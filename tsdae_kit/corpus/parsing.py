"""Turns chunks into rows and texts; an error names the file and the line."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tsdae_kit.corpus.decoding import decode_block
from tsdae_kit.corpus.formats import (
    ID_COLUMNS,
    TEXT,
    Chunk,
    Format,
    Row,
    describe_value,
    find_title,
    missing_column_error,
)
from tsdae_kit.corpus.json_files import parse_json_line
from tsdae_kit.corpus.reading import read_chunks
from tsdae_kit.errors import KitError

_BLANK_LINES = re.compile(r"\r?\n[^\S\n]*(?:\n[^\S\n]*)+")


def read_rows(path: Path, file_format: Format) -> Iterator[tuple[int, Row]]:
    """Yield each row of a file of any kind, with its line (its number, in formats without lines).

    A line of plain text is a row with the column ``text``. Values keep the file's types: text, and in JSON, Parquet
    and Arrow also numbers, truth values, lists and ``None``.

    Args:
        path: The file; its name says its kind (and its compression, as in ``.jsonl.gz``).
        file_format: Its encoding, and which columns are read.

    Raises:
        KitError: Naming the file and the line of what cannot be read.
    """
    for chunk in read_chunks([path], file_format):
        yield from parse_rows(chunk, file_format)


def parse_rows(chunk: Chunk, file_format: Format) -> Iterator[tuple[int, Row]]:
    """Yield the chunk's rows with their lines.

    Raises:
        KitError: Naming the file and the line of an invalid row.
    """
    if not isinstance(chunk.content, bytes):
        yield from zip(chunk.line_numbers, chunk.content, strict=True)
        return
    text = decode_block(chunk.content, chunk.path, chunk.first_line, (chunk.encoding, file_format.errors))
    end = "\n" if "\n" in text or "\r" not in text else "\r"  # a file of classic Mac OS
    for number, line in enumerate(text.removesuffix(end).split(end), start=chunk.first_line):
        if chunk.kind == "lines":
            yield number, {TEXT: line}
        elif line and not line.isspace():
            yield number, parse_json_line(line, f"{chunk.path}, line {number}", file_format.all_columns)


def parse_texts(
    chunk: Chunk, file_format: Format, column_counts: Counter[str] | None = None
) -> Iterator[tuple[str, str]]:
    """Yield each text of the chunk with its document: the row's id, or ``file:line``. A missing text is empty.

    A blank line separates the texts of several columns.

    Args:
        chunk: Part of a file.
        file_format: Which columns hold the text.
        column_counts: Counts, for each column, the texts that have something in it.

    Raises:
        KitError: Naming the file and the line of what is no text.
    """
    if chunk.kind == "lines" and file_format.paragraphs:
        yield from ((paragraph, str(chunk.file_number)) for paragraph in _parse_paragraphs(chunk, file_format))
        return
    for number, row in parse_rows(chunk, file_format):
        if chunk.kind == "lines":
            yield row[TEXT], f"{chunk.file_number}:{number}"
            continue
        names = _text_columns(row, file_format, chunk.path, number)
        filled = [name for name in names if row[name]]
        if column_counts is not None:
            for name in filled:
                column_counts[name] += 1
        text = row[filled[0]] if len(filled) == 1 else "\n\n".join(row[name] for name in filled)
        document = next((row[key] for key in ID_COLUMNS if isinstance(row.get(key), str | int)), None)
        yield text or "", f"{chunk.file_number}:{number}" if document is None else str(document)


def _parse_paragraphs(chunk: Chunk, file_format: Format) -> list[str]:
    if not isinstance(chunk.content, bytes):
        raise TypeError(f"a chunk of {chunk.kind} has no paragraphs")
    text = decode_block(chunk.content, chunk.path, chunk.first_line, (chunk.encoding, file_format.errors))
    return _BLANK_LINES.split(text.strip("\r\n"))


def _text_columns(row: Row, file_format: Format, path: str, number: int) -> list[str]:
    """Return the columns of a row that hold its text: of those asked for, the ones that it has."""
    columns = file_format.columns
    names = [name for name in columns or (*find_title(row), TEXT) if name in row]
    if not names or (not columns and TEXT not in row):
        raise missing_column_error(f"{path}, line {number}", (columns or (TEXT,))[0], row, file_format.advice)
    for name in names:
        if not isinstance(row[name], str | None):
            raise KitError(
                f"{path}, line {number}: the column {name!r} holds {describe_value(row[name])}, not text. "
                f"{file_format.advice}"
            )
    return names
