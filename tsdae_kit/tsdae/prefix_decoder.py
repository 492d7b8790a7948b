"""The encoder decodes itself: the sentence embedding is the first position, the clean tokens stand behind it.

For families without a decoder that has cross-attention. Attention is causal through a 4-D mask, no
weights exist twice, and only the map into that position, and a head where the checkpoint has none, are
new. What this costs: the encoder's own layers carry both tasks. Whether a family's public ``forward``
honours mask and embeddings is tried on random tokens when the decoder is made: some run, with a finite
loss, and send no gradient to the embedding.
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

_TRIAL = 6  # tokens


class PrefixDecoder(nn.Module):
    """The encoder's transformer, causal, behind the sentence embedding, with a head over its token embeddings.

    Attributes:
        width: Of the sentence embedding.
        into: From the sentence embedding to the first position; of equal width it begins as the identity.
        head: From hidden states to what the output layer gets.
        given: How many of a sentence's first tokens are not predicted.
    """

    given = 0

    def __init__(self, encoder: PreTrainedModel, width: int) -> None:
        """Make the head, and try the family.

        Args:
            encoder: The transformer inside the sentence encoder; it is used, not copied.
            width: Of the sentence embedding.

        Raises:
            KitError: If the family cannot decode from a prefix.
        """
        super().__init__()
        self._shared = (encoder,)  # in a tuple, so that its weights belong to the encoder alone
        self.width = width
        table = cast("nn.Embedding", encoder.get_input_embeddings())
        self.into = nn.Linear(width, table.embedding_dim)
        if width == table.embedding_dim:
            nn.init.eye_(self.into.weight)
            nn.init.zeros_(self.into.bias)
        self.head = make_head(encoder)
        self.to(device=encoder.device, dtype=encoder.dtype)
        self._try(encoder)

    def train(self, mode: bool = True) -> PrefixDecoder:
        """Compute without dropout in either mode, as the library's decoder does."""
        super().train(False)
        return self

    @property
    def output(self) -> nn.Linear:
        """The head's last layer, with weight (vocabulary, inner); the loss computes it."""
        return self.head.output

    @property
    def head_is_new(self) -> bool:
        """Whether the head begins with random weights."""
        return self.head.is_new

    def forward(self, embedding: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the output layer gets, (predictions, inner), and the token ids to predict, (predictions,).

        Every real token is predicted, from those before it and the embedding; the first from the embedding alone.

        Args:
            embedding: Of the noisy sentences, (batch, width).
            ids: Of the clean sentences' tokens, (batch, tokens).
            mask: 1 for a token, 0 for padding, (batch, tokens).
        """
        (encoder,) = self._shared
        # Padding goes to the right, where causal attention never sees it
        mask, order = mask.sort(dim=1, descending=True, stable=True)
        ids, real = ids.gather(1, order), mask.bool()
        table = encoder.get_input_embeddings()
        prefix = self.into(embedding)[:, None]
        tokens = table(ids[:, :-1])
        inputs = torch.cat([prefix.to(tokens.dtype), tokens], dim=1)  # (batch, tokens, inner)
        with _without_dropout(encoder):
            hidden = _run(encoder, inputs)
        return self.head(hidden[real]), ids[real]

    def _try(self, encoder: PreTrainedModel) -> None:
        """Refuse a family that does not decode from the embedding, or sees what comes after a token."""
        family = encoder.config.model_type
        with torch.random.fork_rng(), torch.enable_grad():
            torch.manual_seed(0)
            embedding = torch.randn(2, self.width, device=encoder.device, dtype=encoder.dtype, requires_grad=True)
            ids = torch.randint(0, self.output.out_features, (2, _TRIAL), device=encoder.device)
            changed = ids.clone()
            changed[:, -2] = (ids[:, -2] + 1) % self.output.out_features
            real = torch.ones_like(ids)
            try:
                before, after = (self(embedding, tokens, real)[0].view(2, _TRIAL, -1) for tokens in (ids, changed))
            except (RuntimeError, TypeError, ValueError, AttributeError, LookupError) as error:
                raise _cannot(family, first_line(error)) from error
            (gradient,) = torch.autograd.grad(before[:, -1].square().sum(), embedding, allow_unused=True)
        if not torch.allclose(before[:, :-1], after[:, :-1], rtol=1e-3, atol=1e-4):
            raise _cannot(family, "a token sees those behind it")
        if gradient is None or not bool((gradient.abs().amax(dim=1) > 0).all()):
            raise _cannot(family, "no gradient reaches the sentence embedding")


def _cannot(family: str, reason: str) -> KitError:
    return KitError(f"The model family {family!r} cannot decode from a prefix ({reason}). Take another encoder.")


def _run(encoder: Any, inputs: Tensor) -> Tensor:
    """Return the last hidden states under causal attention, (batch, tokens, hidden)."""
    mask = _causal(encoder, inputs)
    if encoder.config.model_type == "deberta-v2":  # would multiply its embeddings by the mask
        return cast("Tensor", encoder.encoder(encoder.embeddings(inputs_embeds=inputs), mask == 0)[0])
    options = {"use_cache": False} if "use_cache" in inspect.signature(encoder.forward).parameters else {}
    return cast("Tensor", encoder(inputs_embeds=inputs, attention_mask=mask, **options)[0])


def _causal(encoder: PreTrainedModel, inputs: Tensor) -> Tensor:
    """Return the 4-D mask, (batch, 1, tokens, tokens): boolean, or what eager attention adds to its scores."""
    batch, size = inputs.shape[:2]
    seen = torch.ones(size, size, dtype=torch.bool, device=inputs.device).tril().expand(batch, 1, size, size)
    if encoder.config._attn_implementation == "sdpa":
        return seen
    return torch.zeros_like(seen, dtype=inputs.dtype).masked_fill(~seen, torch.finfo(inputs.dtype).min)


@contextmanager
def _without_dropout(encoder: Any) -> Iterator[None]:
    """Compute as the library's decoder does, also where a checkpointed layer is computed again later."""
    training = encoder.training
    layers = [m for m in encoder.modules() if training and getattr(m, "gradient_checkpointing", False)]
    functions = [layer._gradient_checkpointing_func for layer in layers]
    encoder.eval()
    for layer, function in zip(layers, functions, strict=True):
        layer.training = True  # what asks for checkpointing; its dropout is in its parts
        layer._gradient_checkpointing_func = partial(_checkpoint, layer, function)
    try:
        yield
    finally:
        encoder.train(training)
        for layer, function in zip(layers, functions, strict=True):
            layer._gradient_checkpointing_func = function


def _checkpoint(layer: nn.Module, checkpoint: Any, function: Any, *given: Any) -> Any:
    def without_dropout(*inputs: Any) -> Any:
        modes = [(module, module.training) for module in layer.modules()]
        for module, _ in modes:
            module.training = False
        try:
            return function(*inputs)
        finally:
            for module, mode in modes:
                module.training = mode

    return checkpoint(without_dropout, *given)
