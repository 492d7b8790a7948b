"""A field's own words as tokens of their own, whose rows begin as the mean of their pieces'."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from sentence_transformers import SentenceTransformer
from tokenizers import AddedToken
from torch import nn


def add_words(encoder: SentenceTransformer, words: Iterable[str]) -> int:
    """Add the words that the tokenizer cuts into pieces; return how many there were.

    A word is found as a whole only, in texts as the tokenizer normalises them. Sentences without any of
    the words keep their embeddings.

    Args:
        encoder: Changed in place: its tokenizer and its token embeddings.
        words: Without white space around them.
    """
    tokenizer: Any = encoder.tokenizer
    pieces = {word: _pieces(tokenizer, word) for word in dict.fromkeys(words)}
    pieces = {word: ids for word, ids in pieces.items() if len(ids) > 1 or tokenizer.unk_token_id in ids}
    # Where the space before a word belongs to its first piece, the new token takes it too.
    joined = _ids(tokenizer, " a") != _ids(tokenizer, "a")
    tokenizer.add_tokens([AddedToken(word, single_word=True, lstrip=joined, normalized=True) for word in pieces])
    transformer: Any = encoder.transformers_model
    before = cast("nn.Embedding", transformer.get_input_embeddings()).weight.detach().clone()
    if len(tokenizer) > len(before):
        with torch.random.fork_rng():
            transformer.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    table = cast("nn.Embedding", transformer.get_input_embeddings()).weight
    with torch.no_grad():
        for word, ids in pieces.items():
            known = [token for token in ids if token != tokenizer.unk_token_id]
            table[tokenizer.convert_tokens_to_ids(word)] = (before[known] if known else before).mean(0)
    return len(pieces)


def _pieces(tokenizer: Any, word: str) -> list[int]:
    """Return the word's tokens as within a sentence, where some tokenizers join it with the space before."""
    return min((_ids(tokenizer, text) for text in (word, f" {word}")), key=len)


def _ids(tokenizer: Any, text: str) -> list[int]:
    return cast("list[int]", tokenizer(text, add_special_tokens=False)["input_ids"])
