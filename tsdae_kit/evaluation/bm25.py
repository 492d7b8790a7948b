"""BM25, the lexical baseline for retrieval, by the library bm25s (the extra ``bm25``)."""

from __future__ import annotations

from tsdae_kit.corpus.words import split_words
from tsdae_kit.evaluation.metrics import Metric
from tsdae_kit.evaluation.ranking_metrics import DEPTH, measure_rankings
from tsdae_kit.evaluation.tasks import Retrieval, Task
from tsdae_kit.extras import import_extra, require_extra

BM25 = "bm25"  # its name among the models


def require_bm25() -> None:
    """Check that the library is installed.

    Raises:
        KitError: If it is not.
    """
    require_extra("bm25", BM25, "bm25s")


def score_with_bm25(task: Task) -> dict[str, Metric] | None:
    """Return the metrics of BM25's rankings; ``None`` if the task is not retrieval."""
    if not isinstance(task, Retrieval):
        return None
    bm25s = import_extra("bm25s", "bm25", BM25)
    index = bm25s.BM25()
    index.index([_words(text) for text in task.docs], show_progress=False)
    depth = min(DEPTH, len(task.docs))
    documents, scores = index.retrieve([_words(text) for text in task.queries], k=depth, show_progress=False)
    identical_docs = task.identical_docs or [-1] * len(task.queries)
    rankings = [
        row[(values > 0) & (row != identical)].tolist()  # a score of 0: no word in common
        for row, values, identical in zip(documents, scores, identical_docs, strict=True)
    ]
    return dict(measure_rankings(rankings, task.grades, task.metric_names))


def _words(text: str) -> list[str]:
    """Return the words without punctuation, in any script."""
    return [word for piece in split_words(text.casefold()) if (word := piece.strip()).isalnum()]
