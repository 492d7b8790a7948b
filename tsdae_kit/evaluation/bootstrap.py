"""The difference between two models, with a confidence interval from a paired bootstrap over queries or pairs.

Each resample draws items with replacement, the same items for both models, and computes the metric anew. The interval
covers the choice of items, not the seed of the training.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tsdae_kit.evaluation.metrics import Array, Metric, score

RESAMPLES = 2000
_MAX_WEIGHTS = 4_000_000  # in memory at once


@dataclass(frozen=True)
class Difference:
    """A model's score minus the reference's.

    Attributes:
        value: The difference, in points of 0 to 100.
        resampled: The difference on each resample.
    """

    value: float
    resampled: Array

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval: the middle 95 % of the resampled differences."""
        low, high = np.nanquantile(self.resampled, [0.025, 0.975])
        return float(low), float(high)

    @property
    def verdict(self) -> str:
        """``better`` or ``worse`` if the interval excludes 0, else ``no difference shown``."""
        low, high = self.interval
        if low > 0:
            return "better"
        return "worse" if high < 0 else "no difference shown"


def compare(metric: Metric, reference: Metric, dataset: str) -> Difference:
    """Return the difference of two metrics over the same items.

    Args:
        metric: The model's metric.
        reference: The reference's metric.
        dataset: As in :func:`resample`.
    """
    return Difference(score(metric) - score(reference), resample(metric, dataset) - resample(reference, dataset))


def resample(metric: Metric, dataset: str) -> Array:
    """Return a metric on ``RESAMPLES`` bootstrap resamples of its items.

    Args:
        metric: The metric.
        dataset: The name of the data set. It alone seeds the draws: those of two data sets are independent, and a
            result does not change with what else is scored.
    """
    random = np.random.default_rng([42, zlib.crc32(dataset.encode())])
    count = len(metric)
    batches = []
    batch_size = max(_MAX_WEIGHTS // count, 1)
    for start in range(0, RESAMPLES, batch_size):
        rows = min(batch_size, RESAMPLES - start)
        drawn = random.integers(0, count, (rows, count)) + np.arange(rows)[:, None] * count
        weights = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)
        batches.append(metric.weighted(weights))
    return np.concatenate(batches)


def average(differences: Sequence[Difference]) -> Difference:
    """Return the mean of differences on independent data sets, with its own interval."""
    return Difference(
        float(np.mean([difference.value for difference in differences])),
        np.mean([difference.resampled for difference in differences], axis=0),
    )
