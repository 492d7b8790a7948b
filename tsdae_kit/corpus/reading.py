"""Streams files as chunks of about a megabyte.

This cuts bytes at line ends only, which is fast; worker processes decode them and parse JSON
(:mod:`tsdae_kit.corpus.parsing`). An error names the file and the line (the row, in formats without lines). Chunks
depend on the files alone, so that the result is the same for any number of workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tsdae_kit.corpus.arrow_files import read_arrow
from tsdae_kit.corpus.blocks import detect_encoding, first_byte, read_blocks
from tsdae_kit.corpus.csv_files import read_csv
from tsdae_kit.corpus.decoding import block_encoding
from tsdae_kit.corpus.files import kind_of
from tsdae_kit.corpus.formats import Block, Chunk, Format, RowBatch
from tsdae_kit.corpus.json_files import read_json_array


def read_chunks(paths: Sequence[Path], file_format: Format, first_file: int = 1) -> Iterator[Chunk]:
    """Yield the content of the files, in order.

    Args:
        paths: The files.
        file_format: How they are written.
        first_file: The number of the first file.

    Raises:
        KitError: Naming the file and the line where reading fails.
    """
    position = 0
    for file_number, path in enumerate(paths, start=first_file):
        kind = kind_of(path) or "lines"
        is_text = kind in ("lines", "json", "csv", "tsv")
        encoding = detect_encoding(path, file_format) if is_text else file_format.encoding
        first_row = 1
        for part in _read_file(path, replace(file_format, encoding=encoding), kind):
            read = position + part.position
            chunk_encoding = block_encoding(encoding)
            if isinstance(part, Block):
                yield Chunk(str(path), kind, file_number, part.first_line, part.content, (), chunk_encoding, read)
            else:
                yield Chunk(
                    str(path), "rows", file_number, first_row, part.rows, part.line_numbers, chunk_encoding, read
                )
                first_row += len(part.rows)
        position += path.stat().st_size


def _read_file(path: Path, file_format: Format, kind: str) -> Iterator[Block] | Iterator[RowBatch]:
    if kind in ("csv", "tsv"):
        return read_csv(path, file_format, kind)
    if kind in ("parquet", "arrow"):
        return read_arrow(path, file_format, kind)
    if kind == "json" and first_byte(path, file_format) == b"[":
        return read_json_array(path, file_format)
    by_paragraph = file_format.paragraphs and kind == "lines"
    return read_blocks(path, file_format, ends=(b"\n\n", b"\n\r\n") if by_paragraph else (b"\n",))
