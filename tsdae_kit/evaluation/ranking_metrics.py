"""Retrieval metrics of rankings with graded judgements, as trec_eval computes them.

The library's ``InformationRetrievalEvaluator`` knows only relevant or not, and returns only means.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tsdae_kit.evaluation.metrics import Mean

DEPTH = 1000  # ranked documents per query, as in trec_eval


def measure_ranking(ranking: Sequence[int], grades: Mapping[int, float]) -> dict[str, float]:
    """Return nDCG@10 (gain = grade), MRR@10, recall@100 and average precision of one query, each from 0 to 1.

    Args:
        ranking: Documents, best first, at most ``DEPTH``.
        grades: The judged documents; a grade above 0 is relevant. At least one is relevant.
    """
    relevant = sorted((grade for grade in grades.values() if grade > 0), reverse=True)
    hits = [(rank, grades[document]) for rank, document in enumerate(ranking, start=1) if grades.get(document, 0) > 0]
    gain = sum(grade / math.log2(rank + 1) for rank, grade in hits if rank <= 10)
    ideal = sum(grade / math.log2(rank + 1) for rank, grade in enumerate(relevant[:10], start=1))
    return {
        "nDCG@10": gain / ideal,
        "MRR@10": 1 / hits[0][0] if hits and hits[0][0] <= 10 else 0.0,
        "recall@100": sum(rank <= 100 for rank, _ in hits) / len(relevant),
        "MAP": sum(count / rank for count, (rank, _) in enumerate(hits, start=1)) / len(relevant),
    }


def measure_rankings(
    rankings: Sequence[Sequence[int]], grades: Sequence[Mapping[int, float]], names: Sequence[str]
) -> dict[str, Mean]:
    """Return the named metrics over all queries."""
    per_query = [measure_ranking(ranking, judged) for ranking, judged in zip(rankings, grades, strict=True)]
    return {name: Mean(np.array([values[name] for values in per_query])) for name in names}
