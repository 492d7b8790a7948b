"""Tests made of text alone, for who has no labels.

Does a noisy sentence still find its clean one? Where the corpus has documents, does a sentence find the
others of its document? Both are proxies. The first measures what TSDAE trains, so it favours models
trained that way; the second is about texts that belong together, as labels are, but loosely. How far they
can be trusted is in results/diary.md. Labelled data, even a hundred pairs, say more.
"""

from __future__ import annotations

import hashlib
import heapq
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tsdae_kit.corpus.chunk_processor import read_sentences
from tsdae_kit.corpus.formats import DEFAULT_FORMAT, Format
from tsdae_kit.corpus.noise import Noise
from tsdae_kit.corpus.prepared_folder import SPLITS, read_batches, read_manifest
from tsdae_kit.errors import KitError
from tsdae_kit.evaluation.tasks import Retrieval

SENTENCES = 1000  # queries at most
OTHERS = 10_000  # sentences searched by document, at most
ROWS = 200_000  # of a larger corpus about so many sentences are looked at: whole documents, which their names decide
_FEWEST = 2


def make_proxies(path: Path, form: Format = DEFAULT_FORMAT) -> list[Retrieval]:
    """Return the test of noisy sentences and their clean ones, and that of documents, where there are such.

    Args:
        path: A prepared folder: its held-out pairs, which training never sees, and the documents of all its
            sentences. Or a text file: up to 1,000 of its sentences, chosen and made noisy as ``prepare``
            does it with its defaults.
        form: How the text file is written.

    Raises:
        KitError: If there are no such sentences.
    """
    pairs = _held_out(path) if path.is_dir() else _sample(path, form)
    place = path.resolve()
    label = place.name if path.is_dir() else f"{place.parent.name}/{place.name}"  # many are called corpus.txt
    proxies = _by_document(path, label) if path.is_dir() else []
    if len(pairs) >= _FEWEST:
        noisy, clean = zip(*pairs, strict=True)
        grades = tuple({row: 1} for row in range(len(pairs)))
        proxies.insert(0, Retrieval(f"{label} noisy to clean", noisy, clean, grades, proxy=True))
    if not proxies:
        where = "held-out pairs" if path.is_dir() else "usable sentences"
        raise KitError(f"{path} holds {len(pairs)} {where}. A test without labels takes {_FEWEST} at least.")
    return proxies


def _held_out(folder: Path) -> list[tuple[str, str]]:
    if not (read_manifest(folder) or {}).get("held_out"):
        return []
    return [
        (noisy, clean)
        for batch in read_batches(folder, "held_out")
        for noisy, clean in zip(batch["noisy"].to_pylist(), batch["clean"].to_pylist(), strict=True)
    ]


def _sample(path: Path, form: Format) -> list[tuple[str, str]]:
    noise = Noise()
    return [(noise(text), text) for text in _choose(read_sentences(path, form), SENTENCES)]


def _by_document(folder: Path, label: str) -> list[Retrieval]:
    """Return the test, if there are documents of several sentences: one of each should find the others."""
    documents: dict[str, list[str]] = defaultdict(list)
    size = sum((read_manifest(folder) or {}).get(split, 0) for split in SPLITS)
    below = 2**32 * min(1, ROWS / max(size, 1))
    for split in SPLITS:
        for batch in read_batches(folder, split):
            if "document" not in batch.schema.names:
                return []
            for name, text in zip(batch["document"].to_pylist(), batch["clean"].to_pylist(), strict=True):
                if zlib.crc32(name.encode()) < below:
                    documents[name].append(text)
    several = [name for name, texts in documents.items() if len(texts) > 1]
    queries: list[str] = []
    docs: list[str] = []
    grades: list[dict[int, int]] = []
    for name in _choose(iter(several), SENTENCES):
        query, *others = _choose(iter(documents[name]), len(documents[name]))
        if len(docs) + len(others) > OTHERS:
            break
        queries.append(query)
        grades.append(dict.fromkeys(range(len(docs), len(docs) + len(others)), 1))
        docs += others
    if len(queries) < _FEWEST:
        return []
    return [Retrieval(f"{label} by document", tuple(queries), tuple(docs), tuple(grades), proxy=True)]


def _choose(texts: Iterator[str], count: int) -> list[str]:
    """Return up to so many different texts: those of the smallest digests, which the text alone decides."""
    keyed = ((hashlib.blake2b(text.casefold().encode()).digest(), text) for text in texts)
    return list(dict(heapq.nsmallest(count, keyed)).values())
