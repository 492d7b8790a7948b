"""The kinds of tasks that a model can be scored on: retrieval, reranking and pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Retrieval:
    """Queries, the documents to search, and relevance grades.

    Attributes:
        name: Folder and kind of task, unique among the tasks that are scored together.
        queries: The query texts; each has at least one relevant document.
        docs: The document texts.
        grades: For each query, the grades of its judged documents by document index.
        identical_docs: For each query, the index of the document that is the query itself, or -1. The query's ranking
            excludes it. Empty if no query is a document.
    """

    name: str
    queries: tuple[str, ...]
    docs: tuple[str, ...]
    grades: tuple[Mapping[int, float], ...]
    identical_docs: tuple[int, ...] = field(default=(), repr=False)  # run records hold digests of the other fields
    metric_names = ("nDCG@10", "MRR@10", "recall@100", "MAP")

    @property
    def size(self) -> str:
        """The number of items, in words."""
        return f"{len(self.queries):,} queries, {len(self.docs):,} documents"


@dataclass(frozen=True)
class Reranking:
    """Queries, each with positive documents to rank above negative ones."""

    name: str
    queries: tuple[str, ...]
    positives: tuple[tuple[str, ...], ...]
    negatives: tuple[tuple[str, ...], ...]
    metric_names = ("MAP",)

    @property
    def size(self) -> str:
        """The number of items, in words."""
        return f"{len(self.queries):,} queries"


@dataclass(frozen=True)
class Pairs:
    """Pairs of texts with gold scores; if these are only 0 and 1, they are labels."""

    name: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    gold: tuple[float, ...]

    @property
    def binary(self) -> bool:
        """Whether the gold scores are labels."""
        return set(self.gold) == {0.0, 1.0}

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The one metric."""
        return ("AP",) if self.binary else ("Spearman",)

    @property
    def size(self) -> str:
        """The number of items, in words."""
        return f"{len(self.gold):,} {'labelled' if self.binary else 'scored'} pairs"


Task = Retrieval | Reranking | Pairs


def main_metric(task: Task) -> str:
    """Return the name of the task's main metric."""
    return task.metric_names[0]
