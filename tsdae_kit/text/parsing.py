"""Turns a chunk into texts; what is none is named by its file and line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from tsdae_kit.errors import KitError
from tsdae_kit.text.reading import ID_COLUMNS, Chunk, Format, no_column, wrong_byte

_BLANK_LINES = re.compile(r"\r?\n[^\S\n]*(?:\n[^\S\n]*)+")


def decode(content: bytes, path: str, first: int, form: Format) -> str:
    """Return the block as text.

    Raises:
        KitError: Naming the file and line (the block's first is ``first``) of bytes that the encoding forbids.
    """
    encoding = form.encoding if "\n".encode(form.encoding) == b"\n" else "utf-8"
    if (zero := content.find(b"\0")) >= 0:
        line = first + content.count(b"\n", 0, zero)
        raise KitError(
            f"{path}, line {line}: it holds a zero byte, so it is no {form.encoding.upper()} text. "
            "Convert the file, or pass its --encoding (utf-16?)."
        )
    try:
        return content.decode(encoding, form.errors)
    except UnicodeDecodeError as error:
        raise wrong_byte(path, first + content.count(b"\n", 0, error.start), error, encoding) from error


def texts_of(chunk: Chunk, form: Format) -> Iterator[tuple[str, str]]:
    """Yield each text of the chunk with the name of its document (``file:line``); a missing one is an empty text.

    Raises:
        KitError: Naming the file and line of what is no text.
    """
    if chunk.kind == "rows":
        names = chunk.ids or [None] * len(chunk.content)
        for number, (text, name) in enumerate(zip(chunk.content, names, strict=True), start=chunk.first):
            yield str(text or ""), f"{chunk.file}:{number}" if name is None else str(name)
        return
    assert isinstance(chunk.content, bytes)  # noqa: S101  # by its kind
    whole = decode(chunk.content, chunk.path, chunk.first, form)
    if chunk.kind == "lines" and form.paragraphs:
        for paragraph in _BLANK_LINES.split(whole.strip("\r\n")):
            yield paragraph, str(chunk.file)
        return
    for number, line in enumerate(whole.removesuffix("\n").split("\n"), start=chunk.first):
        if chunk.kind == "lines":
            yield line, f"{chunk.file}:{number}"
        elif line and not line.isspace():
            yield _from_json(line, f"{chunk.path}, line {number}", form, f"{chunk.file}:{number}")


def _from_json(line: str, where: str, form: Format, number: str) -> tuple[str, str]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", "too deeply nested" if isinstance(error, RecursionError) else str(error))
        raise KitError(f"{where}: no JSON ({reason}). Give one JSON object a line.") from error
    if not isinstance(row, dict):
        raise KitError(f"{where}: it holds a {type(row).__name__}, not an object. Give one JSON object a line.")
    if form.column not in row:
        raise no_column(where, form.column, row)
    text = row[form.column]
    if not isinstance(text, str | None):
        raise KitError(f"{where}: the column {form.column!r} holds a {type(text).__name__}, not text. Pass --column.")
    name = next((row[key] for key in ID_COLUMNS if isinstance(row.get(key), str | int)), number)
    return text or "", str(name)
