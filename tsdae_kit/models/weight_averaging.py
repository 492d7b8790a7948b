"""Averages a run's final weights with those of its base model.

Half-way between the two, a model keeps most of its gain and loses less of what it could do before (Wortsman et al.
2022, arXiv 2109.01903; figures for this toolkit in results/README.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor


class BaseWeightAverage:
    """The average of an encoder's weights and its base model's.

    Args:
        base_weight: Weight of the base model in the average, from 0 to 1.
        load_base: Returns the base model; called when it is first needed.
    """

    def __init__(self, base_weight: float, load_base: Callable[[], SentenceTransformer]) -> None:
        self._base_weight = base_weight
        self._load_base = load_base

    @cached_property
    def _base_parameters(self) -> dict[str, Tensor]:
        return {name: parameter.detach() for name, parameter in self._load_base().named_parameters()}

    @torch.no_grad()
    def apply_to(self, encoder: SentenceTransformer) -> None:
        """Replace the encoder's weights by the average; weights that equal the base model's stay bitwise unchanged."""
        for name, parameter in encoder.named_parameters():
            parameter.lerp_(self._base_parameters[name].to(parameter), self._base_weight)

    @contextmanager
    def applied(self, encoder: SentenceTransformer) -> Iterator[None]:
        """Give the encoder the averaged weights within the block, and its own back, bitwise, after it."""
        own = {name: parameter.detach().clone() for name, parameter in encoder.named_parameters()}
        self.apply_to(encoder)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, parameter in encoder.named_parameters():
                    parameter.copy_(own[name])
