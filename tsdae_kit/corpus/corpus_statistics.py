"""Statistics of the prepared data, from a sample: lengths, the base model's tokenization, examples.

Torch is not needed: the tokenizer is read from its own file, wherever the base model lies.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tsdae_kit.corpus.prepared_folder import read_batches
from tsdae_kit.corpus.sampling import evenly_spaced
from tsdae_kit.corpus.words import SPLITTERS
from tsdae_kit.errors import warn_on_error
from tsdae_kit.models.names import find_model_file

logger = logging.getLogger("tsdae_kit")
_SAMPLE = 5_000
_EXAMPLES = 5
_PERCENTILES = (50, 95, 99)
_MAX_UNKNOWN = 1 / 20  # share of the pieces, beyond which the tokenizer does not fit the text

TableRow = tuple[str, str]  # label and value


@dataclass(frozen=True)
class CorpusStatistics:
    """Statistics of the sentences to train on.

    Attributes:
        rows: Label and value of each line of the closing table.
        lengths: Of each sentence of the sample, by unit.
        examples: Pairs of clean and noisy text.
    """

    rows: list[TableRow]
    lengths: dict[str, NDArray[Any]]
    examples: list[tuple[str, str]]


def compute_statistics(folder: Path, manifest: dict[str, Any], model: str, max_length: int | None) -> CorpusStatistics:
    """Return statistics of the sentences to train on, from five thousand of them, evenly spaced.

    Args:
        folder: The prepared data.
        manifest: Its manifest.
        model: The base model, for its tokenizer.
        max_length: Tokens at which training would cut a text; ``None`` takes the model's own limit.
    """
    pairs = _sample(folder, manifest["train"])
    clean = [text for text, _ in pairs]
    split = SPLITTERS[manifest["noise"]["words"]]
    words = np.array([len(split(text)) for text in clean])
    mask_token = manifest["noise"]["mask_token"]  # replaces a word, and is none
    noisy_words = sum(len(split(noisy.replace(mask_token, " "))) for _, noisy in pairs)
    lengths = {"characters": np.array([len(text) for text in clean]), "words": words}
    rows = [("words fewer in the noisy text", f"{1 - noisy_words / max(words.sum(), 1):.1%}")]
    if tokenizer_file := find_model_file(model, "tokenizer.json"):
        with warn_on_error(
            f"The tokenizer of {model} cannot be read", "The data is whole, and nothing is said of tokens."
        ):
            tokens, token_rows = _tokenize(tokenizer_file, clean, max_length or _max_length_of(model))
            lengths["tokens"] = tokens
            rows += token_rows
    else:
        logger.info("No tokenizer of %s is on this machine: nothing is said about tokens. Pass --model FOLDER.", model)
    length_rows = [_percentile_row(unit, values) for unit, values in lengths.items()]
    examples = [pairs[i] for i in evenly_spaced(len(pairs), _EXAMPLES)]
    return CorpusStatistics(length_rows + rows, lengths, examples)


def _sample(folder: Path, size: int) -> list[tuple[str, str]]:
    """Return pairs of clean and noisy text, evenly spaced."""
    selected = np.array(evenly_spaced(size, _SAMPLE), dtype=np.int64)
    pairs: list[tuple[str, str]] = []
    start = 0
    for batch in read_batches(folder, "train"):
        in_batch = selected[(selected >= start) & (selected < start + len(batch))] - start
        start += len(batch)
        if len(in_batch):
            rows = batch.take(in_batch)
            pairs += zip(rows.column("clean").to_pylist(), rows.column("noisy").to_pylist(), strict=True)
    return pairs


def _percentile_row(unit: str, values: NDArray[Any]) -> TableRow:
    percentiles = np.percentile(values, _PERCENTILES, method="higher")
    return (
        f"{unit} at " + " / ".join(f"{percentage} %" for percentage in _PERCENTILES),
        " / ".join(f"{value:,.0f}" for value in percentiles),
    )


def _max_length_of(model: str) -> int | None:
    path = find_model_file(model, "sentence_bert_config.json")
    limit = json.loads(path.read_text(encoding="utf-8")).get("max_seq_length") if path else None
    return limit if isinstance(limit, int) else None


def _tokenize(path: Path, texts: list[str], max_length: int | None) -> tuple[NDArray[Any], list[TableRow]]:
    """Return the number of tokens of each text, and rows of the closing table."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    names = (getattr(tokenizer.model, "unk_token", None) or "<unk>", "[UNK]")
    unknown_id = next((number for name in names if (number := tokenizer.token_to_id(name)) is not None), -1)
    counts, pieces, words, unknown = [], 0, 0, 0
    for start in range(0, len(texts), 500):
        for encoding in tokenizer.encode_batch(texts[start : start + 500]):
            word_ids = [word for word in encoding.word_ids if word is not None]
            counts.append(len(encoding.ids))
            pieces += len(word_ids)
            words += len(set(word_ids))
            unknown += encoding.ids.count(unknown_id)
    tokens = np.array(counts)
    if unknown > pieces * _MAX_UNKNOWN:
        logger.warning("%.0f %% of this text is unknown to the base model's tokenizer: choose another --model.",
                       100 * unknown / pieces)  # fmt: skip
    rows = [
        ("tokenizer: pieces a word", f"{pieces / max(words, 1):.2f}"),
        ("tokenizer: unknown", f"{unknown / max(pieces, 1):.2%}"),
    ]
    if max_length:
        rows.append((f"texts of more than {max_length} tokens", f"{(tokens > max_length).mean():.2%}"))
    return tokens, rows
