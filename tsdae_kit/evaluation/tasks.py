"""What a model can be scored on: one frozen dataclass for each kind of evaluation data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Retrieval:
    """Queries that should find their documents.

    Attributes:
        name: The folder and the task, unique among those scored together.
        queries: The texts, each with at least one relevant document.
        docs: The texts searched.
        grades: For each query, the judged documents' numbers and grades.
        proxy: Whether the queries are documents made noisy, for want of labels.
        itself: For each query, the number of the document that is the query and so is left out of its ranking, or -1;
            empty where no query is a document.
    """

    name: str
    queries: tuple[str, ...]
    docs: tuple[str, ...]
    grades: tuple[Mapping[int, float], ...]
    proxy: bool = False
    itself: tuple[int, ...] = field(default=(), repr=False)  # the digests of runs that are resumed are made of the rest

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names, the main one first."""
        return ("MRR@10",) if self.proxy else ("nDCG@10", "MRR@10", "recall@100", "MAP")

    @property
    def size(self) -> str:
        """In words."""
        return f"{len(self.queries):,} queries, {len(self.docs):,} documents"


@dataclass(frozen=True)
class Reranking:
    """Queries whose positives should come before their negatives."""

    name: str
    queries: tuple[str, ...]
    positives: tuple[tuple[str, ...], ...]
    negatives: tuple[tuple[str, ...], ...]
    metrics = ("MAP",)

    @property
    def size(self) -> str:
        """In words."""
        return f"{len(self.queries):,} queries"


@dataclass(frozen=True)
class Pairs:
    """Pairs of texts with scores; those that hold only 0 and 1 are binary."""

    name: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    gold: tuple[float, ...]

    @property
    def binary(self) -> bool:
        """Whether the scores are labels."""
        return set(self.gold) == {0.0, 1.0}

    @property
    def metrics(self) -> tuple[str, ...]:
        """The one name."""
        return ("AP",) if self.binary else ("Spearman",)

    @property
    def size(self) -> str:
        """In words."""
        return f"{len(self.gold):,} {'labelled' if self.binary else 'scored'} pairs"


Task = Retrieval | Reranking | Pairs


def is_proxy(task: Task) -> bool:
    """Return whether the task was made for want of labels."""
    return isinstance(task, Retrieval) and task.proxy
