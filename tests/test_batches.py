"""The order of the data: complete, grouped by length, and decided by seed and epoch alone."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import Dataset

from tsdae_kit import LengthGroupedBatchSampler


def make_sampler(rows: int, batch_size: int = 8, seed: int = 0, drop_last: bool = False) -> LengthGroupedBatchSampler:
    lengths = np.random.default_rng(0).integers(1, 300, rows)
    dataset = Dataset.from_dict({"noisy": ["x"] * rows, "clean": ["y" * int(n) for n in lengths]})
    return LengthGroupedBatchSampler(dataset, batch_size, drop_last, seed=seed)


@pytest.mark.parametrize("rows", [1, 7, 8, 1000, 1025])
def test_every_row_occurs_once_in_an_epoch(rows: int) -> None:
    sampler = make_sampler(rows)
    batches = list(sampler)
    assert sorted(row for batch in batches for row in batch) == list(range(rows))
    assert len(batches) == len(sampler)


def test_drop_last_drops_only_the_batch_that_is_not_full() -> None:
    batches = list(make_sampler(1025, drop_last=True))
    assert len(batches) == 128
    assert {len(batch) for batch in batches} == {8}


def test_the_order_is_decided_by_seed_and_epoch_alone() -> None:
    first = list(make_sampler(500))
    again = make_sampler(500)
    again.set_epoch(1)
    later = list(again)
    again.set_epoch(0)
    assert list(again) == first
    assert later != first
    assert list(make_sampler(500, seed=1)) != first


def test_little_is_left_to_pad() -> None:
    """Random batches of this length distribution are half padding."""
    sampler = make_sampler(8 * 64 * 4)
    padded = sum(len(batch) * max(sampler.lengths[batch]) for batch in sampler)
    assert padded / sampler.lengths.sum() < 1.05


def test_long_and_short_batches_are_mixed_over_the_epoch() -> None:
    """Sorted by length alone, an epoch would run from short to long sentences."""
    sampler = make_sampler(8 * 64 * 8)
    means = [float(np.mean(sampler.lengths[batch])) for batch in sampler]
    quarter = len(means) // 4
    for start in range(0, len(means), quarter):
        assert np.mean(means[start : start + quarter]) == pytest.approx(np.mean(means), rel=0.2)
