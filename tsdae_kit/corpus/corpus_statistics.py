"""A look at the prepared data: lengths, what the base model's tokenizer makes of it, examples; from a sample.

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

from tsdae_kit.corpus.dataset import read_batches, spread
from tsdae_kit.corpus.words import SPLITTERS
from tsdae_kit.errors import warn_on_error
from tsdae_kit.models.names import find_model_file

logger = logging.getLogger("tsdae_kit")
SAMPLE = 5_000
_POINTS = (50, 95, 99)


@dataclass(frozen=True)
class Look:
    """What a sample of the sentences to train on looks like.

    Attributes:
        rows: Label and value of each line of the closing table.
        lengths: Of each sentence of the sample, by unit.
        examples: Pairs of clean and noisy text.
    """

    rows: list[tuple[str, str]]
    lengths: dict[str, NDArray[Any]]
    examples: list[tuple[str, str]]


def compute_statistics(folder: Path, manifest: dict[str, Any], model: str, max_length: int | None) -> Look:
    """Return what the sentences to train on look like, from five thousand of them, evenly spaced.

    Args:
        folder: The prepared data.
        manifest: Its manifest.
        model: The base model, for its tokenizer.
        max_length: Tokens beyond which training would cut a text; ``None`` takes the model's own.
    """
    pairs = _sample(folder, manifest["train"])
    clean = [text for text, _ in pairs]
    split = SPLITTERS[manifest["noise"]["words"]]
    words = np.array([len(split(text)) for text in clean])
    mask = manifest["noise"]["mask_token"]  # which stands for a word, and is none
    left = sum(len(split(noisy.replace(mask, " "))) for _, noisy in pairs)
    lengths = {"characters": np.array([len(text) for text in clean]), "words": words}
    rows = [("words fewer in the noisy text", f"{1 - left / max(words.sum(), 1):.1%}")]
    if found := find_model_file(model, "tokenizer.json"):
        with warn_on_error(
            f"The tokenizer of {model} cannot be read", "The data is whole, and nothing is said of tokens."
        ):
            tokens, more = _tokenize(found, clean, max_length or _own_limit(model))
            lengths["tokens"] = tokens
            rows += more
    else:
        logger.info("No tokenizer of %s is on this machine: nothing is said about tokens. Pass --model FOLDER.", model)
    measured = [
        (f"{unit} at " + " / ".join(f"{p} %" for p in _POINTS),
         " / ".join(f"{value:,.0f}" for value in np.percentile(values, _POINTS, method="higher")))
        for unit, values in lengths.items()
    ]  # fmt: skip
    examples = [pairs[i] for i in spread(len(pairs), 5)]
    return Look(measured + rows, lengths, examples)


def _sample(folder: Path, size: int) -> list[tuple[str, str]]:
    wanted = np.array(spread(size, SAMPLE), dtype=np.int64)
    pairs: list[tuple[str, str]] = []
    start = 0
    for batch in read_batches(folder, "train"):
        here = wanted[(wanted >= start) & (wanted < start + len(batch))] - start
        start += len(batch)
        if len(here):
            part = batch.take(here)
            pairs += zip(part.column("clean").to_pylist(), part.column("noisy").to_pylist(), strict=True)
    return pairs


def _own_limit(model: str) -> int | None:
    found = find_model_file(model, "sentence_bert_config.json")
    limit = json.loads(found.read_text(encoding="utf-8")).get("max_seq_length") if found else None
    return limit if isinstance(limit, int) else None


def _tokenize(path: Path, texts: list[str], limit: int | None) -> tuple[NDArray[Any], list[tuple[str, str]]]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    names = (getattr(tokenizer.model, "unk_token", None) or "<unk>", "[UNK]")
    unknown = next((number for name in names if (number := tokenizer.token_to_id(name)) is not None), -1)
    counts, pieces, words, unknowns = [], 0, 0, 0
    for start in range(0, len(texts), 500):
        for encoding in tokenizer.encode_batch(texts[start : start + 500]):
            own = [word for word in encoding.word_ids if word is not None]
            counts.append(len(encoding.ids))
            pieces += len(own)
            words += len(set(own))
            unknowns += encoding.ids.count(unknown)
    tokens = np.array(counts)
    if unknowns > pieces / 20:
        logger.warning("%.0f %% of this text is unknown to the base model's tokenizer: choose another --model.",
                       100 * unknowns / pieces)  # fmt: skip
    rows = [
        ("tokenizer: pieces a word", f"{pieces / max(words, 1):.2f}"),
        ("tokenizer: unknown", f"{unknowns / max(pieces, 1):.2%}"),
    ]
    if limit:
        rows.append((f"texts of more than {limit} tokens", f"{(tokens > limit).mean():.2%}"))
    return tokens, rows
