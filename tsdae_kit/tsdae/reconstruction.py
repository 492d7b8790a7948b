"""What a decoder makes of an embedding, word by word: the way to see what the embedding holds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

import torch

from tsdae_kit.tsdae.loss import TSDAELoss

LONGEST = 128  # tokens; each costs a whole forward pass


@torch.no_grad()
def rebuild(loss: TSDAELoss, noisy: Sequence[str], clean: Sequence[str], prompt: str = "") -> list[str]:
    """Return the sentences that the decoder rebuilds from the noisy ones' embeddings, the likeliest token each time.

    Nothing of the clean sentences is shown to it but what it never has to predict (the first token, with
    cross-attention). It ends with the token that ends a sentence, at half as many tokens again as the longest clean
    one has, or where the encoder's texts end; at 128 tokens in any case.

    Args:
        loss: With its trained decoder, in evaluation mode.
        noisy: Texts.
        clean: As many.
        prompt: What stands before a noisy text.
    """
    tokenizer, device = loss.tokenizer_decoder, loss.encoder.device
    with loss.encoder.truncate_embeddings(None):  # as in training
        embedding = loss.encoder.encode(list(noisy), prompt=prompt, convert_to_tensor=True, show_progress_bar=False)
    most = min(loss.encoder.max_seq_length or LONGEST, LONGEST)
    known = tokenizer(list(clean), truncation=True, max_length=most)["input_ids"]
    special = set(tokenizer.all_special_ids)
    ends = {row[-1] for row in known} & special
    ids = torch.tensor([row[: loss.decoder.given] for row in known], dtype=torch.long, device=device)  # (batch, tokens)
    for _ in range(min(max(map(len, known)) * 3 // 2, most) - loss.decoder.given):
        unknown = torch.cat([ids, ids.new_zeros(len(ids), 1)], dim=1)
        states, _ = loss.decoder(embedding, unknown, torch.ones_like(unknown))
        last = states.view(len(ids), -1, states.shape[-1])[:, -1]
        output = loss.decoder.output
        scores = torch.nn.functional.linear(last, output.weight, output.bias)  # (batch, vocabulary)
        ids = torch.cat([ids, scores.argmax(dim=1, keepdim=True)], dim=1)
        if ends and all(ends & set(row[loss.decoder.given :]) for row in ids.tolist()):
            break
    rows = [
        [*row[: loss.decoder.given], *takewhile(lambda token: token not in ends, row[loss.decoder.given :])]
        for row in ids.tolist()
    ]
    if not ends:  # nothing says where a sentence stops: as long as the clean one
        rows = [row[: len(whole)] for row, whole in zip(rows, known, strict=True)]
    texts: list[str] = tokenizer.batch_decode(rows, skip_special_tokens=True)
    return [text.strip() for text in texts]
