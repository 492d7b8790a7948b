"""Metrics that take a weight per item, so that a bootstrap can resample by reweighting.

sentence-transformers' evaluators return one number for a whole data set. Here a metric holds what it is computed from,
and a resample costs a few numpy operations: an item drawn twice has the weight 2. The tests compare each metric with
scikit-learn, scipy and trec_eval.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Metric(Protocol):
    """A metric over items (queries or pairs)."""

    def __len__(self) -> int:
        """Return the number of items."""

    def weighted(self, weights: Array) -> Array:
        """Return the metric, from 0 to 100, for each row of ``weights`` (resamples, items)."""


def score(metric: Metric) -> float:
    """Return the metric with equal weights, from 0 to 100."""
    return float(metric.weighted(np.ones((1, len(metric))))[0])


@dataclass(frozen=True)
class Mean:
    """The mean of one value per item, each from 0 to 1."""

    values: Array

    def __len__(self) -> int:
        return len(self.values)

    def weighted(self, weights: Array) -> Array:
        """Return the weighted means."""
        means: Array = 100 * (weights @ self.values) / weights.sum(axis=1)
        return means


@dataclass(frozen=True)
class AveragePrecision:
    """Average precision of scores for labels 0 and 1, without interpolation; tied scores are one threshold.

    It is NaN without a positive.
    """

    labels: Array
    scores: Array

    def __len__(self) -> int:
        return len(self.labels)

    def weighted(self, weights: Array) -> Array:
        """Return the weighted average precision."""
        order = np.argsort(-self.scores, kind="stable")
        ranked = self.scores[order]
        last_tie = np.searchsorted(-ranked, -ranked, side="right") - 1  # per item, the last one of equal score
        weights = weights[:, order]
        positive = weights * self.labels[order]
        true_positives, retrieved = positive.cumsum(axis=1)[:, last_tie], weights.cumsum(axis=1)[:, last_tie]
        precision = np.divide(true_positives, retrieved, out=np.zeros_like(retrieved), where=retrieved > 0)
        with np.errstate(invalid="ignore"):
            result: Array = 100 * (positive * precision).sum(axis=1) / positive.sum(axis=1)
        return result


@dataclass(frozen=True)
class Spearman:
    """Spearman's rank correlation of scores with gold scores; ties share their mean rank.

    It is 0 if all scores are equal.
    """

    gold: Array
    scores: Array

    def __len__(self) -> int:
        return len(self.gold)

    def weighted(self, weights: Array) -> Array:
        """Return the weighted correlations."""
        totals = weights.sum(axis=1, keepdims=True)
        centred = []
        for values in (self.gold, self.scores):
            ranks = _weighted_ranks(values, weights)
            centred.append(ranks - (weights * ranks).sum(axis=1, keepdims=True) / totals)
        first, second = centred
        spread = np.sqrt((weights * first**2).sum(axis=1) * (weights * second**2).sum(axis=1))
        covariance = (weights * first * second).sum(axis=1)
        correlation: Array = 100 * np.divide(covariance, spread, out=np.zeros_like(spread), where=spread > 0)
        return correlation


def _weighted_ranks(values: Array, weights: Array) -> Array:
    """Return each item's mean rank for each row of weights."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    tie_weights = np.add.reduceat(weights[:, order], starts, axis=1)  # (resamples, distinct values)
    mean_ranks = tie_weights.cumsum(axis=1) - tie_weights / 2
    ranks: Array = mean_ranks[:, np.searchsorted(ordered[starts], values)]
    return ranks
