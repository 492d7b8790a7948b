"""The mean of the weights a run ended with and those it began with.

Half-way between the two, a model keeps most of what it gained and loses less of what it knew (Wortsman et al. 2022,
arXiv 2109.01903; figures for this toolkit in results/README.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor


class BaseWeightAverage:
    """What the base model contributes to the final weights.

    Args:
        share: From 0 to 1.
        load: Gives the base model, when it is needed first.
    """

    def __init__(self, share: float, load: Callable[[], SentenceTransformer]) -> None:
        self._share = share
        self._load = load

    @cached_property
    def _weights(self) -> dict[str, Tensor]:
        return {name: weights.detach() for name, weights in self._load().named_parameters()}

    @torch.no_grad()
    def mix_into(self, encoder: SentenceTransformer) -> None:
        """Change the weights to the mean; those of the base model itself stay as they are, to the bit."""
        for name, weights in encoder.named_parameters():
            weights.lerp_(self._weights[name].to(weights), self._share)

    @contextmanager
    def mixed(self, encoder: SentenceTransformer) -> Iterator[None]:
        """Let the encoder have the mean for a while, and its own weights, to the bit, after."""
        own = {name: weights.detach().clone() for name, weights in encoder.named_parameters()}
        self.mix_into(encoder)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, weights in encoder.named_parameters():
                    weights.copy_(own[name])
