"""Two terms beside the reconstruction loss: a contrastive loss and a drift penalty.

Reconstruction alone moves a finished embedding model away from what made it good, and the further the longer it is
trained (results/diary.md).
"""

from __future__ import annotations

from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from tsdae_kit.tsdae.collectives import gather_rows, mean_over_ranks

TEMPERATURE = 0.05  # SimCSE's (Gao, Yao and Chen 2021, arXiv 2104.08821)


class Regularization:
    """A contrastive loss and a drift penalty, computed from the embeddings of the clean sentences.

    The contrastive loss makes each noisy sentence most similar to its own clean sentence in the batch (DenoSent, arXiv
    2401.13621, also adds one to a reconstruction loss). The drift penalty keeps the embedding of each clean sentence
    near the base model's. With a base model, the clean sentences of the contrastive loss are embedded by it; without,
    by the encoder.

    Attributes:
        contrastive_weight: Weight of the contrastive loss.
        drift_penalty: Weight of the drift penalty.
        base: The base model, frozen.
        components: The terms of the last call, without gradients: ``contrastive`` and ``drift``, with their weights
            applied.
    """

    def __init__(
        self, contrastive_weight: float, drift_penalty: float = 0.0, base: SentenceTransformer | None = None
    ) -> None:
        """Freeze the base model.

        Args:
            contrastive_weight: Weight of the in-batch cross-entropy, in nats.
            drift_penalty: Weight of 1 - cosine similarity; needs a base model.
            base: The model that the run starts from; nothing else may train it.
        """
        self.contrastive_weight, self.drift_penalty = contrastive_weight, drift_penalty
        self.components: dict[str, Tensor] = {}
        self.base = base.eval().requires_grad_(False) if base else None

    def __call__(self, encoder: SentenceTransformer, noisy: Tensor, clean: dict[str, Tensor]) -> Tensor:
        """Return the weighted sum, a scalar; with several processes, the mean of their results is that of all rows.

        Args:
            encoder: The model that is trained.
            noisy: Its embeddings of the noisy sentences, (batch, hidden).
            clean: The features of the clean sentences.
        """
        targets = _embed(self.base or encoder, clean)
        candidates, first_row = gather_rows(targets)  # the whole batch, of all processes
        similarities = normalize(noisy.float(), dim=1) @ candidates.T / TEMPERATURE
        labels = torch.arange(first_row, first_row + len(noisy), device=noisy.device)
        total = self.contrastive_weight * cross_entropy(similarities, labels, reduction="sum")
        sums = {"contrastive": total.detach()}
        if self.drift_penalty:
            drift = self.drift_penalty * (1 - (_embed(encoder, clean) * targets).sum(dim=1)).sum()
            sums["drift"] = drift.detach()
            total = total + drift
        count = mean_over_ranks(len(noisy), noisy.device)
        self.components = {
            name: value / count for name, value in sums.items() if name != "contrastive" or self.contrastive_weight
        }
        return total / count


def _embed(model: SentenceTransformer, features: dict[str, Tensor]) -> Tensor:
    """Return normalized sentence embeddings in float32, (batch, hidden)."""
    inputs: Any = dict(features)
    return normalize(model(inputs)["sentence_embedding"].float(), dim=1)
