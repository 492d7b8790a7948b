"""The files of a prepared folder: their names, the manifest, and reading the rows without the library ``datasets``.

The folder is a ``datasets.DatasetDict`` of noisy/clean pairs with a manifest. The noise stored is that of epoch 0, so
that the data can be read by eye and by other tools; training draws the noise of later epochs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import ipc, parquet

from tsdae_kit.filesystem import write_json

SPLITS = ("train", "held_out")
MANIFEST = "manifest.json"
REPORT = "report.html"
DROPPED_TEXTS = "rejects.jsonl"
DATASET_DICT = "dataset_dict.json"
DATASET_INFO = "dataset_info.json"  # in the folder of a split, as the next two
DATASET_STATE = "state.json"
ARROW_ROWS = "data-00000-of-00001.arrow"
_SPLIT_PATTERNS = (DATASET_INFO, DATASET_STATE, "data-*.arrow", "cache-*.arrow", "[0-9]" * 6 + ".parquet")
KNOWN_FILES = (MANIFEST, DATASET_DICT, REPORT, DROPPED_TEXTS,
               *[f"{split}/{pattern}" for split in SPLITS for pattern in _SPLIT_PATTERNS])  # fmt: skip
"""Patterns of all files that ``prepare`` and ``datasets`` write into the folder: what ``--overwrite`` may delete."""

_FORMAT_VERSION = 2
_MANIFEST_TYPES = {"fingerprint": str, "noise": dict, "read": int, "train": int, "held_out": int, "dropped": dict,
                   "examples": dict}  # of the keys that are read  # fmt: skip


def shard_name(number: int) -> str:
    """Return the file name of a Parquet shard, as the engine ray writes them: one for each input file."""
    return f"{number:06}.parquet"


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest, which makes the folder a prepared data set."""
    write_json(folder / MANIFEST, {"format": _FORMAT_VERSION, **manifest})


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the folder's manifest, or ``None`` if it is no prepared data set."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT_VERSION:
        return None
    has_types = all(isinstance(manifest.get(key), value_type) for key, value_type in _MANIFEST_TYPES.items())
    return manifest if has_types else None


def read_batches(folder: Path, split: str) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a split as stored, whichever engine wrote them."""
    for path in sorted((folder / split).glob("*.parquet")):
        yield from parquet.ParquetFile(path).iter_batches()
    if (folder / split / ARROW_ROWS).exists():
        # A plain file: the pages of a memory map would count as this process's memory
        with pa.OSFile(str(folder / split / ARROW_ROWS)) as stream:
            yield from ipc.open_stream(stream)


def prepared_texts(folder: Path) -> Iterator[list[str]]:
    """Yield the clean sentences of a prepared folder, also those held out, in batches."""
    for split in SPLITS:
        for batch in read_batches(folder, split):
            yield batch["clean"].to_pylist()
