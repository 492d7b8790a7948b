"""Proxy tasks: retrieval tasks generated from unlabelled text.

The first one asks whether a noisy sentence finds its clean one. It measures the training objective of TSDAE, so it
favours models trained that way. The second one, for a corpus with documents, asks whether a sentence finds the others
of its document: like labels, it is about texts that belong together, but loosely. results/diary.md tells how far both
can be trusted. Labelled data, even a hundred pairs, tell more.
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

MAX_QUERIES = 1000
MAX_DOCS = 10_000  # sentences searched in the task by document
MAX_ROWS = 200_000  # of a larger corpus, whole documents with about this many rows are read, chosen by a hash
_MIN_QUERIES = 2


def make_proxy_tasks(path: Path, form: Format = DEFAULT_FORMAT) -> list[Retrieval]:
    """Return the task from noisy to clean sentences, and the one by document if there are documents.

    Args:
        path: A prepared folder: its held-out pairs, which training never sees, and the documents of all its
            sentences. Or a text file: up to 1,000 of its sentences, with the default noise of ``prepare``.
        form: The format of the text file.

    Raises:
        KitError: If there are too few sentences.
    """
    pairs = _held_out_pairs(path) if path.is_dir() else _noisy_pairs(path, form)
    resolved = path.resolve()
    label = resolved.name if path.is_dir() else f"{resolved.parent.name}/{resolved.name}"  # many are called corpus.txt
    tasks = _make_document_task(path, label) if path.is_dir() else []
    if len(pairs) >= _MIN_QUERIES:
        noisy, clean = zip(*pairs, strict=True)
        grades = tuple({row: 1} for row in range(len(pairs)))
        tasks.insert(0, Retrieval(f"{label} noisy to clean", noisy, clean, grades, proxy=True))
    if not tasks:
        unit = "held-out pairs" if path.is_dir() else "usable sentences"
        raise KitError(f"{path} holds {len(pairs)} {unit}. A proxy task needs at least {_MIN_QUERIES}.")
    return tasks


def _held_out_pairs(folder: Path) -> list[tuple[str, str]]:
    if not (read_manifest(folder) or {}).get("held_out"):
        return []
    return [
        (noisy, clean)
        for batch in read_batches(folder, "held_out")
        for noisy, clean in zip(batch["noisy"].to_pylist(), batch["clean"].to_pylist(), strict=True)
    ]


def _noisy_pairs(path: Path, form: Format) -> list[tuple[str, str]]:
    noise = Noise()
    return [(noise(text), text) for text in _select(read_sentences(path, form), MAX_QUERIES)]


def _make_document_task(folder: Path, label: str) -> list[Retrieval]:
    """Return the task by document: one sentence of each document is the query, the others are relevant.

    There is none without documents of several sentences.
    """
    documents = _read_documents(folder)
    names = [name for name, sentences in documents.items() if len(sentences) > 1]
    queries: list[str] = []
    docs: list[str] = []
    grades: list[dict[int, int]] = []
    for name in _select(iter(names), MAX_QUERIES):
        query, *others = _select(iter(documents[name]), len(documents[name]))
        if len(docs) + len(others) > MAX_DOCS:
            break
        queries.append(query)
        grades.append(dict.fromkeys(range(len(docs), len(docs) + len(others)), 1))
        docs += others
    if len(queries) < _MIN_QUERIES:
        return []
    return [Retrieval(f"{label} by document", tuple(queries), tuple(docs), tuple(grades), proxy=True)]


def _read_documents(folder: Path) -> dict[str, list[str]]:
    """Return the clean sentences by document, of about ``MAX_ROWS`` rows; nothing if the corpus has no documents."""
    manifest = read_manifest(folder) or {}
    rows = sum(manifest.get(split, 0) for split in SPLITS)
    hash_limit = 2**32 * min(1, MAX_ROWS / max(rows, 1))
    documents: dict[str, list[str]] = defaultdict(list)
    for split in SPLITS:
        for batch in read_batches(folder, split):
            if "document" not in batch.schema.names:
                return {}
            for name, text in zip(batch["document"].to_pylist(), batch["clean"].to_pylist(), strict=True):
                if zlib.crc32(name.encode()) < hash_limit:
                    documents[name].append(text)
    return documents


def _select(texts: Iterator[str], count: int) -> list[str]:
    """Return up to ``count`` different texts: those with the smallest digests, whatever the order of the texts."""
    keyed = ((hashlib.blake2b(text.casefold().encode()).digest(), text) for text in texts)
    return list(dict(heapq.nsmallest(count, keyed)).values())
