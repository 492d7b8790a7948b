"""A decoder that is the encoder itself: the sentence embedding is the first position, followed by the clean tokens.

It is for families without a decoder that has cross-attention. A 4-D mask makes the attention causal. No weight exists
twice; new are only the map from the embedding to the first position, and the head where the checkpoint has none. The
cost: the encoder's layers serve both tasks. Some families run with a finite loss but send no gradient to the embedding,
so the constructor checks on random tokens that the family's public ``forward`` uses the mask and the embedding.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tsdae_kit.errors import KitError, first_line
from tsdae_kit.tsdae.heads import make_head

_CHECKED_LENGTH = 6  # tokens


class PrefixDecoder(nn.Module):
    """The encoder's transformer, causal, with the sentence embedding as prefix and a language-model head.

    Attributes:
        embedding_dimension: Of the sentence embedding.
        into: Maps the sentence embedding to the first position; starts as the identity if the widths are equal.
        head: Maps hidden states to the output layer's input.
        num_context_tokens: Number of tokens at the start of a sentence that are input only, and not predicted.
    """

    num_context_tokens = 0

    def __init__(self, encoder: PreTrainedModel, embedding_dimension: int) -> None:
        """Build the head, and check the encoder's family.

        Args:
            encoder: The transformer of the sentence encoder; it is shared, not copied.
            embedding_dimension: Of the sentence embedding.

        Raises:
            KitError: If the family cannot decode from a prefix.
        """
        super().__init__()
        self._encoder = (encoder,)  # a tuple, so that its parameters are not registered here
        self.embedding_dimension = embedding_dimension
        hidden = cast("nn.Embedding", encoder.get_input_embeddings()).embedding_dim
        self.into = nn.Linear(embedding_dimension, hidden)
        if embedding_dimension == hidden:
            nn.init.eye_(self.into.weight)
            nn.init.zeros_(self.into.bias)
        self.head = make_head(encoder)
        self.to(device=encoder.device, dtype=encoder.dtype)
        self._check_family(encoder)

    def train(self, mode: bool = True) -> PrefixDecoder:
        """Disable dropout in either mode, as the library's decoder does."""
        super().train(False)
        return self

    @property
    def output(self) -> nn.Linear:
        """The head's output layer, with weight (vocabulary, inner); the loss computes its product."""
        return self.head.output

    @property
    def head_is_new(self) -> bool:
        """Whether the head starts with random weights."""
        return self.head.is_new

    def forward(self, embedding: Tensor, token_ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output layer's input, (predictions, inner), and the target token ids, (predictions,).

        Every real token is predicted, from the tokens before it and the embedding; the first from the embedding alone.

        Args:
            embedding: Embeddings of the noisy sentences, (batch, width).
            token_ids: Tokens of the clean sentences, (batch, tokens).
            mask: 1 for a token, 0 for padding, (batch, tokens).
        """
        (encoder,) = self._encoder
        # Padding moves to the right, where causal attention never sees it
        mask, order = mask.sort(dim=1, descending=True, stable=True)
        token_ids, predicted = token_ids.gather(1, order), mask.bool()
        token_embeddings = encoder.get_input_embeddings()
        prefix = self.into(embedding)[:, None]
        tokens = token_embeddings(token_ids[:, :-1])
        inputs = torch.cat([prefix.to(tokens.dtype), tokens], dim=1)  # (batch, tokens, inner)
        with _disabled_dropout(encoder):
            hidden_states = _run_causally(encoder, inputs)
        return self.head(hidden_states[predicted]), token_ids[predicted]

    def _check_family(self, encoder: PreTrainedModel) -> None:
        """Raise a KitError if the encoder does not decode from the embedding, or attends to later tokens."""
        family, vocabulary = encoder.config.model_type, self.output.out_features
        with torch.random.fork_rng(), torch.enable_grad():
            torch.manual_seed(0)
            embedding = torch.randn(
                2, self.embedding_dimension, device=encoder.device, dtype=encoder.dtype, requires_grad=True
            )
            token_ids = torch.randint(0, vocabulary, (2, _CHECKED_LENGTH), device=encoder.device)
            changed = token_ids.clone()
            changed[:, -2] = (token_ids[:, -2] + 1) % vocabulary
            mask = torch.ones_like(token_ids)
            try:
                before, after = (
                    self(embedding, ids, mask)[0].view(2, _CHECKED_LENGTH, -1) for ids in (token_ids, changed)
                )
            except (RuntimeError, TypeError, ValueError, AttributeError, LookupError) as error:
                raise _unsupported_family(family, first_line(error)) from error
            (gradient,) = torch.autograd.grad(before[:, -1].square().sum(), embedding, allow_unused=True)
        if not torch.allclose(before[:, :-1], after[:, :-1], rtol=1e-3, atol=1e-4):
            raise _unsupported_family(family, "a token attends to later ones")
        if gradient is None or not bool((gradient.abs().amax(dim=1) > 0).all()):
            raise _unsupported_family(family, "no gradient reaches the sentence embedding")


def _unsupported_family(family: str, reason: str) -> KitError:
    return KitError(f"The model family {family!r} cannot decode from a prefix ({reason}). Choose another encoder.")


def _run_causally(encoder: Any, inputs: Tensor) -> Tensor:
    """Return the last hidden states under causal attention, (batch, tokens, hidden)."""
    mask = _causal_mask(encoder, inputs)
    if encoder.config.model_type == "deberta-v2":  # its forward would multiply the embeddings by the mask
        return cast("Tensor", encoder.encoder(encoder.embeddings(inputs_embeds=inputs), mask == 0)[0])
    options = {"use_cache": False} if "use_cache" in inspect.signature(encoder.forward).parameters else {}
    return cast("Tensor", encoder(inputs_embeds=inputs, attention_mask=mask, **options)[0])


def _causal_mask(encoder: PreTrainedModel, inputs: Tensor) -> Tensor:
    """Return the mask, (batch, 1, tokens, tokens): boolean for SDPA, else the values to add to the attention scores."""
    batch, size = inputs.shape[:2]
    visible = torch.ones(size, size, dtype=torch.bool, device=inputs.device).tril().expand(batch, 1, size, size)
    if encoder.config._attn_implementation == "sdpa":
        return visible
    return torch.zeros_like(visible, dtype=inputs.dtype).masked_fill(~visible, torch.finfo(inputs.dtype).min)


@contextmanager
def _disabled_dropout(encoder: Any) -> Iterator[None]:
    """Disable the encoder's dropout, also where gradient checkpointing computes a layer again after the block."""
    training = encoder.training
    layers = [m for m in encoder.modules() if training and getattr(m, "gradient_checkpointing", False)]
    functions = [layer._gradient_checkpointing_func for layer in layers]
    encoder.eval()
    for layer, function in zip(layers, functions, strict=True):
        layer.training = True  # enables checkpointing; the layer's dropout modules stay in evaluation mode
        layer._gradient_checkpointing_func = partial(_checkpoint_without_dropout, layer, function)
    try:
        yield
    finally:
        encoder.train(training)
        for layer, function in zip(layers, functions, strict=True):
            layer._gradient_checkpointing_func = function


def _checkpoint_without_dropout(layer: nn.Module, checkpoint: Any, function: Any, *inputs: Any) -> Any:
    def run(*inputs: Any) -> Any:
        modes = [(module, module.training) for module in layer.modules()]
        for module, _ in modes:
            module.training = False
        try:
            return function(*inputs)
        finally:
            for module, mode in modes:
                module.training = mode

    return checkpoint(run, *inputs)
