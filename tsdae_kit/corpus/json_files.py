"""Parses JSON: lines with one object each, and lists, which are streamed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, cast

from tsdae_kit.corpus.blocks import MAX_TEXT_BYTES, decode_stream
from tsdae_kit.corpus.files import convert_read_errors, open_stream
from tsdae_kit.corpus.formats import ROWS_PER_BATCH, TEXT, Format, Row, RowBatch, describe_value
from tsdae_kit.errors import KitError

_SPACE = re.compile(r"[ \t\r\n]*")
_SYNTAX_ERRORS = {"[": "a list was expected", ",": "a comma is missing", "end": "something follows the list"}


def parse_json_line(line: str, where: str, strict: bool) -> Row:
    """Return the object on a line.

    Args:
        line: The line.
        where: File and line, for errors.
        strict: Whether an object with the same key twice is refused, and lone surrogates are replaced.

    Raises:
        KitError: If it holds no object.
    """
    try:
        row = _decoder(strict).decode(line)
    except (ValueError, RecursionError) as error:
        raise KitError(
            f"{where}: no JSON ({_error_reason(error)}). Give one JSON object a line, or one list of objects."
        ) from error
    if not isinstance(row, dict):
        raise KitError(f"{where}: it holds {describe_value(row)}, not an object. Give one JSON object a line.")
    return cast("Row", _replace_surrogates(row)) if strict else row


def read_json_array(path: Path, file_format: Format) -> Iterator[RowBatch]:
    """Yield the rows of a JSON list of objects, or of texts (column ``text``), without loading it whole.

    Raises:
        KitError: Naming the line of invalid JSON, or of an element that is no row.
    """
    with convert_read_errors(path, lambda: "line 0"), open_stream(path) as (stream, file):
        batch: list[Row] = []
        line_numbers: list[int] = []
        blocks = decode_stream(path, stream, file_format)
        if file_format.errors == "replace":
            blocks = (block.replace("\0", " ") for block in blocks)
        for line, value in _read_elements(path, blocks, file_format.all_columns):
            row = {TEXT: value} if isinstance(value, str) else value
            if not isinstance(row, dict):
                raise KitError(f"{path}, line {line}: the list holds {describe_value(value)}, not an object. Mend it.")
            batch.append(row)
            line_numbers.append(line)
            if len(batch) == ROWS_PER_BATCH:
                yield RowBatch(batch, line_numbers, file.tell())
                batch, line_numbers = [], []
        yield RowBatch(batch, line_numbers, file.tell())


def _read_elements(path: Path, blocks: Iterator[str], strict: bool) -> Iterator[tuple[int, Any]]:
    """Yield the elements of a JSON list with their lines; ``strict`` as in :func:`parse_json_line`."""
    decoder = _decoder(strict)
    text, line, expected = "", 1, "["  # expected next: the list, a value, a comma, or the end of the file
    for block in chain(blocks, [None]):
        text, at = text + (block or ""), 0
        while (at := _SPACE.match(text, at).end()) < len(text):  # type: ignore[union-attr]  # matches always
            if expected in ("[", ",") and text[at] == expected:
                at, expected = at + 1, "value"
            elif expected in ("value", ",") and text[at] == "]":
                at, expected = at + 1, "end"
            elif expected != "value":
                where = f"{path}, line {line + text.count(chr(10), 0, at)}"
                raise KitError(f"{where}: no JSON ({_SYNTAX_ERRORS[expected]}). Give one list of objects.")
            else:
                try:
                    value, end = decoder.raw_decode(text, at)
                except (ValueError, RecursionError) as error:
                    if block and len(text) < MAX_TEXT_BYTES and isinstance(error, json.JSONDecodeError):
                        break  # the rest of it is in the next block
                    where = f"{path}, line {line + text.count(chr(10), 0, getattr(error, 'pos', at))}"
                    raise KitError(f"{where}: no JSON ({_error_reason(error)}). Give one list of objects.") from error
                yield line + text.count("\n", 0, at), _replace_surrogates(value) if strict else value
                at, expected = end, ","
        line += text.count("\n", 0, at)
        text = text[at:]
    if expected != "end":
        raise KitError(f"{path}, line {line}: the list does not end. Check that the file is whole.")


@lru_cache(maxsize=2)
def _decoder(strict: bool) -> json.JSONDecoder:
    """Return a decoder; a strict one refuses an object with the same key twice, whose last value would win."""
    return json.JSONDecoder(object_pairs_hook=_unique_keys if strict else None)


def _unique_keys(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} stands twice")
    return row


def _error_reason(error: Exception) -> str:
    """Return why a text is no JSON."""
    return "too deeply nested" if isinstance(error, RecursionError) else getattr(error, "msg", str(error))


def _replace_surrogates(value: Any) -> Any:
    """Return a JSON value with U+FFFD for lone surrogates, which no tokenizer and no file takes."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_replace_surrogates(item) for item in value]
    return {name: _replace_surrogates(item) for name, item in value.items()} if isinstance(value, dict) else value
