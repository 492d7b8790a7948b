"""Lists of words: read from a file of the user's, or counted in the corpus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tsdae_kit.corpus.defaults import WordUnit
from tsdae_kit.corpus.formats import Format
from tsdae_kit.corpus.parsing import parse_texts
from tsdae_kit.corpus.reading import read_chunks
from tsdae_kit.corpus.words import SPLITTERS
from tsdae_kit.errors import KitError

_COUNTED_CHARACTERS = 1_000_000
_COMMON_WORDS = 2000


def common_words(texts: Iterable[str], unit: WordUnit) -> tuple[str, ...]:
    """Return the two thousand most frequent words of the first million characters, without punctuation."""
    characters = _COUNTED_CHARACTERS
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(word for piece in SPLITTERS[unit](text) if (word := piece.strip()).isalnum())
        characters -= len(text)
        if characters < 0:
            break
    by_frequency = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return tuple(word for word, _ in by_frequency[:_COMMON_WORDS])


def read_words(path: Path | None, option: str, file_format: Format) -> tuple[str, ...]:
    """Return a file's texts, sorted and without duplicates: a word a line, or the rows of a structured file.

    Args:
        path: The file; ``None`` gives no words.
        option: The flag that named it, for errors.
        file_format: How it is written.

    Raises:
        KitError: If it cannot be read.
    """
    if path is None:
        return ()
    if not path.is_file():
        raise KitError(f"{option} {path} is no file. Give one with a word a line.")
    words = {text.strip() for chunk in read_chunks([path], file_format) for text, _ in parse_texts(chunk, file_format)}
    return tuple(sorted(words - {""}))
