"""Batches of sentences of similar length, in an order that is a pure function of seed and epoch.

Rows are shuffled, then sorted by length within windows of 64 batches, then the batches are shuffled: little is computed
on padding, and the order stays close to random. The order of an epoch is computed, not replayed, so that a resumed run
finds its position without reading a row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from datasets import Dataset
from numpy.typing import NDArray
from sentence_transformers.base.sampler import DefaultBatchSampler, NoDuplicatesBatchSampler

WINDOW = 64  # batches


class LengthGroupedBatchSampler(DefaultBatchSampler):
    """Groups rows by the length of a text column; pass it as ``batch_sampler`` to the training arguments.

    The column is ``clean`` if there is one, else the first.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        drop_last: bool,
        valid_label_columns: list[str] | None = None,
        generator: torch.Generator | None = None,
        seed: int = 0,
    ) -> None:  # the library's signature
        super().__init__(dataset, batch_size, drop_last, valid_label_columns, generator, seed)
        self.lengths = _lengths(dataset)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the epoch's batches of row numbers; every row occurs once."""
        rows = _shuffled(len(self.lengths), f"{self.seed}:{self.epoch}:rows")
        window = WINDOW * self.batch_size
        grouped = [
            part[np.argsort(self.lengths[part], kind="stable")]
            for part in np.split(rows, range(window, len(rows), window))
        ]
        ordered = np.concatenate(grouped)
        for batch in _shuffled(len(self), f"{self.seed}:{self.epoch}:batches"):
            yield ordered[batch * self.batch_size : (batch + 1) * self.batch_size].tolist()


def labelled_batch_sampler(
    dataset: Dataset, *, valid_label_columns: list[str] | None = None, **kwargs: Any
) -> DefaultBatchSampler:
    """Return the batch sampler of labelled data, for the training arguments.

    Without a label, the other rows of a batch are negatives, so a batch holds each text once. With a label they are
    not, and a text of many rows (a query and its graded documents) must not shrink the batches.
    """
    has_label = not set(dataset.column_names).isdisjoint(valid_label_columns or [])
    kind = LengthGroupedBatchSampler if has_label else NoDuplicatesBatchSampler
    return kind(dataset, valid_label_columns=valid_label_columns, **kwargs)


class ShardedBatchSampler:
    """One process's rows of each batch: every N-th row, so that all processes get sentences of similar length.

    N processes with batch size B compute what one process computes with batch size N x B. (Where the last batch has
    fewer rows than there are processes, some rows are used twice.)
    """

    def __init__(self, batches: Any, rank: int, world_size: int) -> None:
        self.batches, self.rank, self.world_size = batches, rank, world_size
        self.batch_size, self.drop_last = batches.batch_size // world_size, batches.drop_last

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.batches:
            yield batch[self.rank :: self.world_size] or [batch[self.rank % len(batch)]]

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the whole batches."""
        self.batches.set_epoch(epoch)


def find_longest(dataset: Dataset, count: int) -> list[int]:
    """Return the indices of the longest rows, the longest first."""
    return [int(row) for row in np.argsort(-_lengths(dataset), kind="stable")[:count]]


def _lengths(dataset: Dataset) -> NDArray[np.int64]:
    """Return the rows' lengths in characters."""
    column = "clean" if "clean" in dataset.column_names else dataset.column_names[0]
    texts = dataset.with_format("arrow")[:][column]
    lengths: NDArray[np.int64] = pc.utf8_length(texts).to_numpy().astype(np.int64)
    return lengths


def _shuffled(count: int, key: str) -> NDArray[np.int64]:
    """Return a permutation of ``count`` indices, ordered by SHAKE-128 numbers: the same with every version of numpy."""
    draws = np.frombuffer(hashlib.shake_128(key.encode()).digest(8 * count), dtype="<u8")
    return np.argsort(draws, kind="stable")
