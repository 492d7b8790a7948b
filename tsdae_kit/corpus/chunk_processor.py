"""What happens to a chunk of the corpus, in any process: its texts are split, cleaned, filtered and made noisy.

The local engine's workers and Ray's tasks call the same :class:`ChunkProcessor`, so that their rows cannot differ.
What needs all sentences at once (duplicates, the held-out split) is left to the process that collects the rows.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tsdae_kit.corpus.cleaning import CleaningRules, clean_text
from tsdae_kit.corpus.deduplication import Hashes, Signatures, compute_signature
from tsdae_kit.corpus.dropped_texts import DroppedTexts
from tsdae_kit.corpus.formats import Chunk, Format
from tsdae_kit.corpus.noise import Noise
from tsdae_kit.corpus.parsing import parse_texts
from tsdae_kit.corpus.reading import read_chunks

TextSplitter = Callable[[str], list[str]]


@dataclass(frozen=True)
class ProcessedChunk:
    """A chunk's sentences.

    Attributes:
        rows: A record batch of noisy, clean and, if asked for, document.
        hashes: A hash of each row's case-folded text.
        signatures: A MinHash signature of each row, if near-duplicates are to be found.
        read: The number of texts, after splitting.
        dropped: Those that gave no row.
        columns: The number of texts that each column held, for files with columns.
        position: The chunk's.
    """

    rows: pa.RecordBatch
    hashes: Hashes
    signatures: Signatures | None
    read: int
    dropped: DroppedTexts
    columns: Counter[str]
    position: int


@dataclass(frozen=True)
class ChunkProcessor:
    """Turns a chunk's texts into rows.

    Attributes:
        file_format: How the files are written.
        rules: Which sentences are kept.
        noise: The noise; rows get that of epoch 0.
        splitter: Splits a text into sentences or paragraphs; ``None`` takes it whole.
        with_documents: Whether rows have a column ``document``.
        with_signatures: Whether MinHash signatures are computed.
        keep_dropped: Whether all dropped texts are returned, not only examples.
    """

    file_format: Format
    rules: CleaningRules
    noise: Noise
    splitter: TextSplitter | None
    with_documents: bool
    with_signatures: bool
    keep_dropped: bool

    def __call__(self, chunk: Chunk) -> ProcessedChunk:
        """Return the chunk's rows.

        Raises:
            KitError: Naming the file and the line of what is no text.
        """
        dropped = DroppedTexts(self.keep_dropped)
        clean: list[str] = []
        documents: list[str] = []
        columns: Counter[str] = Counter()
        read = 0
        for text, document in parse_texts(chunk, self.file_format, columns):
            for part in self.splitter(text) if self.splitter else (text,):
                read += 1
                sentence = clean_text(part)
                if reason := self.rules.drop_reason(sentence):
                    dropped.add(reason, part)
                    continue
                clean.append(sentence)
                documents.append(document)
        arrays = [pa.array(map(self.noise, clean), pa.string()), pa.array(clean, pa.string())]
        if self.with_documents:
            arrays.append(pa.array(documents, pa.string()))
        return ProcessedChunk(
            rows=pa.record_batch(arrays, names=["noisy", "clean", "document"][: len(arrays)]),
            hashes=np.frombuffer(b"".join(map(_hash, clean)), dtype="<u8"),
            signatures=np.array(list(map(compute_signature, clean))) if self.with_signatures else None,
            read=read,
            dropped=dropped,
            columns=columns,
            position=chunk.position,
        )


def _hash(sentence: str) -> bytes:
    return hashlib.blake2b(sentence.casefold().encode(), digest_size=8).digest()


def read_sentences(path: Path, file_format: Format) -> Iterator[str]:
    """Yield a text file's sentences, cleaned and filtered as ``prepare`` does by default.

    Raises:
        KitError: Naming the file and the line of what cannot be read.
    """
    rules = CleaningRules()
    # The commands that call this have no flag for the column
    file_format = replace(file_format, advice="Call the column that holds the text 'text'.")
    for chunk in read_chunks([path], file_format):
        for text, _ in parse_texts(chunk, file_format):
            sentence = clean_text(text)
            if rules.drop_reason(sentence) is None:
                yield sentence
