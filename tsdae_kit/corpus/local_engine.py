"""The local engine: chunks go through worker processes, their rows come back in order and are written."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from tqdm import tqdm

from tsdae_kit.config.settings import PrepareSettings
from tsdae_kit.corpus.chunk_processor import EXAMPLES, Made, Recipe, Rejects
from tsdae_kit.corpus.cleaning import REASONS
from tsdae_kit.corpus.dataset import PairWriter
from tsdae_kit.corpus.deduplication import Flags, Hashes, NearDuplicates, SeenHashes
from tsdae_kit.corpus.process_pool import map_ordered
from tsdae_kit.corpus.reading import read_chunks

REJECTS = "rejects.jsonl"
_WORTH_A_WORKER = 4 << 20  # bytes of input; a worker takes a third of a second to start


@dataclass
class Tally:
    """Knows what was there before, counts what is dropped, and keeps examples of it (or, in a file, all)."""

    near: NearDuplicates | None = None
    file: IO[str] | None = None
    read: int = 0
    columns: Counter[str] = field(default_factory=Counter)
    seen: SeenHashes = field(default_factory=SeenHashes)
    _counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REASONS, 0))
    _examples: dict[str, list[str]] = field(default_factory=dict)

    def admit(self, made: Made) -> tuple[pa.RecordBatch, Hashes]:
        """Count a chunk; return its rows that are no duplicates, with their hashes."""
        self.read += made.read
        self.columns.update(made.columns)
        self.absorb(made.rejects)
        fresh = self.seen.add(made.hashes)
        rows, hashes = self._drop("duplicate", made.rows, made.hashes, fresh)
        if self.near is not None and made.signatures is not None:
            rows, hashes = self._drop("near-duplicate", rows, hashes, self.near.add(made.signatures[fresh]))
        return rows, hashes

    def _drop(self, reason: str, rows: pa.RecordBatch, hashes: Hashes, fresh: Flags) -> tuple[pa.RecordBatch, Hashes]:
        if fresh.all():
            return rows, hashes
        rejects = Rejects(self.file is not None)
        for text in rows.column("clean").filter(pa.array(~fresh)).to_pylist():
            rejects.add(reason, text)
        self.absorb(rejects)
        return rows.filter(pa.array(fresh)), hashes[fresh]

    def absorb(self, rejects: Rejects) -> None:
        """Count what was dropped elsewhere."""
        for reason, count in rejects.counts.items():
            self._counts[reason] += count
        for reason, text in rejects.texts:
            examples = self._examples.setdefault(reason, [])
            if len(examples) < EXAMPLES:
                shown = " ".join(text.split())
                examples.append(shown if len(shown) <= 200 else shown[:200] + "...")
            if self.file:
                self.file.write(json.dumps({"reason": reason, "text": text}) + "\n")

    def summary(self) -> dict[str, object]:
        """Return what the manifest says of it."""
        dropped = {reason: count for reason, count in self._counts.items() if count}
        return {
            "read": self.read,
            "columns": dict(self.columns),
            "dropped": dropped,
            "examples": {reason: self._examples[reason] for reason in dropped},
        }


def open_tally(folder: Path, settings: PrepareSettings, stack: ExitStack) -> Tally:
    """Return a new tally; its file is closed with the stack."""
    near = NearDuplicates(settings.near_duplicates) if settings.near_duplicates is not None else None
    file = stack.enter_context((folder / REJECTS).open("w", encoding="utf-8")) if settings.keep_rejects else None
    return Tally(near, file)


def make_rows(
    folder: Path, paths: Sequence[Path], recipe: Recipe, settings: PrepareSettings, fingerprint: str
) -> dict[str, Any]:
    """Write the data set into the folder; return the counts for the manifest.

    Raises:
        KitError: Naming the file and line of what cannot be read.
    """
    size = sum(path.stat().st_size for path in paths)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = settings.workers or cores
    started, kept = time.monotonic(), 0
    with ExitStack() as stack:
        tally = open_tally(folder, settings, stack)
        writer = stack.enter_context(PairWriter(folder))
        shown = "{percentage:3.0f}% |{bar:30}| {postfix}{remaining} left"  # by bytes of the files as they are
        bar = stack.enter_context(tqdm(total=size, disable=None, leave=False, bar_format=shown))
        for made in map_ordered(recipe, read_chunks(paths, recipe.form), min(workers, 1 + size // _WORTH_A_WORKER)):
            rows, hashes = tally.admit(made)
            writer.write(rows, hashes)
            kept += len(rows)
            bar.set_postfix_str(f"{kept / (time.monotonic() - started):,.0f} sentences/s ", refresh=False)
            bar.update(made.position - bar.n)
        train, held_out = writer.finish(settings.seed, settings.held_out, fingerprint)
    return {**tally.summary(), "train": train, "held_out": held_out}
