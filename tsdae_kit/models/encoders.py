"""What can be asked of any loaded sentence encoder: its sizes, its limits, its memory mode."""

from __future__ import annotations

from typing import Any

from sentence_transformers import SentenceTransformer
from torch import nn

from tsdae_kit.errors import KitError


def full_embedding_dimension(model: SentenceTransformer) -> int:
    """Return how many values a sentence's embedding has in training: ``encode`` alone cuts it to ``truncate_dim``."""
    with model.truncate_embeddings(None):
        return model.get_embedding_dimension() or 0


def count_positions(transformer: Any) -> int | None:
    """Return how many tokens an encoder with learned positions can take (RoBERTa's begin behind the padding's)."""
    limit = getattr(getattr(transformer, "config", None), "max_position_embeddings", None)
    learned = [module for name, module in transformer.named_modules() if name.endswith("position_embeddings")]
    padding = getattr(learned[0], "padding_idx", None) if learned else None
    return limit if limit is None or padding is None else limit - padding - 1


def count_parameters(*modules: nn.Module, trainable: bool = False) -> int:
    """Return the number of weights, or of those that learn, each shared one once."""
    everything = {id(p): p for module in modules for p in module.parameters()}
    return sum(p.numel() for p in everything.values() if p.requires_grad or not trainable)


def enable_gradient_checkpointing(encoder: SentenceTransformer) -> None:
    """Let the layers keep their inputs alone for the backward pass, and compute the rest again.

    Raises:
        KitError: If the family cannot.
    """
    transformer: Any = encoder.transformers_model
    try:
        transformer.activation_checkpointing_enable({"use_reentrant": False})
    except (AttributeError, ValueError) as error:
        raise KitError(
            f"The model family {transformer.config.model_type!r} has no gradient checkpointing. "
            "Leave --gradient-checkpointing out; --gradient-accumulation-steps saves memory too."
        ) from error
