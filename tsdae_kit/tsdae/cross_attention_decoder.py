"""A decoder with cross-attention to the sentence embedding, built from the live encoder.

Sentence Transformers loads the decoder from the encoder's original folder and ties the *encoder* to those weights, so
whatever was trained or added in memory is lost. Here the decoder takes the encoder's parameters as they are, and the
checkpoint on disk is read only for a masked-LM head.
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

# Its cross-attention requires a source of the target's length
_UNUSABLE_FAMILIES = {"megatron-bert"}


class CrossAttentionDecoder(nn.Module):
    """The library's decoder: the encoder's layers, causal, each with cross-attention to the sentence embedding.

    Attributes:
        lm: The causal language model. Only its cross-attention and its head are weights of its own.
        head_is_new: Whether the head starts with random weights.
        embedding_dimension: Of the sentence embedding.
        num_context_tokens: Number of tokens at the start of a sentence that are input only, and not predicted.
    """

    num_context_tokens = 1

    def __init__(self, encoder: PreTrainedModel, tied: bool) -> None:
        """Build the decoder; the encoder stays bitwise unchanged.

        Args:
            encoder: The transformer of the sentence encoder.
            tied: Whether the decoder shares the encoder's parameters (the paper's choice) or has copies of them.

        Raises:
            KitError: If the encoder's family has no decoder with cross-attention.
        """
        super().__init__()
        self.lm: Any
        self.lm, self.head_is_new = _build_causal_lm(encoder, tied)
        self.embedding_dimension: int = self.lm.config.hidden_size
        self._encoder = (encoder,)  # a tuple, so that its parameters are not registered here

    def train(self, mode: bool = True) -> CrossAttentionDecoder:
        """Disable dropout in either mode, as the library does; checkpoint gradients as the encoder does."""
        super().train(False)
        for name, layer in self._encoder[0].named_modules() if mode else ():
            if getattr(layer, "gradient_checkpointing", False):
                with suppress(AttributeError):
                    decoder_layer: Any = self.lm.base_model.get_submodule(name)
                    # Dropout stays off: its modules are submodules, which are still in evaluation mode
                    decoder_layer.gradient_checkpointing, decoder_layer.training = True, True
                    decoder_layer._gradient_checkpointing_func = layer._gradient_checkpointing_func
        return self

    @property
    def output(self) -> nn.Linear:
        """The head's output layer, with weight (vocabulary, hidden); the loss computes its product."""
        return cast("nn.Linear", self.lm.get_output_embeddings())

    def forward(self, embedding: Tensor, token_ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output layer's input, (predictions, hidden), and the target token ids, (predictions,).

        Every real token but the first of a sentence is predicted, from the tokens before it and the embedding.

        Args:
            embedding: Embeddings of the noisy sentences, (batch, hidden).
            token_ids: Tokens of the clean sentences, (batch, tokens).
            mask: 1 for a token, 0 for padding, (batch, tokens).
        """
        hidden_states = self.lm.base_model(
            input_ids=token_ids[:, :-1], encoder_hidden_states=embedding[:, None], use_cache=False
        )[0]  # (batch, tokens - 1, hidden)
        predicted = mask[:, 1:].bool()
        hidden_states = hidden_states[predicted]
        for name, module in self.lm.named_children():
            if name != self.lm.base_model_prefix:  # the head: all modules after the base model
                hidden_states = module(hidden_states)
        return hidden_states, token_ids[:, 1:][predicted]


def has_cross_attention(encoder: PreTrainedModel) -> bool:
    """Return whether transformers has a decoder with cross-attention for the encoder's family."""
    config = _decoder_config(encoder)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or config.model_type in _UNUSABLE_FAMILIES:
        return False
    with torch.device("meta"):
        return _contains_cross_attention(AutoModelForCausalLM.from_config(config).base_model)


def _build_causal_lm(encoder: PreTrainedModel, tied: bool) -> tuple[PreTrainedModel, bool]:
    """Return the causal language model with the encoder's parameters, and whether its head is new."""
    config = _decoder_config(encoder)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise _unsupported_family(config)
    lm, head_is_new = load_language_model(AutoModelForCausalLM, config)
    lm.to(device=encoder.device, dtype=encoder.dtype)  # type: ignore[call-arg]
    base: Any = lm.base_model
    if not _contains_cross_attention(base):
        raise _unsupported_family(config)
    output: Any = lm.get_output_embeddings()
    head_is_tied = output.weight is base.get_input_embeddings().weight
    for name, parameter in encoder.named_parameters():
        _set_by_name(base, name, parameter if tied else nn.Parameter(parameter.detach().clone()))
    for name, module in encoder.named_modules():
        if hasattr(module, "base_layer"):  # a layer wrapped by an adapter
            _set_by_name(base, name, module if tied else copy.deepcopy(module))
    if head_is_tied:
        output.weight = base.get_input_embeddings().weight
    lm.set_output_embeddings(OutputLayer(output))
    _reduce_cross_attention(base)
    return lm, head_is_new


def _decoder_config(encoder: PreTrainedModel) -> PretrainedConfig:
    config = copy.deepcopy(encoder.config)
    config.is_decoder = config.add_cross_attention = True
    return config


def _contains_cross_attention(base: nn.Module) -> bool:
    return any("cross" in name for name, _ in base.named_modules())


def _set_by_name(base: nn.Module, name: str, value: nn.Parameter | nn.Module) -> None:
    """Put a parameter or module of the encoder where the decoder has one of the same name."""
    path, _, attribute = name.rpartition(".")
    try:
        owner = base.get_submodule(path)
    except AttributeError:
        return  # only the encoder has it, such as BERT's pooler
    if hasattr(owner, attribute):
        setattr(owner, attribute, value)


class _SingleVectorAttention(nn.Module):
    """Cross-attention to one vector: the softmax over a single key is 1, so the result is the vector's value.

    Query and key layers would get no gradient and are left out. The result is one vector a sentence,
    (batch, 1, hidden), which the layer's residual connection adds to every token.
    """

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.value = attention.value

    def forward(self, hidden_states: Tensor, encoder_hidden_states: Tensor, **_: Any) -> tuple[Tensor, None]:
        return self.value(encoder_hidden_states), None


def _reduce_cross_attention(base: nn.Module) -> None:
    """Replace each cross-attention with queries, keys and values by one that needs the values alone."""
    for _, module in list(base.named_modules()):
        attention = getattr(module, "self", None)
        has_projections = all(hasattr(attention, name) for name in ("query", "key", "value"))
        if has_projections and getattr(module, "is_cross_attention", False):
            module.self = _SingleVectorAttention(attention)


def _unsupported_family(config: PretrainedConfig) -> KitError:
    return KitError(
        f"The model family {config.model_type!r} has no decoder with cross-attention. "
        "Leave --decoder out, or choose prefix."
    )
