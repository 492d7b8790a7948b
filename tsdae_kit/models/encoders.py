"""Properties of a loaded sentence encoder (dimension, positions, parameters), and its gradient checkpointing."""

from __future__ import annotations

from typing import Any

from sentence_transformers import SentenceTransformer
from torch import nn

from tsdae_kit.errors import KitError


def full_embedding_dimension(model: SentenceTransformer) -> int:
    """Return the dimension of the embeddings in training; only ``encode`` truncates them to ``truncate_dim``."""
    with model.truncate_embeddings(None):
        return model.get_embedding_dimension() or 0


def count_positions(transformer: Any) -> int | None:
    """Return the maximum number of tokens of a transformer with learned positions, ``None`` without a limit.

    RoBERTa's positions start after the padding's.
    """
    limit = getattr(getattr(transformer, "config", None), "max_position_embeddings", None)
    learned = [module for name, module in transformer.named_modules() if name.endswith("position_embeddings")]
    padding_id = getattr(learned[0], "padding_idx", None) if learned else None
    return limit if limit is None or padding_id is None else limit - padding_id - 1


def count_parameters(*modules: nn.Module, trainable: bool = False) -> int:
    """Return the number of parameters, or of the trainable ones; shared parameters count once."""
    parameters = {id(p): p for module in modules for p in module.parameters()}
    return sum(p.numel() for p in parameters.values() if p.requires_grad or not trainable)


def enable_gradient_checkpointing(encoder: SentenceTransformer) -> None:
    """Make each layer keep only its input for the backward pass, and compute the rest again.

    Raises:
        KitError: If the model family does not support it.
    """
    transformer: Any = encoder.transformers_model
    try:
        transformer.activation_checkpointing_enable({"use_reentrant": False})
    except (AttributeError, ValueError) as error:
        raise KitError(
            f"The model family {transformer.config.model_type!r} has no gradient checkpointing. "
            "Leave --gradient-checkpointing out; --gradient-accumulation-steps saves memory too."
        ) from error
