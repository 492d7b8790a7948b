"""The engine ray: the same chunk processor in Ray Data tasks, one per file, on all machines of a cluster.

All machines must see the files and the output under the same paths. The tasks make rows; the driver gets their hashes
only (eight bytes each), and decides about duplicates and the held-out rows as the local engine does, in the order of
the files; then tasks write the rows that are kept as Parquet. Ray runs a task again that dies with its worker; a file
gets its name when it is complete.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from tsdae_kit.config.settings.preparation import PrepareSettings
from tsdae_kit.corpus.chunk_processor import ChunkProcessor
from tsdae_kit.corpus.deduplication import Mask, SeenHashes
from tsdae_kit.corpus.dropped_texts import DroppedTexts
from tsdae_kit.corpus.local_engine import open_drop_counter
from tsdae_kit.corpus.prepared_folder import SPLITS, shard_name
from tsdae_kit.corpus.reading import read_chunks
from tsdae_kit.corpus.sampling import choose_held_out
from tsdae_kit.errors import KitError, first_line
from tsdae_kit.extras import import_extra

_UNFILTERED = "rows"  # the folder of all rows, before duplicates are dropped
Answer = dict[str, Any]  # what Ray Data carries: a row of plain values


def write_dataset(
    folder: Path, paths: Sequence[Path], processor: ChunkProcessor, settings: PrepareSettings, fingerprint: str
) -> dict[str, Any]:
    """Write the data set into the folder as Parquet; return the counts for the manifest.

    Raises:
        KitError: Naming the file and the line of what cannot be read, or that Ray is missing.
    """
    folder = folder.resolve()
    for name in (_UNFILTERED, *SPLITS):
        (folder / name).mkdir()
    files = [{"number": i, "path": str(path.resolve())} for i, path in enumerate(paths)]
    with _cluster() as ray, ExitStack() as stack:
        counter = open_drop_counter(folder, settings, stack)
        processed = _run(ray, lambda row: _process_file(row, folder, processor), files)
        for answer in processed:
            counter.add_read(answer["read"], dict(answer["columns"]))
            counter.add_dropped(_unpack(answer))
        selections, held_out = _select_rows(processed, settings)
        for answer in _run(ray, lambda row: _write_shards(row, folder, settings.keep_rejects), selections):
            counter.add_dropped(_unpack(answer))
    shutil.rmtree(folder / _UNFILTERED)
    return {**counter.summary(), "train": int((~held_out).sum()), "held_out": int(held_out.sum())}


def _select_rows(processed: list[Answer], settings: PrepareSettings) -> tuple[list[Answer], Mask]:
    """Return, for each file, which rows are new and which of these are held out; and the latter for all files."""
    seen = SeenHashes()
    hashes = [np.frombuffer(answer["hashes"], dtype="<u8") for answer in processed]
    is_new = [seen.add(values) for values in hashes]
    new_hashes = np.concatenate([values[new] for values, new in zip(hashes, is_new, strict=True)])
    held_out = choose_held_out(new_hashes, settings.seed, settings.held_out)
    ends = np.cumsum([new.sum() for new in is_new])
    selections = [
        {"number": i, "is_new": new.tobytes(), "held_out": of_file.tobytes()}
        for i, (new, of_file) in enumerate(zip(is_new, np.split(held_out, ends[:-1]), strict=True))
    ]
    return selections, held_out


@contextmanager
def _cluster() -> Iterator[Any]:
    """Yield Ray, connected: as it is already, to the cluster at RAY_ADDRESS, or to a new one on this machine."""
    ray = import_extra("ray", "ray", "--engine ray")
    import_extra("ray.data", "ray", "--engine ray")
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    is_ours = not ray.is_initialized()
    if is_ours:
        try:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise KitError(f"Ray cannot be reached ({first_line(error)}). Check RAY_ADDRESS, or unset it.") from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    try:
        yield ray
    finally:
        if is_ours:
            ray.shutdown()


def _run(ray: Any, task: Callable[[Answer], Answer], rows: list[Answer]) -> list[Answer]:
    """Return the tasks' answers by number.

    Raises:
        KitError: The error of the first file that has one.
    """

    def answer(row: Answer) -> Answer:
        try:
            return {"number": row["number"], "error": "", **task(row)}
        except (KitError, OSError) as error:
            return {"number": row["number"], "error": str(error)}

    unordered = ray.data.from_items(rows, override_num_blocks=len(rows)).map(answer).take_all()
    answers: list[Answer] = sorted(unordered, key=lambda row: int(row["number"]))
    for row in answers:
        if row["error"]:
            raise KitError(row["error"])
    return answers


@contextmanager
def _complete_file(path: Path) -> Iterator[Path]:
    """Yield a name to write to, which becomes ``path``: a task may run twice, even at the same time."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    yield temporary
    temporary.replace(path)


def _process_file(row: Answer, folder: Path, processor: ChunkProcessor) -> Answer:
    """Write all rows of a file; return their hashes, and what was read and dropped."""
    dropped, columns = DroppedTexts(processor.keep_dropped), Counter[str]()
    hashes, read = [], 0
    with _complete_file(folder / _UNFILTERED / shard_name(row["number"])) as path, ExitStack() as stack:
        writer = None
        for chunk in read_chunks([Path(row["path"])], processor.file_format, first_file=row["number"] + 1):
            processed = processor(chunk)
            writer = writer or stack.enter_context(parquet.ParquetWriter(path, processed.rows.schema))
            writer.write_batch(processed.rows)
            hashes.append(processed.hashes.tobytes())
            read += processed.read
            columns.update(processed.columns)
            dropped.merge(processed.dropped)
        if writer is None:
            parquet.write_table(
                pa.table({"noisy": pa.array([], pa.string()), "clean": pa.array([], pa.string())}), path
            )
    return {"hashes": b"".join(hashes), "read": read, "columns": list(columns.items()), **_pack(dropped)}


def _write_shards(row: Answer, folder: Path, keep_dropped: bool) -> Answer:
    """Write the new rows of a file into the splits; return the duplicates that were dropped."""
    is_new, is_held_out = (np.frombuffer(row[name], dtype=np.bool_) for name in ("is_new", "held_out"))
    dropped, start, kept = DroppedTexts(keep_dropped), 0, 0
    name = shard_name(row["number"])
    with parquet.ParquetFile(folder / _UNFILTERED / name) as source, ExitStack() as stack:
        writers: dict[str, Any] = {}
        for batch in source.iter_batches():
            new = is_new[start : start + len(batch)]
            start += len(batch)
            for text in batch.column("clean").filter(pa.array(~new)).to_pylist():
                dropped.add("duplicate", text)
            new_rows = batch.filter(pa.array(new))
            held_out: Mask = is_held_out[kept : kept + len(new_rows)]
            kept += len(new_rows)
            for split, selected in zip(SPLITS, (~held_out, held_out), strict=True):
                if selected.any():
                    if split not in writers:
                        path = stack.enter_context(_complete_file(folder / split / name))
                        writers[split] = stack.enter_context(parquet.ParquetWriter(path, batch.schema))
                    writers[split].write_batch(new_rows.filter(pa.array(selected)))
    return _pack(dropped)


def _pack(dropped: DroppedTexts) -> Answer:
    reasons, texts = zip(*dropped.texts, strict=True) if dropped.texts else ((), ())
    return {"counts": list(dropped.counts.items()), "reasons": list(reasons), "texts": list(texts)}


def _unpack(answer: Answer) -> DroppedTexts:
    texts = list(zip(answer["reasons"], answer["texts"], strict=True))
    return DroppedTexts(True, dict(answer["counts"]), texts)
