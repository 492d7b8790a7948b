"""Metrics that can be asked again under other weights: what a paired bootstrap over queries or pairs needs.

sentence-transformers' evaluators give one number for a whole data set. Here a metric keeps what it was
computed from, so that resampling costs a few numpy operations: drawing an item twice is giving it the
weight 2. The tests compare each metric with scikit-learn, scipy and trec_eval.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Sample(Protocol):
    """A metric over items (queries or pairs)."""

    def __len__(self) -> int:
        """Return the number of items."""

    def under(self, weights: Array) -> Array:
        """Return the metric, from 0 to 100, under each row of ``weights`` (resamples, items)."""


def score(sample: Sample) -> float:
    """Return the metric itself: every item once."""
    return float(sample.under(np.ones((1, len(sample))))[0])


@dataclass(frozen=True)
class MeanOf:
    """The mean of a value for each item, each from 0 to 1."""

    values: Array

    def __len__(self) -> int:
        return len(self.values)

    def under(self, weights: Array) -> Array:
        """Return the weighted means."""
        means: Array = 100 * (weights @ self.values) / weights.sum(axis=1)
        return means


@dataclass(frozen=True)
class AveragePrecision:
    """Average precision of scores for labels 0 and 1, without interpolation; equal scores are one step.

    Without a positive it is not a number.
    """

    labels: Array
    scores: Array

    def __len__(self) -> int:
        return len(self.labels)

    def under(self, weights: Array) -> Array:
        """Return the weighted average precision."""
        order = np.argsort(-self.scores, kind="stable")
        ranked = self.scores[order]
        last = np.searchsorted(-ranked, -ranked, side="right") - 1  # of each item's group of equal scores
        weights = weights[:, order]
        positive = weights * self.labels[order]
        found, seen = positive.cumsum(axis=1)[:, last], weights.cumsum(axis=1)[:, last]
        precision = np.divide(found, seen, out=np.zeros_like(found), where=seen > 0)
        with np.errstate(invalid="ignore"):
            result: Array = 100 * (positive * precision).sum(axis=1) / positive.sum(axis=1)
        return result


@dataclass(frozen=True)
class Spearman:
    """Spearman's rank correlation of scores with given ones; equal values share their mean rank.

    Scores that are all equal say nothing, and count as 0.
    """

    gold: Array
    scores: Array

    def __len__(self) -> int:
        return len(self.gold)

    def under(self, weights: Array) -> Array:
        """Return the weighted correlations."""
        totals = weights.sum(axis=1, keepdims=True)
        centred = []
        for values in (self.gold, self.scores):
            ranks = _ranks(values, weights)
            centred.append(ranks - (weights * ranks).sum(axis=1, keepdims=True) / totals)
        first, second = centred
        spread = np.sqrt((weights * first**2).sum(axis=1) * (weights * second**2).sum(axis=1))
        covariance = (weights * first * second).sum(axis=1)
        correlation: Array = 100 * np.divide(covariance, spread, out=np.zeros_like(spread), where=spread > 0)
        return correlation


def _ranks(values: Array, weights: Array) -> Array:
    """Return each item's mean rank under each row of weights."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    groups = np.add.reduceat(weights[:, order], starts, axis=1)  # (resamples, distinct values)
    middle = groups.cumsum(axis=1) - groups / 2
    ranks: Array = middle[:, np.searchsorted(ordered[starts], values)]
    return ranks
