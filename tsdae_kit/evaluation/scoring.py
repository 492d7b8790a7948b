"""Scores a model on a task by cosine similarity; each text is encoded once per model and folder.

Queries and documents go through ``encode_query`` and ``encode_document``, which apply a model's prompts; both texts of
a pair go through ``encode``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from tsdae_kit.errors import KitError
from tsdae_kit.evaluation.metrics import Array, AveragePrecision, Mean, Metric, Spearman, score
from tsdae_kit.evaluation.ranking_metrics import DEPTH, measure_rankings
from tsdae_kit.evaluation.tasks import Pairs, Reranking, Retrieval, Task

Role = Literal["query", "document", "sentence"]
Embed = Callable[[Sequence[str], Role], torch.Tensor]
_MAX_SIMILARITIES = 16_000_000  # in memory at once


class Embeddings:
    """A model's embeddings with a cache: no text is encoded twice."""

    def __init__(self, model: SentenceTransformer, name: str, batch_size: int) -> None:
        self._encode: dict[Role, Callable[..., torch.Tensor]] = {
            "query": model.encode_query, "document": model.encode_document, "sentence": model.encode,
        }  # fmt: skip
        self._name = name
        self._batch_size = batch_size
        self._rows: dict[Role, dict[str, int]] = {}
        self._tensors: dict[Role, torch.Tensor] = {}

    def __call__(self, texts: Sequence[str], role: Role) -> torch.Tensor:
        """Return the normalized embeddings of the texts, (texts, hidden).

        Raises:
            KitError: If an embedding holds NaN or infinity.
        """
        rows = self._rows.setdefault(role, {})
        new = [text for text in dict.fromkeys(texts) if text not in rows]
        if new:
            embeddings = self._encode[role](
                new, batch_size=self._batch_size, convert_to_tensor=True, normalize_embeddings=True,
                show_progress_bar=False,
            ).float()  # fmt: skip
            if not bool(embeddings.isfinite().all()):
                raise KitError(f"The embeddings of {self._name} hold NaN or infinity. Use an earlier checkpoint of it.")
            self._tensors[role] = torch.cat([self._tensors[role], embeddings]) if rows else embeddings
            rows.update({text: len(rows) + i for i, text in enumerate(new)})
        return self._tensors[role][[rows[text] for text in texts]]


def score_task(task: Task, embed: Embed) -> dict[str, Metric]:
    """Return the task's metrics by name, the main one first."""
    if isinstance(task, Retrieval):
        return dict(measure_rankings(_rank_documents(task, embed), task.grades, task.metric_names))
    if isinstance(task, Reranking):
        return {"MAP": _score_reranking(task, embed)}
    return _score_pairs(task, embed)


def _rank_documents(task: Retrieval, embed: Embed) -> list[list[int]]:
    """Return document indices for each query, best first.

    ``util.semantic_search`` would build a dictionary per hit.
    """
    docs, queries = embed(task.docs, "document"), embed(task.queries, "query")
    depth = min(DEPTH, len(docs))
    rankings: list[list[int]] = []
    for batch in queries.split(max(_MAX_SIMILARITIES // len(docs), 1)):
        cosines = batch @ docs.T  # (queries, documents)
        for row, identical in enumerate(task.identical_docs[len(rankings) : len(rankings) + len(batch)]):
            if identical >= 0:
                cosines[row, identical] = -torch.inf
        rankings += cosines.topk(depth).indices.tolist()
    return rankings


def _score_reranking(task: Reranking, embed: Embed) -> Mean:
    queries = embed(task.queries, "query")
    candidates = [(*positives, *negatives) for positives, negatives in zip(task.positives, task.negatives, strict=True)]
    embeddings = embed([text for texts in candidates for text in texts], "document")
    values = []
    docs_by_query = embeddings.split([len(texts) for texts in candidates])
    for query, docs, positives in zip(queries, docs_by_query, task.positives, strict=True):
        labels = np.arange(len(docs)) < len(positives)
        values.append(score(AveragePrecision(labels.astype(np.float64), _to_numpy(docs @ query))) / 100)
    return Mean(np.array(values))


def _score_pairs(task: Pairs, embed: Embed) -> dict[str, Metric]:
    embeddings = embed([*task.first, *task.second], "sentence")
    first, second = embeddings[: len(task.first)], embeddings[len(task.first) :]
    cosines = _to_numpy((first * second).sum(dim=1))
    gold = np.array(task.gold)
    return {"AP": AveragePrecision(gold, cosines)} if task.binary else {"Spearman": Spearman(gold, cosines)}


def _to_numpy(tensor: torch.Tensor) -> Array:
    return tensor.double().cpu().numpy()
