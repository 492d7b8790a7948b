"""Streams one column of CSV, TSV, Parquet and Arrow files; a wrong name lists the columns found."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tsdae_kit.errors import KitError
from tsdae_kit.text.parsing import decode
from tsdae_kit.text.reading import ID_COLUMNS, LONGEST, Format, Part, no_column, read_blocks, readable

ROWS = 4096


def read_csv(path: Path, form: Format, kind: str) -> Iterator[Part]:
    """Yield the rows' texts; Python's own reader, because it names the line, and quoted fields may hold line ends.

    Raises:
        KitError: Naming the line of a row that is wrong.
    """
    csv.field_size_limit(LONGEST)  # a quote that is never closed would swallow the file
    position = 0

    def lines() -> Iterator[str]:
        nonlocal position
        for block, before, position in read_blocks(path, form):  # noqa: B007
            yield from io.StringIO(decode(block, str(path), before + 1, form), newline="\n")  # its lines

    rows = csv.reader(lines(), delimiter="\t" if kind == "tsv" else ",", strict=True)
    with readable(path, lambda: f"line {rows.line_num}"):
        header: list[str] = next(rows, [])
        if form.column not in header:
            raise no_column(str(path), form.column, header)
        column, name = header.index(form.column), next((header.index(key) for key in ID_COLUMNS if key in header), None)
        texts: list[str | None] = []
        names: list[str | None] = []
        size = 0
        for row in rows:
            if not row:
                continue
            if len(row) != len(header):
                raise KitError(
                    f"{path}, line {rows.line_num}: {len(row)} fields where the first line has {len(header)}. "
                    "Quote fields that hold the delimiter."
                )
            texts.append(row[column])
            names.append(row[name] if name is not None else None)
            size += len(row[column])
            if len(texts) == ROWS or size > LONGEST:
                yield texts, names if name is not None else None, position
                texts, names, size = [], [], 0
        yield texts, names if name is not None else None, position


def read_tables(path: Path, form: Format, kind: str) -> Iterator[Part]:
    """Yield the rows' texts of a Parquet or Arrow file, batch by batch.

    Raises:
        KitError: For a damaged file, or a column that is missing or holds no text.
    """
    import pyarrow
    from pyarrow import ipc, parquet

    done, size = 0, path.stat().st_size
    with readable(path, lambda: f"row {done}"), path.open("rb") as stream:
        batches: Any
        if kind == "parquet":
            file = parquet.ParquetFile(stream)
            schema, total = file.schema_arrow, file.metadata.num_rows
            wanted = _columns(path, form, schema)
            batches = file.iter_batches(ROWS, columns=wanted)
        elif stream.read(6) == b"ARROW1":
            file = ipc.open_file(stream)
            schema, total = file.schema, 0
            batches = (file.get_batch(i) for i in range(file.num_record_batches))
        else:
            stream.seek(0)
            batches = ipc.open_stream(stream)
            schema, total = batches.schema, 0
        wanted = _columns(path, form, schema)
        for batch in batches:
            batch.validate(full=True)  # wrong offsets in a damaged file would end the process
            for start in range(0, len(batch), ROWS):
                part = batch.slice(start, ROWS)
                texts = part.column(form.column).cast(pyarrow.large_string()).to_pylist()
                names = part.column(wanted[1]).to_pylist() if wanted[1:] else None
                done += len(texts)
                yield texts, names, size * done // total if total else stream.tell()


def _columns(path: Path, form: Format, schema: Any) -> list[str]:
    from pyarrow import types

    if form.column not in schema.names:
        raise no_column(str(path), form.column, schema.names)
    kind = schema.field(form.column).type
    kind = kind.value_type if types.is_dictionary(kind) else kind
    is_text: list[Callable[[Any], bool]] = [types.is_string, types.is_large_string, types.is_string_view, types.is_null]
    if not any(test(kind) for test in is_text):
        raise KitError(f"{path}: the column {form.column!r} holds {kind}, not text. Pass --column NAME.")
    return [form.column, *[key for key in ID_COLUMNS if key in schema.names and key != form.column][:1]]
