"""The loss of a labelled file; all are the library's.

Positive pairs: in-batch negatives (multiple negatives ranking, arXiv 1705.00652), with cached gradients where the batch
is large (arXiv 2101.06983). Scores: CoSENT. Labels 0 and 1: online contrastive. Classes, as of NLI: the classifier over
(u, v, |u - v|) of Sentence-BERT (arXiv 1908.10084).
"""

from __future__ import annotations

import logging

import pyarrow as pa
import pyarrow.compute as pc
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses
from torch import nn

from tsdae_kit.config.settings.fine_tuning import Objective
from tsdae_kit.errors import KitError
from tsdae_kit.models.encoders import full_embedding_dimension

logger = logging.getLogger("tsdae_kit")
# The objectives of each kind of label; the first is the default
OBJECTIVES: dict[str, tuple[Objective, ...]] = {
    "none": ("multiple-negatives",),
    "binary": ("contrastive", "multiple-negatives", "cosent", "softmax"),
    "scores": ("cosent",),
    "classes": ("softmax",),
}
CACHED_FROM = 128  # pairs in a batch; larger batches are encoded in mini-batches of half as many
IN_BATCH_NEGATIVES: Objective = "multiple-negatives"  # a text twice in a batch would be its own negative
_SAMPLE_ROWS = 20_000  # from which one batch is filled


def choose_objective(requested: Objective, labels: str, source: str) -> Objective:
    """Return the objective for a kind of label.

    Raises:
        KitError: If the requested one does not fit the labels.
    """
    possible = OBJECTIVES[labels]
    if requested == "auto":
        return possible[0]
    if requested not in possible:
        raise KitError(f"--loss {requested} does not fit {source} (labels: {labels}). Possible: {', '.join(possible)}.")
    return requested


def make_objective(name: Objective, encoder: SentenceTransformer, batch_size: int, classes: int) -> nn.Module:
    """Return the library's loss.

    Args:
        name: The result of :func:`choose_objective`.
        encoder: The model to train.
        batch_size: Pairs a step and process.
        classes: The number of classes, for ``softmax``.
    """
    if name == "cosent":
        return losses.CoSENTLoss(encoder)
    if name == "contrastive":
        return losses.OnlineContrastiveLoss(encoder)
    if name == "softmax":
        return losses.SoftmaxLoss(encoder, embedding_dimension=full_embedding_dimension(encoder), num_labels=classes)
    if batch_size >= CACHED_FROM:
        return losses.CachedMultipleNegativesRankingLoss(encoder, mini_batch_size=CACHED_FROM // 2)
    return losses.MultipleNegativesRankingLoss(encoder)


def check_learnable(rows: pa.Table, objective: Objective, batch_size: int, source: str) -> None:
    """Refuse rows from which nothing can be learned, and warn where batches stay small.

    Args:
        rows: Texts, then ``label`` if there is one.
        objective: Of these rows.
        batch_size: Rows a step, of all processes.
        source: The file, for messages.

    Raises:
        KitError: If the loss would be 0, or the same whatever the model says.
    """
    if len(rows) < 2:
        raise KitError(f"{source} holds one row, from which nothing can be learned. Give more.")
    if objective != IN_BATCH_NEGATIVES:
        labels = pc.unique(rows["label"]).to_pylist()
        if len(labels) < 2:
            raise KitError(
                f"{source}: every label is {labels[0]}, so there is nothing to tell apart. If all of its pairs belong "
                "together, leave the label out: --columns anchor=NAME positive=NAME."
            )
        return
    held = _fill_batch(rows, batch_size)
    if held == 1 and (rows.num_columns == 2 or rows.group_by(rows.column_names).aggregate([]).num_rows == 1):
        why = (
            "--batch-size is 1" if batch_size == 1 else "a text stands in a batch once, and the same stand in every row"
        )
        raise KitError(
            f"{source}: a batch holds a single pair ({why}), and a pair learns from the batch's others: its loss is 0. "
            + ("Raise --batch-size." if batch_size == 1 else "Give pairs of different texts.")
        )
    if held < min(batch_size, len(rows)) / 2:
        logger.warning(
            "!!! %s: a batch holds %d rows, not %d: a text stands in a batch once, and many rows share theirs.",
            source, held, min(batch_size, len(rows)),
        )  # fmt: skip


def _fill_batch(rows: pa.Table, batch_size: int) -> int:
    """Return the number of rows of a batch that holds each text once."""
    texts: set[str] = set()
    count = 0
    for row in rows.slice(0, _SAMPLE_ROWS).to_pylist():
        if texts.isdisjoint(row.values()):
            texts.update(row.values())
            count += 1
            if count == batch_size:
                break
    return count
