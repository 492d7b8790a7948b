"""Which loss a labelled file is trained with; all are the library's own.

Texts that belong together: in-batch negatives (multiple negatives ranking, arXiv 1705.00652), with
gradients cached where the batch is large (arXiv 2101.06983). Scores: CoSENT. 0 and 1: online
contrastive. Classes, as of NLI: the classifier over (u, v, |u - v|) of Sentence-BERT (arXiv 1908.10084).
"""

from __future__ import annotations

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses
from torch import nn

from tsdae_kit.denoising.loss import full_width
from tsdae_kit.errors import KitError
from tsdae_kit.settings import Objective

# What each kind of label can be trained with, the first by itself
POSSIBLE: dict[str, tuple[Objective, ...]] = {
    "none": ("multiple-negatives",),
    "binary": ("contrastive", "multiple-negatives", "cosent", "softmax"),
    "scores": ("cosent",),
    "classes": ("softmax",),
}
CACHED_FROM = 128  # pairs in a batch, from which on they are encoded in parts of half as many
NEEDS_DISTINCT: Objective = "multiple-negatives"  # a text twice in a batch would be its own negative


def choose_objective(wanted: Objective, labels: str, source: str) -> Objective:
    """Return the objective for a kind of label.

    Raises:
        KitError: If the one asked for cannot work with it.
    """
    possible = POSSIBLE[labels]
    if wanted == "auto":
        return possible[0]
    if wanted not in possible:
        raise KitError(f"--loss {wanted} does not fit {source} (labels: {labels}). Possible: {', '.join(possible)}.")
    return wanted


def make_objective(name: Objective, encoder: SentenceTransformer, batch_size: int, classes: int) -> nn.Module:
    """Return the library's loss.

    Args:
        name: What :func:`choose_objective` returned.
        encoder: The model to train.
        batch_size: Pairs a step and process.
        classes: How many there are, for ``softmax``.
    """
    if name == "cosent":
        return losses.CoSENTLoss(encoder)
    if name == "contrastive":
        return losses.OnlineContrastiveLoss(encoder)
    if name == "softmax":
        return losses.SoftmaxLoss(encoder, embedding_dimension=full_width(encoder), num_labels=classes)
    if batch_size >= CACHED_FROM:
        return losses.CachedMultipleNegativesRankingLoss(encoder, mini_batch_size=CACHED_FROM // 2)
    return losses.MultipleNegativesRankingLoss(encoder)
