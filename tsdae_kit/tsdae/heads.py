"""The decoder's language-model head: the checkpoint's where it has one, else a new one.

The head's shape depends only on the family and its configuration, so that a resumed run builds the same head. The
checkpoint decides only the initial weights.
"""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoModelForMaskedLM, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

from tsdae_kit.framework_output import quiet_frameworks


class OutputLayer(nn.Linear):
    """An output layer that returns its input unchanged: the loss computes the matrix product, in chunks."""

    def __init__(self, layer: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, input: Tensor) -> Tensor:
        """Return the input."""
        return input


class Head(nn.Module):
    """Maps the transformer's hidden states to the output layer's input.

    Attributes:
        output: The output layer, with weight (vocabulary, inner).
        is_new: Whether the head starts with random weights.
    """

    def __init__(self, output: nn.Linear, transform: nn.Module, is_new: bool) -> None:
        super().__init__()
        self.transform = transform
        self.output = output
        self.is_new = is_new

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Return (predictions, inner) for (predictions, hidden)."""
        return cast("Tensor", self.transform(hidden_states))


def make_head(encoder: PreTrainedModel) -> Head:
    """Return a head for an encoder that is its own decoder, with the token embeddings as output weight.

    Three cases:

    * The family has a masked-LM head: that head. If it is new and does not tie its output to the token embeddings,
      its output starts as a copy of them.
    * The family has a causal language model that ties its output to the token embeddings: this output alone.
    * Else a new layer before the token embeddings.
    """
    config = encoder.config
    token_embeddings = cast("nn.Embedding", encoder.get_input_embeddings())
    if type(config) in MODEL_FOR_MASKED_LM_MAPPING:
        return _make_masked_lm_head(config, token_embeddings)
    inner, hidden = token_embeddings.embedding_dim, config.get_text_config().hidden_size
    output = nn.Linear(inner, token_embeddings.num_embeddings, bias=False, device="meta")
    output.weight = token_embeddings.weight
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and config.tie_word_embeddings:
        return Head(output, nn.Identity(), is_new=False)
    return Head(output, nn.Sequential(nn.Linear(hidden, inner), nn.GELU(), nn.LayerNorm(inner)), is_new=True)


def _make_masked_lm_head(config: PretrainedConfig, token_embeddings: nn.Embedding) -> Head:
    lm, is_new = load_language_model(AutoModelForMaskedLM, config)
    output = cast("nn.Linear", lm.get_output_embeddings())
    if config.tie_word_embeddings:
        output.weight = token_embeddings.weight
    elif is_new and output.weight.shape == token_embeddings.weight.shape:
        output.weight.data.copy_(token_embeddings.weight)
    transform = _MaskedLMHead(lm)
    return Head(transform.output, transform, is_new)


class _MaskedLMHead(nn.Module):
    """The layers of a masked language model after its transformer, computed by the model's own ``forward``."""

    def __init__(self, lm: Any) -> None:
        super().__init__()
        self.output = OutputLayer(lm.get_output_embeddings())
        lm.set_output_embeddings(self.output)
        setattr(lm, lm.base_model_prefix, _PrecomputedTransformer())
        self.lm = lm

    def forward(self, hidden_states: Tensor) -> Tensor:
        transformer = getattr(self.lm, self.lm.base_model_prefix)
        transformer.hidden_states = hidden_states
        token_ids = torch.zeros(1, len(hidden_states), dtype=torch.long, device=hidden_states.device)
        try:
            return cast("Tensor", self.lm(input_ids=token_ids).logits[0])
        finally:
            del transformer.hidden_states


class _PrecomputedTransformer(nn.Module):
    """Replaces a language model's transformer and returns the hidden states that were assigned to it."""

    hidden_states: Tensor

    def forward(self, *_: Any, **__: Any) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=self.hidden_states[None])


def load_language_model(auto_class: Any, config: PretrainedConfig) -> tuple[PreTrainedModel, bool]:
    """Return a language model, and whether its head is new because no checkpoint on this machine has one.

    Args:
        auto_class: The Auto class of the language model.
        config: The encoder's configuration, perhaps with cross-attention; it holds the checkpoint's name.
    """
    checkpoint = getattr(config, "_name_or_path", "")
    if not checkpoint:
        return auto_class.from_config(config), True
    try:
        with quiet_frameworks():  # the load report would list weights as missing that are new by design
            lm, report = auto_class.from_pretrained(
                checkpoint, config=copy.deepcopy(config), local_files_only=True, output_loading_info=True,
                ignore_mismatched_sizes=True,  # words may have been added to the vocabulary
            )  # fmt: skip
    except OSError:  # no weights, or only an adapter's
        return auto_class.from_config(config), True
    missing = [name for name in report["missing_keys"] if not name.startswith(f"{lm.base_model_prefix}.")]
    return lm, bool(missing)
