"""What is asked of an encoder beside reconstruction: to tell sentences apart, and not to unlearn what it knows.

Reconstruction alone moves a finished embedding model away from what made it good, the further the longer it is
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
    """Two terms beside the reconstruction, by the embeddings of the clean sentences.

    The contrast asks that a noisy sentence be nearer to its clean one than to the batch's others (as DenoSent, arXiv
    2401.13621, has it beside a reconstruction); the anchor that a clean sentence stay where the base model has it. With
    a base model, the contrast is with the clean sentences where that has them too; without, where the encoder does.
    """

    def __init__(
        self, contrastive_weight: float, drift_penalty: float = 0.0, base: SentenceTransformer | None = None
    ) -> None:
        """Take the base model, which is frozen.

        Args:
            contrastive_weight: Weight of the in-batch cross-entropy, in nats.
            drift_penalty: Weight of 1 - cosine; only with a base model.
            base: The model the run began with, not to be trained elsewhere.
        """
        self.contrastive_weight, self.drift_penalty = contrastive_weight, drift_penalty
        self.parts: dict[str, Tensor] = {}  # what the last sum was made of
        self.base = base.eval().requires_grad_(False) if base else None

    def __call__(self, encoder: SentenceTransformer, noisy: Tensor, clean: dict[str, Tensor]) -> Tensor:
        """Return the weighted sum, a number; with several processes, this one's share of the mean over all rows.

        Args:
            encoder: What is trained.
            noisy: Its embeddings of the noisy sentences, (batch, hidden).
            clean: The features of the clean ones.
        """
        wanted = _embed(self.base or encoder, clean)
        others, first = gather_rows(wanted)  # the batch is that of all processes
        similar = normalize(noisy.float(), dim=1) @ others.T / TEMPERATURE
        places = torch.arange(first, first + len(noisy), device=noisy.device)
        total = self.contrastive_weight * cross_entropy(similar, places, reduction="sum")
        parts = {"contrastive": total.detach()}
        if self.drift_penalty:
            away = self.drift_penalty * (1 - (_embed(encoder, clean) * wanted).sum(dim=1)).sum()
            parts["drift"] = away.detach()
            total = total + away
        count = mean_over_ranks(len(noisy), noisy.device)
        self.parts = {
            name: part / count for name, part in parts.items() if name != "contrastive" or self.contrastive_weight
        }
        return total / count


def _embed(model: SentenceTransformer, features: dict[str, Tensor]) -> Tensor:
    given: Any = dict(features)
    return normalize(model(given)["sentence_embedding"].float(), dim=1)
