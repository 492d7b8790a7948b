"""An encoder's vocabulary: checks that tokenizer and embeddings fit, and adds a field's words as tokens."""

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
    """Check that the tokenizer has words, and no token without an embedding.

    If a tokenizer's files are missing, the libraries create one with the special tokens only, to which all texts are
    the same. Another model's tokenizer ends in an IndexError, at the first text with a token that has no embedding.

    Args:
        encoder: Any encoder; one without a tokenizer of transformers is not checked.
        name: The model's name, for the error.

    Raises:
        KitError: If the tokenizer is empty, or has tokens without an embedding.
    """
    tokenizer: Any = encoder.tokenizer
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        return
    # Added tokens may lack an embedding: many models have some that occur in no text
    added = tokenizer.get_added_vocab()
    vocabulary = {token: token_id for token, token_id in tokenizer.get_vocab().items() if token not in added}
    special = set(tokenizer.all_special_tokens)
    if not any(character.isalnum() for token in vocabulary if token not in special for character in str(token)):
        raise KitError(
            f"The tokenizer of {name!r} is missing or empty: it knows no word. Get the model again, with its tokenizer."
        )
    with suppress(NotImplementedError, AttributeError):  # families that read characters have no token embeddings
        embeddings: Any = cast(Any, encoder.transformers_model).get_input_embeddings()
        largest = max(*vocabulary.values(), *_token_ids(tokenizer, "", special=True), tokenizer.pad_token_id or 0)
        if isinstance(embeddings, nn.Embedding) and largest >= embeddings.num_embeddings:
            raise KitError(
                f"The tokenizer of {name!r} has token {largest:,}, but the model has embeddings for "
                f"{embeddings.num_embeddings:,}: it belongs to another model. Get a complete copy of the model."
            )


def add_words(encoder: SentenceTransformer, words: Iterable[str]) -> int:
    """Add the words that the tokenizer splits into several tokens, and return how many they are.

    Each new embedding is the mean of those of the word's tokens. A word is matched only as a whole, in texts as the
    tokenizer normalizes them. Sentences without any of the words keep their embeddings.

    Args:
        encoder: Its tokenizer and its token embeddings are changed in place.
        words: Without white space around them.
    """
    tokenizer: Any = encoder.tokenizer
    split = {word: _word_token_ids(tokenizer, word) for word in dict.fromkeys(words)}
    split = {word: ids for word, ids in split.items() if len(ids) > 1 or tokenizer.unk_token_id in ids}
    # Where the first token of a word includes the space before it, the new token includes it too.
    includes_space = _token_ids(tokenizer, " a") != _token_ids(tokenizer, "a")
    tokenizer.add_tokens([AddedToken(word, single_word=True, lstrip=includes_space, normalized=True) for word in split])
    transformer: Any = encoder.transformers_model
    before = cast("nn.Embedding", transformer.get_input_embeddings()).weight.detach().clone()
    if len(tokenizer) > len(before):
        with torch.random.fork_rng():
            transformer.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    embeddings = cast("nn.Embedding", transformer.get_input_embeddings()).weight
    with torch.no_grad():
        for word, ids in split.items():
            known = [token_id for token_id in ids if token_id != tokenizer.unk_token_id]
            embeddings[tokenizer.convert_tokens_to_ids(word)] = (before[known] if known else before).mean(0)
    return len(split)


def _word_token_ids(tokenizer: Any, word: str) -> list[int]:
    """Return the word's tokens within a sentence, where some tokenizers join it with the space before."""
    return min((_token_ids(tokenizer, text) for text in (word, f" {word}")), key=len)


def _token_ids(tokenizer: Any, text: str, special: bool = False) -> list[int]:
    return cast("list[int]", tokenizer(text, add_special_tokens=special)["input_ids"])
