"""What happens to a chunk of the corpus: texts, cut, cleaned, judged, made noisy. One function, in any process.

The local engine's workers and Ray's tasks call the same :class:`Recipe`, so that their rows can not
differ. What needs all sentences at once (duplicates, the held-out part) is left to who collects.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tsdae_kit.config.settings import PrepareSettings
from tsdae_kit.corpus.cleaning import Rules, clean_text
from tsdae_kit.corpus.deduplication import Hashes, sketch
from tsdae_kit.corpus.noise import Noise
from tsdae_kit.corpus.parsing import texts_of
from tsdae_kit.corpus.reading import Chunk, Format, read_chunks

EXAMPLES = 3


@dataclass
class Rejects:
    """What was dropped, by reason: how many, and some or all of them."""

    keep_all: bool
    counts: dict[str, int] = field(default_factory=dict)
    texts: list[tuple[str, str]] = field(default_factory=list)

    def add(self, reason: str, text: str) -> None:
        """Count one."""
        self.counts[reason] = count = self.counts.get(reason, 0) + 1
        if self.keep_all or count <= EXAMPLES:
            self.texts.append((reason, text))

    def merge(self, later: Rejects) -> None:
        """Count those of a later part too."""
        for reason, text in later.texts:
            if self.keep_all or self.counts.get(reason, 0) < EXAMPLES:
                self.texts.append((reason, text))
        for reason, count in later.counts.items():
            self.counts[reason] = self.counts.get(reason, 0) + count


@dataclass(frozen=True)
class Made:
    """A chunk's sentences.

    Attributes:
        rows: A record batch of noisy, clean and, if asked for, document.
        hashes: Of each row's case-folded text.
        signatures: Of each row, for near-duplicates.
        read: The number of texts that went in, after cutting.
        rejects: Those that came to nothing.
        columns: How many of the texts each column held, where the file has columns.
        position: The chunk's.
    """

    rows: Any
    hashes: Hashes
    signatures: NDArray[Any] | None
    read: int
    rejects: Rejects
    columns: Counter[str]
    position: int


@dataclass(frozen=True)
class Recipe:
    """Makes a chunk's texts into rows."""

    form: Format
    rules: Rules
    noise: Noise
    cut: Callable[[str], list[str]] | None
    documents: bool
    near: bool
    keep_rejects: bool

    def __call__(self, chunk: Chunk) -> Made:
        """Return the chunk's rows.

        Raises:
            KitError: Naming the file and line of what is no text.
        """
        rejects = Rejects(self.keep_rejects)
        clean: list[str] = []
        documents: list[str] = []
        columns: Counter[str] = Counter()
        read = 0
        for text, name in texts_of(chunk, self.form, columns):
            for part in self.cut(text) if self.cut else (text,):
                read += 1
                sentence = clean_text(part)
                reason = self.rules.fault(sentence)
                if reason:
                    rejects.add(reason, part)
                    continue
                clean.append(sentence)
                documents.append(name)
        arrays = [pa.array(map(self.noise, clean), pa.string()), pa.array(clean, pa.string())]
        if self.documents:
            arrays.append(pa.array(documents, pa.string()))
        return Made(
            rows=pa.record_batch(arrays, names=["noisy", "clean", "document"][: len(arrays)]),
            hashes=np.frombuffer(b"".join(map(_hash, clean)), dtype="<u8"),
            signatures=np.array([sketch(sentence) for sentence in clean]) if self.near else None,
            read=read,
            rejects=rejects,
            columns=columns,
            position=chunk.position,
        )


def _hash(sentence: str) -> bytes:
    return hashlib.blake2b(sentence.casefold().encode(), digest_size=8).digest()


def read_sentences(path: Path, form: Format) -> Iterator[str]:
    """Yield a text file's sentences, cleaned and judged as ``prepare`` does by default.

    Raises:
        KitError: Naming the file and line of what cannot be read.
    """
    defaults = PrepareSettings()
    rules = Rules(defaults.min_chars, defaults.max_chars, defaults.min_letters)
    form = replace(form, advice="Call the column that holds the text 'text'.")  # only prepare has a flag for it
    for chunk in read_chunks([path], form):
        for text, _ in texts_of(chunk, form):
            sentence = clean_text(text)
            if rules.fault(sentence) is None:
                yield sentence
