"""BM25, the row that any embedding should beat, by the library bm25s (the extra ``bm25``)."""

from __future__ import annotations

import importlib.util

from tsdae_kit.corpus.words import split_words
from tsdae_kit.errors import KitError
from tsdae_kit.evaluation.metrics import Sample
from tsdae_kit.evaluation.ranking_metrics import DEPTH, measure_rankings
from tsdae_kit.evaluation.tasks import Retrieval, Task

NAME = "bm25"


def check_bm25() -> None:
    """Refuse early where the library is missing.

    Raises:
        KitError: Then.
    """
    if importlib.util.find_spec("bm25s") is None:
        raise KitError("The row bm25 takes the library bm25s, which is missing. pip install 'tsdae_kit[bm25]'")


def score_with_bm25(task: Task) -> dict[str, Sample] | None:
    """Return the metrics of BM25's ranking, or ``None`` for what is no retrieval."""
    if not isinstance(task, Retrieval) or task.proxy:
        return None
    import bm25s

    index = bm25s.BM25()
    index.index([_words(text) for text in task.docs], show_progress=False)
    depth = min(DEPTH, len(task.docs))
    found, scores = index.retrieve([_words(text) for text in task.queries], k=depth, show_progress=False)
    # Documents without a word of the query are no hits
    itself = task.itself or [-1] * len(task.queries)
    rankings = [
        row[(values > 0) & (row != own)].tolist() for row, values, own in zip(found, scores, itself, strict=True)
    ]
    return dict(measure_rankings(rankings, task.grades, task.metrics))


def _words(text: str) -> list[str]:
    """Return the words without punctuation, in any script."""
    return [word for piece in split_words(text.casefold()) if (word := piece.strip()).isalnum()]
