"""Scores a model on a task, by cosine similarity; each text is encoded once for each model and folder.

Queries and documents go through ``encode_query`` and ``encode_document``, so that a model's prompts are
used; pairs are alike on both sides and go through ``encode``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from tsdae_kit.errors import KitError
from tsdae_kit.evaluation.metrics import AveragePrecision, MeanOf, Sample, Spearman, score
from tsdae_kit.evaluation.ranking_metrics import DEPTH, measure_rankings
from tsdae_kit.evaluation.tasks import Pairs, Reranking, Retrieval, Task

Role = Literal["query", "document", "sentence"]
Embed = Callable[[Sequence[str], Role], torch.Tensor]
_CELLS = 16_000_000  # similarities held at once


class Embeddings:
    """A model's embeddings, kept: texts that come again are not encoded again."""

    def __init__(self, model: SentenceTransformer, name: str, batch_size: int) -> None:
        self._encode: dict[Role, Callable[..., torch.Tensor]] = {
            "query": model.encode_query, "document": model.encode_document, "sentence": model.encode,
        }  # fmt: skip
        self._name = name
        self._batch_size = batch_size
        self._rows: dict[Role, dict[str, int]] = {}
        self._tensors: dict[Role, torch.Tensor] = {}

    def __call__(self, texts: Sequence[str], role: Role) -> torch.Tensor:
        """Return the texts' embeddings of length 1, (texts, hidden).

        Raises:
            KitError: If the model gives what is no number.
        """
        rows = self._rows.setdefault(role, {})
        new = [text for text in dict.fromkeys(texts) if text not in rows]
        if new:
            made = self._encode[role](
                new, batch_size=self._batch_size, convert_to_tensor=True, normalize_embeddings=True,
                show_progress_bar=False,
            ).float()  # fmt: skip
            if not bool(made.isfinite().all()):
                raise KitError(f"{self._name} gives embeddings that are no numbers. Use an earlier checkpoint of it.")
            self._tensors[role] = torch.cat([self._tensors[role], made]) if rows else made
            rows.update({text: len(rows) + i for i, text in enumerate(new)})
        return self._tensors[role][[rows[text] for text in texts]]


def score_task(task: Task, embed: Embed) -> dict[str, Sample]:
    """Return the task's metrics, the main one first."""
    if isinstance(task, Retrieval):
        return dict(measure_rankings(_rank(task, embed), task.grades, task.metrics))
    if isinstance(task, Reranking):
        return {"MAP": _rerank(task, embed)}
    return _score_pairs(task, embed)


def _rank(task: Retrieval, embed: Embed) -> list[list[int]]:
    """Return for each query the documents' numbers, best first.

    ``util.semantic_search`` would make a dictionary for each hit.
    """
    roles: tuple[Role, Role] = ("sentence", "sentence") if task.proxy else ("query", "document")
    docs, queries = embed(task.docs, roles[1]), embed(task.queries, roles[0])
    depth = min(DEPTH, len(docs))
    rankings: list[list[int]] = []
    for part in queries.split(max(_CELLS // len(docs), 1)):
        cosines = part @ docs.T
        for row, number in enumerate(task.itself[len(rankings) : len(rankings) + len(part)]):
            if number >= 0:
                cosines[row, number] = -torch.inf
        rankings += cosines.topk(depth).indices.tolist()
    return rankings


def _rerank(task: Reranking, embed: Embed) -> MeanOf:
    queries = embed(task.queries, "query")
    lists = [(*positives, *negatives) for positives, negatives in zip(task.positives, task.negatives, strict=True)]
    docs = embed([text for texts in lists for text in texts], "document")
    values = []
    parts = docs.split([len(texts) for texts in lists])
    for query, part, positives in zip(queries, parts, task.positives, strict=True):
        labels = np.arange(len(part)) < len(positives)
        values.append(score(AveragePrecision(labels.astype(np.float64), _numbers(part @ query))) / 100)
    return MeanOf(np.array(values))


def _score_pairs(task: Pairs, embed: Embed) -> dict[str, Sample]:
    both = embed([*task.first, *task.second], "sentence")
    cosines = _numbers((both[: len(task.first)] * both[len(task.first) :]).sum(dim=1))
    gold = np.array(task.gold)
    return {"AP": AveragePrecision(gold, cosines)} if task.binary else {"Spearman": Spearman(gold, cosines)}


def _numbers(tensor: torch.Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return tensor.double().cpu().numpy()
