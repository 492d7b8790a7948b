"""The engine local: worker processes turn chunks into rows, which are written in the order of the input."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from tsdae_kit.config.settings.preparation import PrepareSettings
from tsdae_kit.corpus.chunk_processor import ChunkProcessor, ProcessedChunk
from tsdae_kit.corpus.dataset_writer import DatasetWriter
from tsdae_kit.corpus.deduplication import Hashes, Mask, NearDuplicates, SeenHashes
from tsdae_kit.corpus.dropped_texts import DropCounter, DroppedTexts
from tsdae_kit.corpus.prepared_folder import DROPPED_TEXTS
from tsdae_kit.corpus.process_pool import map_ordered
from tsdae_kit.corpus.reading import read_chunks

_BYTES_PER_WORKER = 4 << 20  # of the input; less is not worth a worker, which takes a third of a second to start


def write_dataset(
    folder: Path, paths: Sequence[Path], processor: ChunkProcessor, settings: PrepareSettings, fingerprint: str
) -> dict[str, Any]:
    """Write the data set into the folder; return the counts for the manifest.

    Raises:
        KitError: Naming the file and the line of what cannot be read.
    """
    size = sum(path.stat().st_size for path in paths)
    workers = min(settings.workers or _count_cores(), 1 + size // _BYTES_PER_WORKER)
    started, kept = time.monotonic(), 0
    with ExitStack() as stack:
        counter = open_drop_counter(folder, settings, stack)
        deduplicator = _Deduplicator(settings, counter)
        writer = stack.enter_context(DatasetWriter(folder))
        layout = "{percentage:3.0f}% |{bar:30}| {postfix}{remaining} left"  # by the bytes of the files on the disk
        progress = stack.enter_context(tqdm(total=size, disable=None, leave=False, bar_format=layout))
        for chunk in map_ordered(processor, read_chunks(paths, processor.file_format), workers):
            counter.add_read(chunk.read, chunk.columns)
            counter.add_dropped(chunk.dropped)
            rows, hashes = deduplicator.drop_duplicates(chunk)
            writer.write(rows, hashes)
            kept += len(rows)
            progress.set_postfix_str(f"{kept / (time.monotonic() - started):,.0f} sentences/s ", refresh=False)
            progress.update(chunk.position - progress.n)
        train, held_out = writer.finish(settings.seed, settings.held_out, fingerprint)
    return {**counter.summary(), "train": train, "held_out": held_out}


def open_drop_counter(folder: Path, settings: PrepareSettings, stack: ExitStack) -> DropCounter:
    """Return a new counter; the stack closes its file."""
    if not settings.keep_rejects:
        return DropCounter()
    return DropCounter(stack.enter_context((folder / DROPPED_TEXTS).open("w", encoding="utf-8")))


class _Deduplicator:
    """Drops the rows that repeat an earlier one, and counts them."""

    def __init__(self, settings: PrepareSettings, counter: DropCounter) -> None:
        self._keep_dropped, self._counter = settings.keep_rejects, counter
        self._seen = SeenHashes()
        self._near = None if settings.near_duplicates is None else NearDuplicates(settings.near_duplicates)

    def drop_duplicates(self, chunk: ProcessedChunk) -> tuple[pa.RecordBatch, Hashes]:
        """Return the chunk's rows without duplicates and near-duplicates, with their hashes."""
        is_new = self._seen.add(chunk.hashes)
        rows, hashes = self._keep(is_new, "duplicate", chunk.rows, chunk.hashes)
        if self._near is not None and chunk.signatures is not None:
            rows, hashes = self._keep(self._near.add(chunk.signatures[is_new]), "near-duplicate", rows, hashes)
        return rows, hashes

    def _keep(
        self, is_new: Mask, drop_reason: str, rows: pa.RecordBatch, hashes: Hashes
    ) -> tuple[pa.RecordBatch, Hashes]:
        if is_new.all():
            return rows, hashes
        dropped = DroppedTexts(self._keep_dropped)
        for text in rows.column("clean").filter(pa.array(~is_new)).to_pylist():
            dropped.add(drop_reason, text)
        self._counter.add_dropped(dropped)
        return rows.filter(pa.array(is_new)), hashes[is_new]


def _count_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
