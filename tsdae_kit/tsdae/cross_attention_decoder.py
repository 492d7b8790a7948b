"""The decoder that rebuilds a sentence from its embedding, made out of the live encoder.

Upstream makes it the other way round: it loads the decoder from the folder the encoder once came from
and ties the *encoder* to those values, so whatever was trained or added in memory is lost. Here the
encoder's parameters are the ones that stay, and the checkpoint is read only for a masked-LM head.
"""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from tsdae_kit.errors import KitError
from tsdae_kit.tsdae.heads import OutputLayer, load_language_model


class CrossAttentionDecoder(nn.Module):
    """The library's construction: the encoder's layers, causal, each with cross-attention to the embedding.

    Attributes:
        lm: The causal language model. Its own weights are the cross-attention and the head.
        head_is_new: Whether the head begins with random weights.
        given: How many of a sentence's first tokens are not predicted.
    """

    given = 1

    def __init__(self, encoder: PreTrainedModel, tied: bool) -> None:
        """Make it from the encoder, which is left bitwise unchanged.

        Args:
            encoder: The transformer inside the sentence encoder.
            tied: Whether the decoder uses the encoder's parameters (the paper's choice), or copies of them.

        Raises:
            KitError: If the encoder's family has no decoder with cross-attention.
        """
        super().__init__()
        self.lm: Any
        self.lm, self.head_is_new = _make_language_model(encoder, tied)
        self.width: int = self.lm.config.hidden_size
        self._encoder = (encoder,)  # in a tuple, so that its modules are not this one's

    def train(self, mode: bool = True) -> CrossAttentionDecoder:
        """Compute without dropout in either mode, as the library does; in training checkpoint as the encoder does."""
        super().train(False)
        for name, layer in self._encoder[0].named_modules() if mode else ():
            if getattr(layer, "gradient_checkpointing", False):
                with suppress(AttributeError):
                    own: Any = self.lm.base_model.get_submodule(name)
                    own.gradient_checkpointing, own.training = True, True  # the dropout is in its parts
                    own._gradient_checkpointing_func = layer._gradient_checkpointing_func
        return self

    @property
    def output(self) -> nn.Linear:
        """The head's last layer, with weight (vocabulary, hidden); the loss computes it."""
        return cast("nn.Linear", self.lm.get_output_embeddings())

    def forward(self, embedding: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the output layer gets, (predictions, hidden), and the token ids to predict, (predictions,).

        Every real token but a sentence's first is predicted, from those before it and the embedding.

        Args:
            embedding: Of the noisy sentences, (batch, hidden).
            ids: Of the clean sentences' tokens, (batch, tokens).
            mask: 1 for a token, 0 for padding, (batch, tokens).
        """
        hidden = self.lm.base_model(input_ids=ids[:, :-1], encoder_hidden_states=embedding[:, None], use_cache=False)[
            0
        ]  # (batch, tokens - 1, hidden)
        real = mask[:, 1:].bool()
        states = hidden[real]
        for name, part in self.lm.named_children():
            if name != self.lm.base_model_prefix:
                states = part(states)  # the head: everything behind the base model
        return states, ids[:, 1:][real]


class _SingleSourceAttention(nn.Module):
    """Cross-attention to one vector: the softmax over a single key is 1, so its value is the result.

    Queries and keys would get no gradient; they are left out. What comes back is one vector a sentence,
    (batch, 1, hidden), which the layer's residual sum gives to every token.
    """

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.value = attention.value

    def forward(self, hidden: Tensor, encoder_hidden_states: Tensor, **_: Any) -> tuple[Tensor, None]:
        return self.value(encoder_hidden_states), None


_BROKEN = {"megatron-bert"}  # its cross-attention takes its source for as long as the target


def has_cross_attention(encoder: PreTrainedModel) -> bool:
    """Return whether the encoder's family has a decoder with cross-attention in transformers."""
    config = copy.deepcopy(encoder.config)
    config.is_decoder = config.add_cross_attention = True
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or config.model_type in _BROKEN:
        return False
    with torch.device("meta"):
        lm = AutoModelForCausalLM.from_config(config)
    return any("cross" in name for name, _ in lm.base_model.named_modules())


def _make_language_model(encoder: PreTrainedModel, tied: bool) -> tuple[PreTrainedModel, bool]:
    config = copy.deepcopy(encoder.config)
    config.is_decoder = True
    config.add_cross_attention = True
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise _no_decoder(config)
    lm, head_is_new = load_language_model(AutoModelForCausalLM, config)
    lm.to(device=encoder.device, dtype=encoder.dtype)  # type: ignore[call-arg]
    base: Any = lm.base_model
    if not any("cross" in name for name, _ in base.named_modules()):
        raise _no_decoder(config)
    output: Any = lm.get_output_embeddings()
    head_is_tied = output.weight is base.get_input_embeddings().weight
    for name, parameter in encoder.named_parameters():
        _set(base, name, parameter if tied else nn.Parameter(parameter.detach().clone()))
    for name, module in encoder.named_modules():
        if hasattr(module, "base_layer"):  # with an adapter around it
            _set(base, name, module if tied else copy.deepcopy(module))
    if head_is_tied:
        output.weight = base.get_input_embeddings().weight
    lm.set_output_embeddings(OutputLayer(output))
    for _, module in list(base.named_modules()):
        if all(hasattr(getattr(module, "self", None), name) for name in ("query", "key", "value")) and getattr(
            module, "is_cross_attention", False
        ):
            module.self = _SingleSourceAttention(module.self)
    return lm, head_is_new


def _set(base: nn.Module, name: str, part: nn.Parameter | nn.Module) -> None:
    """Put an encoder's parameter or module into the decoder's place of that name."""
    path, _, attribute = name.rpartition(".")
    try:
        owner = base.get_submodule(path)
    except AttributeError:
        return  # a part that only the encoder has, such as BERT's pooler
    if hasattr(owner, attribute):
        setattr(owner, attribute, part)


def _no_decoder(config: PretrainedConfig) -> KitError:
    return KitError(
        f"The model family {config.model_type!r} has no decoder with cross-attention. "
        "Leave --decoder out, or take prefix."
    )
