"""The difference between two models, and what it would be on other queries or pairs of the same kind.

A paired bootstrap: the items are drawn again with replacement, the same ones for both models, and the
metric is computed anew. The interval says nothing about another seed of the training.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tsdae_kit.evaluation.metrics import Array, Sample, score

RESAMPLES = 2000
_CELLS = 4_000_000  # weights held at once


@dataclass(frozen=True)
class Difference:
    """A model's score less the reference's.

    Attributes:
        value: The difference, in points of 0 to 100.
        resampled: The same for each resample.
    """

    value: float
    resampled: Array

    @property
    def interval(self) -> tuple[float, float]:
        """The middle 95 % of the resampled differences."""
        low, high = np.nanquantile(self.resampled, [0.025, 0.975])
        return float(low), float(high)

    @property
    def verdict(self) -> str:
        """Which of the two is better, if the interval tells."""
        low, high = self.interval
        if low > 0:
            return "better"
        return "worse" if high < 0 else "no difference shown"


def compare(sample: Sample, reference: Sample, name: str) -> Difference:
    """Return the difference of two metrics over the same items.

    Args:
        sample: The model's.
        reference: What it is compared with.
        name: Of the data, as in :func:`resample`.
    """
    return Difference(score(sample) - score(reference), resample(sample, name) - resample(reference, name))


def resample(sample: Sample, name: str) -> Array:
    """Return a metric on items drawn again with replacement, for each resample.

    Args:
        sample: The metric.
        name: Of the data: the draws depend on it and on nothing else, so that those of two data sets
            are independent and a result does not change with what else is scored.
    """
    random = np.random.default_rng([42, zlib.crc32(name.encode())])
    count = len(sample)
    parts = []
    at_once = max(_CELLS // count, 1)
    for start in range(0, RESAMPLES, at_once):
        rows = min(at_once, RESAMPLES - start)
        drawn = random.integers(0, count, (rows, count)) + np.arange(rows)[:, None] * count
        weights = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)
        parts.append(sample.under(weights))
    return np.concatenate(parts)


def average(differences: Sequence[Difference]) -> Difference:
    """Return the mean of differences on independent data sets, with its own interval."""
    return Difference(
        float(np.mean([difference.value for difference in differences])),
        np.mean([difference.resampled for difference in differences], axis=0),
    )
