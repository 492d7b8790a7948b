"""Whether a loss can teach a sentence encoder anything: its gradient must reach every row's embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import batch_to_device
from torch import Tensor, nn

from tsdae_kit.errors import KitError


def probe_signal(loss: nn.Module, encoder: SentenceTransformer, noisy: Sequence[str], clean: Sequence[str]) -> None:
    """Compute one small batch, without dropout, and look at the gradient of each noisy row's sentence embedding.

    Weights, their gradients and the random state stay as they are. It takes any loss over pairs: the
    library's own runs with a finite value, and teaches nothing, where a decoder ignores the embedding
    (Qwen3, Gemma3, Llama) and for rows that are padded on the left.

    Args:
        loss: Over features of the noisy and of the clean texts.
        encoder: The sentence encoder within it.
        noisy: A few texts, of differing length.
        clean: As many.

    Raises:
        KitError: If the loss is no number, or a row gets no gradient.
    """
    embeddings: list[Tensor] = []

    def keep(module: nn.Module, given: Any, features: dict[str, Tensor]) -> None:
        embeddings.append(features["sentence_embedding"])

    features = [batch_to_device(dict(encoder.preprocess(list(texts))), encoder.device) for texts in (noisy, clean)]
    hook, mode = encoder.register_forward_hook(keep), loss.training
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
    learning = 0 if gradient is None else int((gradient.abs().amax(dim=1) > 0).sum())
    if learning < len(noisy):
        raise KitError(
            f"The loss sends no gradient to the sentence embedding of {len(noisy) - learning} of {len(noisy)} rows: "
            "it would teach the encoder nothing. Take another decoder, or another encoder."
        )
