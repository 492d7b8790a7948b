"""Low-rank adapters (LoRA, arXiv 2106.09685) with PEFT: only few weights are trained, and they are merged at the end.

The encoder's own weights are frozen. Checkpoints hold only the adapters; a resumed run reads the base model again by
its name.
"""

from __future__ import annotations

from typing import Any

from sentence_transformers import SentenceTransformer
from transformers.pytorch_utils import Conv1D

from tsdae_kit.extras import import_extra

ALPHA_PER_RANK = 2  # the usual choice


def add_adapters(encoder: SentenceTransformer, rank: int) -> None:
    """Make only adapters trainable: those that the encoder has, or new ones at all its linear layers.

    Args:
        encoder: Changed in place; new adapters do not change its embeddings.
        rank: The rank of new adapters.

    Raises:
        KitError: If PEFT is not installed.
    """
    peft = import_extra("peft", "lora", "--lora-rank")
    if not has_adapters(encoder):
        transposed = any(isinstance(module, Conv1D) for module in encoder.modules())
        encoder.add_adapter(
            peft.LoraConfig(
                r=rank, lora_alpha=ALPHA_PER_RANK * rank, target_modules="all-linear", fan_in_fan_out=transposed
            )
        )
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_("lora_" in name)


def has_adapters(encoder: SentenceTransformer) -> bool:
    """Return whether the encoder's transformer has adapters."""
    return bool(getattr(getattr(encoder, "transformers_model", None), "_hf_peft_config_loaded", False))


def merge_adapters(encoder: SentenceTransformer) -> None:
    """Merge each adapter into its layer and remove it: a plain encoder with the same embeddings is left."""
    if not has_adapters(encoder):
        return
    adapter_layer = import_extra("peft.tuners.tuners_utils", "lora", "an adapter").BaseTunerLayer
    transformer: Any = encoder.transformers_model
    for name, module in list(transformer.named_modules()):
        if isinstance(module, adapter_layer):
            module.merge(safe_merge=True)
            owner, _, attribute = name.rpartition(".")
            setattr(transformer.get_submodule(owner), attribute, module.get_base_layer())
    del transformer.peft_config
    transformer._hf_peft_config_loaded = False
    vars(transformer).pop("_weight_conversions", None)  # set with a loaded adapter; it would rename saved weights
    encoder.requires_grad_(True)
