"""Checks before training that a loss can train an encoder: its gradient must reach the embedding of every row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import batch_to_device
from torch import Tensor, nn

from tsdae_kit.errors import KitError


def probe_signal(loss: nn.Module, encoder: SentenceTransformer, noisy: Sequence[str], clean: Sequence[str]) -> None:
    """Compute the loss of one small batch without dropout, and check the gradient of each noisy row's embedding.

    Weights, their gradients and the random state stay unchanged. Any loss over pairs can be probed. The library's
    denoising loss has a finite value but trains nothing where a decoder ignores the embedding (Qwen3, Gemma3, Llama)
    and for rows that are padded on the left.

    Args:
        loss: A loss over the features of the noisy and of the clean texts.
        encoder: The sentence encoder in the loss.
        noisy: A few texts of differing length.
        clean: As many texts.

    Raises:
        KitError: If the loss is not finite, or a row gets no gradient.
    """
    embeddings: list[Tensor] = []

    def record_embedding(module: nn.Module, inputs: Any, features: dict[str, Tensor]) -> None:
        embeddings.append(features["sentence_embedding"])

    features = [batch_to_device(dict(encoder.preprocess(list(texts))), encoder.device) for texts in (noisy, clean)]
    hook, mode = encoder.register_forward_hook(record_embedding), loss.training
    loss.eval()
    try:
        with torch.random.fork_rng(), torch.enable_grad():
            value = loss(features, None)
            (gradient,) = torch.autograd.grad(value, embeddings[0], allow_unused=True)
    finally:
        hook.remove()
        loss.train(mode)
    if not bool(value.isfinite()):
        raise KitError(f"The loss of the first sentences is {value.item()}. Check the base model's weights.")
    reached = 0 if gradient is None else int((gradient.abs().amax(dim=1) > 0).sum())
    if reached < len(noisy):
        raise KitError(
            f"The loss sends no gradient to the sentence embedding of {len(noisy) - reached} of {len(noisy)} rows: "
            "it would not train the encoder. Choose another decoder, or another encoder."
        )
