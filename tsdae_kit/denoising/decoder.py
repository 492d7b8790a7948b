"""Makes the decoder that rebuilds a sentence from its embedding, out of the live encoder.

Upstream makes it the other way round: it loads the decoder from the folder the encoder once came from
and ties the *encoder* to those values, so whatever was trained or added in memory is lost. Here the
encoder's parameters are the ones that stay, and the checkpoint is read only for a masked-LM head.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, cast

from torch import nn
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from tsdae_kit.console import quiet_frameworks
from tsdae_kit.settings import KitError


def make_decoder(encoder: PreTrainedModel, tied: bool) -> PreTrainedModel:
    """Return a causal language model with cross-attention; its own weights are the cross-attention and the head.

    Args:
        encoder: The transformer inside the sentence encoder; it is left bitwise unchanged.
        tied: Whether the decoder uses the encoder's parameters (the paper's choice), or copies of them.

    Raises:
        KitError: If the encoder's family has no decoder with cross-attention.
    """
    config = copy.deepcopy(encoder.config)
    config.is_decoder = True
    config.add_cross_attention = True
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise _no_decoder(config)
    decoder = _load_or_make(config)
    decoder.to(device=encoder.device, dtype=encoder.dtype)  # type: ignore[call-arg]
    base: Any = decoder.base_model
    if not any("cross" in name for name, _ in base.named_modules()):
        raise _no_decoder(config)
    output: Any = decoder.get_output_embeddings()
    head_is_tied = output.weight is base.get_input_embeddings().weight
    for name, parameter in encoder.named_parameters():
        _set_parameter(base, name, parameter if tied else nn.Parameter(parameter.detach().clone()))
    if head_is_tied:
        output.weight = base.get_input_embeddings().weight
    decoder.eval()
    return decoder


def make_head(decoder: PreTrainedModel) -> nn.Module:
    """Return what turns the decoder's hidden states into logits: everything behind its base model."""
    return nn.Sequential(*(child for name, child in decoder.named_children() if name != decoder.base_model_prefix))


def _load_or_make(config: PretrainedConfig) -> PreTrainedModel:
    """Return a decoder with the checkpoint's masked-LM head if it has one, else a new head."""
    source = getattr(config, "_name_or_path", "")
    if source and Path(source).is_dir() and any(Path(source).glob("*.safetensors")):
        with quiet_frameworks():  # the load report calls every weight that training is about to make missing
            decoder = AutoModelForCausalLM.from_pretrained(source, config=config, ignore_mismatched_sizes=True)
    else:
        decoder = AutoModelForCausalLM.from_config(config)
    return cast("PreTrainedModel", decoder)


def _set_parameter(base: nn.Module, name: str, parameter: nn.Parameter) -> None:
    path, _, attribute = name.rpartition(".")
    try:
        owner = base.get_submodule(path)
    except AttributeError:
        return  # a part that only the encoder has, such as BERT's pooler
    if hasattr(owner, attribute):
        setattr(owner, attribute, parameter)


def _no_decoder(config: PretrainedConfig) -> KitError:
    return KitError(
        f"The model family {config.model_type!r} has no decoder with cross-attention. "
        "Take an encoder of a family that has one: bert, roberta, xlm-roberta, camembert, electra, ernie."
    )
