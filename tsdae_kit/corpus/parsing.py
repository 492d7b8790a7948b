"""Turns chunks into rows and texts; what is none is named by its file and line."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from tsdae_kit.corpus.reading import (
    ID_COLUMNS,
    TEXT,
    Chunk,
    Format,
    Row,
    find_title,
    no_column,
    read_chunks,
    wrong_byte,
)
from tsdae_kit.errors import KitError

_BLANK_LINES = re.compile(r"\r?\n[^\S\n]*(?:\n[^\S\n]*)+")


def read_rows(path: Path, form: Format) -> Iterator[tuple[int, Row]]:
    """Yield each row of a file, whatever its format, with its line (its number, where there are no lines).

    A line of plain text is a row with the column ``text``. Values are as the file has them: text, and in JSON,
    Parquet and Arrow also numbers, truth values, lists and ``None``.

    Args:
        path: The file; its name says its kind (``.gz`` and others behind it: compressed).
        form: Its encoding, and which columns are read.

    Raises:
        KitError: Naming file and line of what cannot be read.
    """
    for chunk in read_chunks([path], form):
        yield from rows_of(chunk, form)


def rows_of(chunk: Chunk, form: Format) -> Iterator[tuple[int, Row]]:
    """Yield the chunk's rows with their lines.

    Raises:
        KitError: Naming the file and line of what is no row.
    """
    if not isinstance(chunk.content, bytes):
        yield from zip(chunk.lines, chunk.content, strict=True)
        return
    whole = decode(chunk.content, chunk.path, chunk.first, (chunk.encoding, form.errors))
    end = "\n" if "\n" in whole or "\r" not in whole else "\r"  # a file of classic Mac OS
    for number, line in enumerate(whole.removesuffix(end).split(end), start=chunk.first):
        if chunk.kind == "lines":
            yield number, {TEXT: line}
        elif line and not line.isspace():
            yield number, _from_json(line, f"{chunk.path}, line {number}", form.all_columns)


def decode(content: bytes, path: str, first: int, codec: tuple[str, str]) -> str:
    """Return a block as text.

    Args:
        content: Whole lines.
        path: The file, for errors.
        first: The number of the block's first line.
        codec: The encoding, and what is done with bytes that it forbids: ``strict`` or ``replace``. A zero byte
            belongs to no text; it is replaced by white space.

    Raises:
        KitError: Naming the file and line of a wrong byte.
    """
    encoding, errors = codec
    if (zero := content.find(b"\0")) >= 0:
        if errors != "replace":
            line = first + content.count(b"\n", 0, zero)
            raise KitError(
                f"{path}, line {line}: it holds a zero byte, so it is no {encoding.upper()} text. "
                "Convert the file, pass its --encoding (utf-16?), or --encoding-errors replace."
            )
        content = content.replace(b"\0", b" ")
    try:
        return content.decode(encoding, errors)
    except UnicodeDecodeError as error:
        raise wrong_byte(path, first + content.count(b"\n", 0, error.start), error, encoding) from error


def _from_json(line: str, where: str, strict: bool) -> Row:
    try:
        row = json_decoder(strict).decode(line)
    except (ValueError, RecursionError) as error:
        raise KitError(
            f"{where}: no JSON ({json_fault(error)}). Give one JSON object a line, or one list of objects."
        ) from error
    if not isinstance(row, dict):
        raise KitError(f"{where}: it holds {describe(row)}, not an object. Give one JSON object a line.")
    return cast("Row", mend_characters(row)) if strict else row


@lru_cache(maxsize=2)
def json_decoder(strict: bool) -> json.JSONDecoder:
    """Return a decoder; a strict one refuses an object with one key twice, of which the last would win."""
    return json.JSONDecoder(object_pairs_hook=_unique if strict else None)


def _unique(pairs: list[tuple[str, Any]]) -> Row:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} stands twice")
    return found


def json_fault(error: Exception) -> str:
    """Return why something is no JSON."""
    return "too deeply nested" if isinstance(error, RecursionError) else getattr(error, "msg", str(error))


def mend_characters(value: Any) -> Any:
    """Return a value of JSON with U+FFFD for halves of characters, which no tokenizer and no file takes."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [mend_characters(item) for item in value]
    return {name: mend_characters(item) for name, item in value.items()} if isinstance(value, dict) else value


def describe(value: Any) -> str:
    """Return what a value of a row is, in words: ``a list``, ``a number``."""
    names: dict[type, str] = {list: "a list", dict: "an object", bool: "true or false", int: "a number",
                              float: "a number", str: "text", type(None): "nothing"}  # fmt: skip
    return names.get(type(value), f"a value of type {type(value).__name__}")


def texts_of(chunk: Chunk, form: Format, columns: Counter[str] | None = None) -> Iterator[tuple[str, str]]:
    """Yield each text of the chunk with the name of its document (``file:line``); a missing one is an empty text.

    Texts of several columns are parted by a blank line.

    Args:
        chunk: Of a file.
        form: Which columns hold the text.
        columns: Gets the number of texts that each column held.

    Raises:
        KitError: Naming the file and line of what is no text.
    """
    if chunk.kind == "lines" and form.paragraphs:
        assert isinstance(chunk.content, bytes)  # noqa: S101  # by its kind
        whole = decode(chunk.content, chunk.path, chunk.first, (chunk.encoding, form.errors))
        for paragraph in _BLANK_LINES.split(whole.strip("\r\n")):
            yield paragraph, str(chunk.file)
        return
    for number, row in rows_of(chunk, form):
        if chunk.kind == "lines":
            yield row[TEXT], f"{chunk.file}:{number}"
            continue
        names = _text_columns(row, form, chunk.path, number)
        filled = [name for name in names if row[name]]
        for name in filled if columns is not None else ():
            columns[name] += 1  # type: ignore[index]  # there are none without columns
        text = row[filled[0]] if len(filled) == 1 else "\n\n".join(row[name] for name in filled)
        document = next((row[key] for key in ID_COLUMNS if isinstance(row.get(key), str | int)), None)
        yield text or "", f"{chunk.file}:{number}" if document is None else str(document)


def _text_columns(row: Row, form: Format, path: str, number: int) -> list[str]:
    """Return the columns of a row that hold its text; of several names, those that it has."""
    names = [name for name in form.columns or (*find_title(row), TEXT) if name in row]
    if not names or (not form.columns and TEXT not in row):
        raise no_column(f"{path}, line {number}", (form.columns or (TEXT,))[0], row, form.advice)
    for name in names:
        if not isinstance(row[name], str | None):
            raise KitError(
                f"{path}, line {number}: the column {name!r} holds {describe(row[name])}, not text. {form.advice}"
            )
    return names
