"""The engine ray: the same recipe as Ray Data tasks, a file each, on all machines of a cluster.

All machines must see the files and the output under the same paths. The tasks make rows; where they
meet, only their hashes travel (eight bytes each), so that the driver decides about duplicates and the
held-out part as the local engine does, in the files' order; then tasks write what is left as Parquet. A
task that dies with its worker is run again by Ray, and its file gets its name when it is whole.
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

from tsdae_kit.config.settings import PrepareSettings
from tsdae_kit.corpus.chunk_processor import Recipe, Rejects
from tsdae_kit.corpus.dataset import SPLITS, choose_held_out
from tsdae_kit.corpus.deduplication import Flags
from tsdae_kit.corpus.local_engine import open_tally
from tsdae_kit.corpus.reading import read_chunks
from tsdae_kit.errors import KitError, first_line

_STAGE = "rows"


def make_rows(
    folder: Path, paths: Sequence[Path], recipe: Recipe, settings: PrepareSettings, fingerprint: str
) -> dict[str, Any]:
    """Write the data set into the folder as Parquet; return the counts for the manifest.

    Raises:
        KitError: Naming the file and line of what cannot be read, or that Ray is missing.
    """
    folder = folder.resolve()
    for name in (_STAGE, *SPLITS):
        (folder / name).mkdir()
    files = [{"number": i, "path": str(path.resolve())} for i, path in enumerate(paths)]
    with _cluster() as ray, ExitStack() as stack:
        tally = open_tally(folder, settings, stack)
        made = _run(ray, lambda row: _make_file(row, folder, recipe), files)
        hashes = [np.frombuffer(row["hashes"], dtype="<u8") for row in made]
        for row in made:
            tally.read += row["read"]
            tally.columns.update(dict(row["columns"]))
            tally.absorb(_unpack(row))
        fresh = [tally.seen.add(some) for some in hashes]
        chosen = choose_held_out(
            np.concatenate([some[new] for some, new in zip(hashes, fresh, strict=True)]),
            settings.seed, settings.held_out,
        )  # fmt: skip
        ends = np.cumsum([new.sum() for new in fresh])
        parts = [
            {"number": i, "fresh": new.tobytes(), "held_out": part.tobytes()}
            for i, (new, part) in enumerate(zip(fresh, np.split(chosen, ends[:-1]), strict=True))
        ]
        for row in _run(ray, lambda row: _part_file(row, folder, settings.keep_rejects), parts):
            tally.absorb(_unpack(row))
    shutil.rmtree(folder / _STAGE)
    return {**tally.summary(), "train": int((~chosen).sum()), "held_out": int(chosen.sum())}


@contextmanager
def _cluster() -> Iterator[Any]:
    """Yield Ray, connected: as it is already, to the cluster at RAY_ADDRESS, or to a new one on this machine."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise KitError("--engine ray needs the package ray. Install it: pip install 'tsdae_kit[ray]'.") from error
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


def _run(
    ray: Any, task: Callable[[dict[str, Any]], dict[str, Any]], rows: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return the tasks' answers by number; the first fault of a file is raised."""

    def answer(row: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"number": row["number"], "error": "", **task(row)}
        except (KitError, OSError) as error:
            return {"number": row["number"], "error": str(error)}

    found = ray.data.from_items(rows, override_num_blocks=len(rows)).map(answer).take_all()
    answers: list[dict[str, Any]] = sorted(found, key=lambda row: int(row["number"]))
    for row in answers:
        if row["error"]:
            raise KitError(row["error"])
    return answers


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Yield a name to write to, which becomes ``path``: a task may be run twice, even at the same time."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    yield temporary
    temporary.replace(path)


def _make_file(row: dict[str, Any], folder: Path, recipe: Recipe) -> dict[str, Any]:
    rejects, hashes, read, columns = Rejects(recipe.keep_rejects), [], 0, Counter[str]()
    with _whole(folder / _STAGE / f"{row['number']:06}.parquet") as path, ExitStack() as stack:
        writer = None
        for chunk in read_chunks([Path(row["path"])], recipe.form, first_file=row["number"] + 1):
            made = recipe(chunk)
            writer = writer or stack.enter_context(parquet.ParquetWriter(path, made.rows.schema))
            writer.write_batch(made.rows)
            hashes.append(made.hashes.tobytes())
            read += made.read
            columns.update(made.columns)
            rejects.merge(made.rejects)
        if writer is None:
            parquet.write_table(
                pa.table({"noisy": pa.array([], pa.string()), "clean": pa.array([], pa.string())}), path
            )
    return {"hashes": b"".join(hashes), "read": read, "columns": list(columns.items()), **_pack(rejects)}


def _part_file(row: dict[str, Any], folder: Path, keep_rejects: bool) -> dict[str, Any]:
    fresh, held_out = (np.frombuffer(row[name], dtype=np.bool_) for name in ("fresh", "held_out"))
    rejects, start, kept = Rejects(keep_rejects), 0, 0
    name = f"{row['number']:06}.parquet"
    with parquet.ParquetFile(folder / _STAGE / name) as source, ExitStack() as stack:
        writers: dict[str, Any] = {}
        for batch in source.iter_batches():
            new = fresh[start : start + len(batch)]
            start += len(batch)
            for text in batch.column("clean").filter(pa.array(~new)).to_pylist():
                rejects.add("duplicate", text)
            left = batch.filter(pa.array(new))
            part: Flags = held_out[kept : kept + len(left)]
            kept += len(left)
            for split, wanted in zip(SPLITS, (~part, part), strict=True):
                if wanted.any():
                    if split not in writers:
                        path = stack.enter_context(_whole(folder / split / name))
                        writers[split] = stack.enter_context(parquet.ParquetWriter(path, batch.schema))
                    writers[split].write_batch(left.filter(pa.array(wanted)))
    return _pack(rejects)


def _pack(rejects: Rejects) -> dict[str, Any]:
    reasons, texts = zip(*rejects.texts, strict=True) if rejects.texts else ((), ())
    return {"counts": list(rejects.counts.items()), "reasons": list(reasons), "texts": list(texts)}


def _unpack(row: dict[str, Any]) -> Rejects:
    return Rejects(True, dict(row["counts"]), list(zip(row["reasons"], row["texts"], strict=True)))
