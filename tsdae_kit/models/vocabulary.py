"""An encoder's tokens: those it must have, and a field's own words, whose rows begin as the mean of their pieces'."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, cast

import torch
from sentence_transformers import SentenceTransformer
from tokenizers import AddedToken
from torch import nn
from transformers import PreTrainedTokenizerBase

from tsdae_kit.errors import KitError


def check_tokenizer(encoder: SentenceTransformer, name: str) -> None:
    """See to it that the tokenizer knows words, and no token for which the encoder has no embedding.

    Without a tokenizer's files the libraries make one that knows the special tokens alone, to which every text is
    the same; one of another model ends in an IndexError, at the first text that has a token beyond the table.

    Args:
        encoder: Any; what has no tokenizer of the library transformers is not looked at.
        name: The model's, for the error.

    Raises:
        KitError: If it does not.
    """
    tokenizer: Any = encoder.tokenizer
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        return
    added = tokenizer.get_added_vocab()  # these may lie beyond the table: many models have some that no text holds
    known = {token: number for token, number in tokenizer.get_vocab().items() if token not in added}
    special = set(tokenizer.all_special_tokens)
    if not any(character.isalnum() for token in known if token not in special for character in str(token)):
        raise KitError(
            f"The tokenizer of {name!r} is missing or empty: it knows no word. Get the model again, with its tokenizer."
        )
    with suppress(NotImplementedError, AttributeError):  # some families take characters, and have no table
        table: Any = cast(Any, encoder.transformers_model).get_input_embeddings()
        used = [*known.values(), *_ids(tokenizer, "", special=True), tokenizer.pad_token_id or 0]
        if isinstance(table, nn.Embedding) and max(used) >= table.num_embeddings:
            raise KitError(
                f"The tokenizer of {name!r} has token {max(used):,}, and the model embeddings for "
                f"{table.num_embeddings:,}: it belongs to another model. Get the model again, whole."
            )


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


def _ids(tokenizer: Any, text: str, special: bool = False) -> list[int]:
    return cast("list[int]", tokenizer(text, add_special_tokens=special)["input_ids"])
