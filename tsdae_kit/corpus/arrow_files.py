"""Streams the rows of Parquet and Arrow files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from pyarrow import ipc, parquet, types

from tsdae_kit.corpus.files import convert_read_errors
from tsdae_kit.corpus.formats import ID_COLUMNS, ROWS_PER_BATCH, Format, RowBatch
from tsdae_kit.errors import KitError


def read_arrow(path: Path, file_format: Format, kind: str) -> Iterator[RowBatch]:
    """Yield the rows of a Parquet or Arrow file.

    Raises:
        KitError: For a damaged file, or a column that is missing or holds no text.
    """
    done, size = 0, path.stat().st_size
    with convert_read_errors(path, lambda: f"row {done}"), path.open("rb") as stream:
        selected, batches, total = _open_batches(path, stream, file_format, kind)
        for record_batch in batches:
            record_batch.validate(full=True)  # wrong offsets in a damaged file would end the process
            for start in range(0, len(record_batch), ROWS_PER_BATCH):
                rows = record_batch.slice(start, ROWS_PER_BATCH).select(selected).to_pylist()
                position = size * done // total if total else stream.tell()
                yield RowBatch(rows, range(done + 1, done + 1 + len(rows)), position)
                done += len(rows)


def _open_batches(
    path: Path, stream: IO[bytes], file_format: Format, kind: str
) -> tuple[list[str], Iterator[pa.RecordBatch], int]:
    """Return the columns to read, the record batches, and the number of rows (0: not known in advance)."""
    if kind == "parquet":
        file = parquet.ParquetFile(stream)
        selected = _select(path, file_format, file.schema_arrow)
        return selected, file.iter_batches(ROWS_PER_BATCH, columns=selected), file.metadata.num_rows
    if stream.read(6) == b"ARROW1":
        file = ipc.open_file(stream)
        batches = (file.get_batch(i) for i in range(file.num_record_batches))
        return _select(path, file_format, file.schema), batches, 0
    stream.seek(0)
    reader = ipc.open_stream(stream)
    return _select(path, file_format, reader.schema), iter(reader), 0


def _select(path: Path, file_format: Format, schema: pa.Schema) -> list[str]:
    selected = file_format.select(schema.names, str(path))
    for name in selected:
        column_type = schema.field(name).type
        if not (file_format.all_columns or name in ID_COLUMNS or _is_text(column_type)):
            raise KitError(f"{path}: the column {name!r} holds {column_type}, not text. {file_format.advice}")
    return selected


def _is_text(column_type: Any) -> bool:
    value_type = column_type.value_type if types.is_dictionary(column_type) else column_type
    tests = (types.is_string, types.is_large_string, types.is_string_view, types.is_null)
    return any(test(value_type) for test in tests)
