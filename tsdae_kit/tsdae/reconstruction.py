"""Reconstructs sentences from their embeddings by greedy decoding, to show what an embedding holds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

import torch
from torch import Tensor

from tsdae_kit.tsdae.loss import TSDAELoss

MAX_LENGTH = 128  # tokens; each costs a whole forward pass


@torch.no_grad()
def reconstruct(loss: TSDAELoss, noisy: Sequence[str], clean: Sequence[str], prompt: str = "") -> list[str]:
    """Return the decoder's reconstructions from the noisy sentences' embeddings, the most likely token at each step.

    Of the clean sentences the decoder gets only the tokens that it never predicts (the first, with cross-attention).
    A sentence ends with the tokenizer's end token, or where the encoder's input does. Decoding stops at one and a half
    times the length of the longest clean sentence, and at 128 tokens.

    Args:
        loss: The loss with its trained decoder, in evaluation mode.
        noisy: Noisy sentences.
        clean: The clean sentences, as many.
        prompt: The prompt of the noisy sentences.
    """
    tokenizer, device = loss.tokenizer_decoder, loss.encoder.device
    with loss.encoder.truncate_embeddings(None):  # as in training
        embedding = loss.encoder.encode(list(noisy), prompt=prompt, convert_to_tensor=True, show_progress_bar=False)
    max_length = min(loss.encoder.max_seq_length or MAX_LENGTH, MAX_LENGTH)
    clean_ids = tokenizer(list(clean), truncation=True, max_length=max_length)["input_ids"]
    context = loss.decoder.num_context_tokens
    end_tokens = {row[-1] for row in clean_ids} & set(tokenizer.all_special_ids)
    ids = torch.tensor([row[:context] for row in clean_ids], dtype=torch.long, device=device)  # (batch, tokens)
    for _ in range(min(max(map(len, clean_ids)) * 3 // 2, max_length) - context):
        ids = torch.cat([ids, _predict_next(loss, embedding, ids)], dim=1)
        if end_tokens and all(end_tokens & set(row[context:]) for row in ids.tolist()):
            break
    rows = [[*row[:context], *takewhile(lambda token: token not in end_tokens, row[context:])] for row in ids.tolist()]
    if not end_tokens:  # without an end token: as long as the clean sentence
        rows = [row[: len(tokens)] for row, tokens in zip(rows, clean_ids, strict=True)]
    texts: list[str] = tokenizer.batch_decode(rows, skip_special_tokens=True)
    return [text.strip() for text in texts]


def _predict_next(loss: TSDAELoss, embedding: Tensor, ids: Tensor) -> Tensor:
    """Return the most likely next token of each sentence, (batch, 1)."""
    padded = torch.cat([ids, ids.new_zeros(len(ids), 1)], dim=1)  # the decoder does not see the position it predicts
    hidden_states, _ = loss.decoder(embedding, padded, torch.ones_like(padded))
    last = hidden_states.view(len(ids), -1, hidden_states.shape[-1])[:, -1]
    output = loss.decoder.output
    logits = torch.nn.functional.linear(last, output.weight, output.bias)  # (batch, vocabulary)
    return logits.argmax(dim=1, keepdim=True)
