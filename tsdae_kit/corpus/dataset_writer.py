"""Writes noisy/clean pairs as a ``datasets.DatasetDict``.

Rows stream through an Arrow file. Memory holds a hash of eight bytes for each, by which the held-out rows are chosen,
and no text. The JSON files of the layout are written here rather than by ``datasets``, which would copy the rows once
more, name them at random, and take two seconds to import; a test reads the result with the library.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import ipc

from tsdae_kit.corpus.deduplication import Hashes, Mask
from tsdae_kit.corpus.prepared_folder import ARROW_ROWS, DATASET_DICT, DATASET_INFO, DATASET_STATE, SPLITS
from tsdae_kit.corpus.sampling import choose_held_out
from tsdae_kit.filesystem import write_json

_UNSPLIT_ROWS = "rows.arrow"  # while rows are still coming


class DatasetWriter:
    """Writes rows as they come, and splits them when all have come; a context manager.

    Args:
        folder: Where to write; exists.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stream = pa.OSFile(str(folder / _UNSPLIT_ROWS), "wb")
        self._writer: Any = None
        self._schema: pa.Schema = None
        self._hashes: list[Hashes] = []

    def write(self, rows: pa.RecordBatch, hashes: Hashes) -> None:
        """Add rows; the first ones decide the columns."""
        if self._writer is None:
            self._schema = rows.schema
            self._writer = ipc.new_stream(self._stream, self._schema)
        if len(rows):
            self._writer.write_batch(rows)
            self._hashes.append(hashes)

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()

    def finish(self, seed: int, held_out: float, fingerprint: str) -> tuple[int, int]:
        """Write the splits train and held_out; return their sizes."""
        if self._writer is not None:
            self._writer.close()
        self._stream.close()
        hashes = np.concatenate([*self._hashes, np.empty(0, dtype=np.uint64)])
        self._hashes = []
        chosen = choose_held_out(hashes, seed, held_out)
        sizes = (int(len(chosen) - chosen.sum()), int(chosen.sum()))
        # datasets cannot read back a split without rows, so an empty one is left out
        for name, size, rows in zip(SPLITS, sizes, (~chosen, chosen), strict=True):
            if size:
                (self._folder / name).mkdir()
                self._write_split(self._folder / name / ARROW_ROWS, rows)
                _write_layout(self._folder / name, self._schema, f"{fingerprint}-{name}")
        write_json(self._folder / DATASET_DICT, {"splits": [n for n, s in zip(SPLITS, sizes, strict=True) if s]})
        (self._folder / _UNSPLIT_ROWS).unlink()
        return sizes

    def _write_split(self, path: Path, selected: Mask) -> None:
        # Plain files: the pages of a memory map would count as this process's memory
        with pa.OSFile(str(self._folder / _UNSPLIT_ROWS)) as source, pa.OSFile(str(path), "wb") as target:
            writer, start = ipc.new_stream(target, self._schema), 0
            for batch in ipc.open_stream(source):
                rows = batch.filter(pa.array(selected[start : start + len(batch)]))
                start += len(batch)
                if len(rows):
                    writer.write_batch(rows)
            writer.close()


def _write_layout(folder: Path, schema: pa.Schema, fingerprint: str) -> None:
    features = {name: {"dtype": "string", "_type": "Value"} for name in schema.names}
    write_json(folder / DATASET_INFO, {"features": features})
    write_json(
        folder / DATASET_STATE,
        {
            "_data_files": [{"filename": ARROW_ROWS}], "_fingerprint": fingerprint, "_format_columns": None,
            "_format_kwargs": {}, "_format_type": None, "_output_all_columns": False, "_split": None,
        },
    )  # fmt: skip
