"""A test made of text alone, for who has no labels: does a noisy sentence still find its clean one?

It is a proxy. It measures what TSDAE trains, so it favours models trained that way; it says little about
whether texts of like meaning come to lie together. Labelled data, even a hundred pairs, say more.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator
from pathlib import Path

from tsdae_kit.evaluation.tasks import Retrieval
from tsdae_kit.settings import KitError, PrepareSettings
from tsdae_kit.text.cleaning import Rules, clean_text
from tsdae_kit.text.noise import Noise
from tsdae_kit.text.pairs import read_batches, read_manifest
from tsdae_kit.text.parsing import texts_of
from tsdae_kit.text.reading import Format, read_chunks

SENTENCES = 1000
_FEWEST = 2


def make_proxy(path: Path) -> Retrieval:
    """Return the test of noisy sentences that should find their clean ones among all of them.

    Args:
        path: A prepared folder: its held-out pairs, which training never sees. Or a text file: up to
            1,000 of its sentences, chosen and made noisy as ``prepare`` does it with its defaults.

    Raises:
        KitError: If there are no such sentences.
    """
    pairs = _held_out(path) if path.is_dir() else _sample(path)
    if len(pairs) < _FEWEST:
        where = "held-out pairs" if path.is_dir() else "usable sentences"
        raise KitError(f"{path} holds {len(pairs)} {where}. A test without labels takes {_FEWEST} at least.")
    noisy, clean = zip(*pairs, strict=True)
    place = path.resolve()
    label = place.name if path.is_dir() else f"{place.parent.name}/{place.name}"  # many are called corpus.txt
    return Retrieval(f"{label} noisy to clean", noisy, clean, tuple({row: 1} for row in range(len(pairs))), proxy=True)


def _held_out(folder: Path) -> list[tuple[str, str]]:
    if not (read_manifest(folder) or {}).get("held_out"):
        return []
    return [
        (noisy, clean)
        for batch in read_batches(folder, "held_out")
        for noisy, clean in zip(batch["noisy"].to_pylist(), batch["clean"].to_pylist(), strict=True)
    ]


def _sample(path: Path) -> list[tuple[str, str]]:
    keyed = ((hashlib.blake2b(text.casefold().encode()).digest(), text) for text in _sentences(path))
    noise = Noise()
    return [(noise(text), text) for text in dict(heapq.nsmallest(SENTENCES, keyed)).values()]


def _sentences(path: Path) -> Iterator[str]:
    defaults = PrepareSettings()
    rules = Rules(defaults.min_chars, defaults.max_chars, defaults.min_letters)
    form = Format(defaults.column, defaults.encoding, defaults.encoding_errors, paragraphs=False)
    for chunk in read_chunks([path], form):
        for text, _ in texts_of(chunk, form):
            sentence = clean_text(text)
            if rules.fault(sentence) is None:
                yield sentence
