"""The language-model head behind the decoder: the checkpoint's where it has one, else a new one.

Its shape depends on the family and its configuration alone, so that a resumed run finds the same one;
only the values with which it begins depend on what the checkpoint holds.
"""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoModelForMaskedLM, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

from tsdae_kit.console import quiet_frameworks


class OutputLayer(nn.Linear):
    """A head's last layer that hands on what it gets: its product is computed in the loss, piece by piece."""

    def __init__(self, layer: nn.Linear) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, input: Tensor) -> Tensor:
        """Return what came in."""
        return input


class Head(nn.Module):
    """From hidden states to what the output layer gets.

    Attributes:
        output: The output layer, with weight (vocabulary, inner).
        is_new: Whether it begins with random weights.
    """

    def __init__(self, output: nn.Linear, transform: nn.Module, is_new: bool) -> None:
        super().__init__()
        self.transform = transform
        self.output = output
        self.is_new = is_new

    def forward(self, states: Tensor) -> Tensor:
        """Return (predictions, inner) for (predictions, hidden)."""
        return cast("Tensor", self.transform(states))


def make_head(encoder: PreTrainedModel) -> Head:
    """Return the head for an encoder that decodes itself, its output made from the token embeddings.

    It is the family's masked-LM head (one that does not share its output with the token embeddings, and is
    new, begins with a copy of them); of a causal language model that ties its output to its token
    embeddings the output alone; else a new layer over the token embeddings.
    """
    config = encoder.config
    table = cast("nn.Embedding", encoder.get_input_embeddings())
    if type(config) in MODEL_FOR_MASKED_LM_MAPPING:
        lm, is_new = load_language_model(AutoModelForMaskedLM, config)
        output = cast("nn.Linear", lm.get_output_embeddings())
        if config.tie_word_embeddings:
            output.weight = table.weight
        elif is_new and output.weight.shape == table.weight.shape:
            output.weight.data.copy_(table.weight)
        behind = _BehindTheModel(lm)
        return Head(behind.output, behind, is_new)
    inner, outer = table.embedding_dim, config.get_text_config().hidden_size
    output = nn.Linear(inner, table.num_embeddings, bias=False, device="meta")
    output.weight = table.weight
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and config.tie_word_embeddings:
        return Head(output, nn.Identity(), is_new=False)
    return Head(output, nn.Sequential(nn.Linear(outer, inner), nn.GELU(), nn.LayerNorm(inner)), is_new=True)


class _Given(nn.Module):
    """Stands where a language model has its transformer, and returns the states that were put into it."""

    states: Tensor

    def forward(self, *_: Any, **__: Any) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=self.states[None])


class _BehindTheModel(nn.Module):
    """What a masked language model does behind its transformer, by its own ``forward``."""

    def __init__(self, lm: Any) -> None:
        super().__init__()
        self.output = OutputLayer(lm.get_output_embeddings())
        lm.set_output_embeddings(self.output)
        setattr(lm, lm.base_model_prefix, _Given())
        self.lm = lm

    def forward(self, states: Tensor) -> Tensor:
        given = getattr(self.lm, self.lm.base_model_prefix)
        given.states = states
        ids = torch.zeros(1, len(states), dtype=torch.long, device=states.device)
        try:
            return cast("Tensor", self.lm(input_ids=ids).logits[0])
        finally:
            del given.states


def load_language_model(kind: Any, config: PretrainedConfig) -> tuple[PreTrainedModel, bool]:
    """Return a language model, and whether its head is new: the checkpoint has none, or is not on this machine.

    Args:
        kind: The Auto class.
        config: The encoder's, perhaps with cross-attention; where it came from is in it.
    """
    source = getattr(config, "_name_or_path", "")
    if not source:
        return kind.from_config(config), True
    try:
        with quiet_frameworks():  # the load report calls every weight that training is about to make missing
            # The sizes differ where words were added.
            lm, report = kind.from_pretrained(
                source, config=copy.deepcopy(config), ignore_mismatched_sizes=True, local_files_only=True,
                output_loading_info=True,
            )  # fmt: skip
    except OSError:  # no weights there, or an adapter's alone
        return kind.from_config(config), True
    missing = [name for name in report["missing_keys"] if not name.startswith(f"{lm.base_model_prefix}.")]
    return lm, bool(missing)
