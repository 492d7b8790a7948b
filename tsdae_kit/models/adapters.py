"""Low-rank adapters (LoRA, arXiv 2106.09685) through PEFT: few weights learn, and the final model has none of them.

The encoder's own weights are frozen, checkpoints hold the adapters only, and the base model is read
again, by its own name, when the run is resumed.
"""

from __future__ import annotations

import importlib.util
from typing import Any

from sentence_transformers import SentenceTransformer
from transformers.pytorch_utils import Conv1D

from tsdae_kit.errors import KitError

SCALE = 2  # alpha / rank, the usual choice


def add_adapters(encoder: SentenceTransformer, rank: int) -> None:
    """Let only adapters learn: those the encoder has, or new ones around all its linear layers.

    Args:
        encoder: Changed in place; new adapters leave its embeddings as they are.
        rank: Of new adapters.

    Raises:
        KitError: If PEFT is missing.
    """
    if not importlib.util.find_spec("peft"):
        raise KitError("--lora-rank needs a package. Install it: pip install 'tsdae_kit[lora]'.")
    from peft import LoraConfig

    if not has_adapters(encoder):
        transposed = any(isinstance(module, Conv1D) for module in encoder.modules())
        encoder.add_adapter(
            LoraConfig(r=rank, lora_alpha=SCALE * rank, target_modules="all-linear", fan_in_fan_out=transposed)
        )
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_("lora_" in name)


def has_adapters(encoder: SentenceTransformer) -> bool:
    """Return whether the encoder's transformer carries adapters."""
    return bool(getattr(getattr(encoder, "transformers_model", None), "_hf_peft_config_loaded", False))


def merge_adapters(encoder: SentenceTransformer) -> None:
    """Add each adapter to the layer it is around, and take it away: a plain encoder with the same embeddings."""
    if not has_adapters(encoder):
        return
    from peft.tuners.tuners_utils import BaseTunerLayer

    transformer: Any = encoder.transformers_model
    for name, module in list(transformer.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            owner, _, attribute = name.rpartition(".")
            setattr(transformer.get_submodule(owner), attribute, module.get_base_layer())
    del transformer.peft_config
    transformer._hf_peft_config_loaded = False
    vars(transformer).pop("_weight_conversions", None)  # a loaded adapter's, which would rename what is saved
    encoder.requires_grad_(True)
