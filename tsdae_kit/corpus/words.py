"""Cuts a sentence into the units that noise deletes, as pieces of the original text.

Every piece carries the white space before it, so joining all pieces gives the text back. ``auto``
follows Unicode's word boundaries (UAX #29: letters, marks and digits, joined by an apostrophe, a full
stop or a comma between digits) and takes single characters in scripts written without spaces, where
a whole sentence would otherwise be one word and nothing would ever be deleted; ``unicode`` is the same
without these. ``nltk`` gives the paper's Treebank tokens through ``span_tokenize``, which needs no download.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import regex

from tsdae_kit.config.settings import WordUnit
from tsdae_kit.errors import KitError

if TYPE_CHECKING:
    from tsdae_kit.corpus.reading import Format

# The mark of a long vowel (\u30fc, \uff70) belongs to two scripts, and so by Unicode to neither.
SPACELESS = r"\p{Han}\p{Hiragana}\p{Katakana}\u30fc\uff70\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_WORD = r"\s*(?:{letter}+(?:['’.]{letter}+|(?<=\d),\d+)*|{single}[^\w\s])"
# Python's own engine is three times as fast; on ASCII text the two patterns mean the same.
_ASCII_WORDS = re.compile(_WORD.format(letter=r"\w", single=""), re.ASCII)
_WORDS = regex.compile("(?V1)" + _WORD.format(letter=rf"[\w--[{SPACELESS}]]", single=rf"[{SPACELESS}]\p{{M}}*|"))
_RUNS = regex.compile("(?V1)" + _WORD.format(letter=r"\w", single=""))
_CHARACTERS = regex.compile(r"\s*\X")
_SPACELESS_CHARACTER = regex.compile(rf"[{SPACELESS}\u3000-\u303f\uff00-\uffef]")  # and their punctuation


def split_words(text: str) -> list[str]:
    """Return the text's words and punctuation marks, each with the white space before it."""
    pieces: list[str] = (_ASCII_WORDS if text.isascii() else _WORDS).findall(text)
    return pieces


def split_runs(text: str) -> list[str]:
    """Return the words as ``split_words`` does, in every script: an unspaced Thai sentence is one word."""
    pieces: list[str] = (_ASCII_WORDS if text.isascii() else _RUNS).findall(text)
    return pieces


def split_characters(text: str) -> list[str]:
    """Return the text's characters as a reader sees them (grapheme clusters), with the space before each."""
    pieces: list[str] = _CHARACTERS.findall(text)
    return pieces


def split_treebank(text: str) -> list[str]:
    """Return nltk's Treebank tokens, cut from the original text, each with the white space before it."""
    pieces, end = [], 0
    for _, stop in _treebank_spans()(text):
        pieces.append(text[end:stop])
        end = stop
    return pieces


@lru_cache(maxsize=1)
def _treebank_spans() -> Callable[[str], Iterable[tuple[int, int]]]:
    from nltk.tokenize import NLTKWordTokenizer  # imported here: nltk takes half a second, and few need it

    spans: Callable[[str], Iterable[tuple[int, int]]] = NLTKWordTokenizer().span_tokenize
    return spans


SPLITTERS: dict[WordUnit, Callable[[str], list[str]]] = {
    "auto": split_words,
    "unicode": split_runs,
    "nltk": split_treebank,
    "characters": split_characters,
}


def is_spaceless(character: str) -> bool:
    """Return whether the character belongs to a script written without spaces."""
    return character > "\u0e00" and _SPACELESS_CHARACTER.match(character) is not None


def common_words(texts: Iterable[str], unit: WordUnit) -> tuple[str, ...]:
    """Return the two thousand most frequent words of the first million characters, without punctuation."""
    characters = 1_000_000
    found: Counter[str] = Counter()
    for text in texts:
        found.update(word for piece in SPLITTERS[unit](text) if (word := piece.strip()).isalnum())
        characters -= len(text)
        if characters < 0:
            break
    return tuple(word for word, _ in sorted(found.items(), key=lambda entry: (-entry[1], entry[0]))[:2000])


def read_words(path: Path | None, option: str, form: Format) -> tuple[str, ...]:
    """Return a file's texts, sorted, each once: a word a line, or the rows of a structured file.

    Args:
        path: The file; there are no words without one.
        option: The flag that named it, for the error.
        form: How it is written.

    Raises:
        KitError: If it cannot be read.
    """
    if path is None:
        return ()
    if not path.is_file():
        raise KitError(f"{option} {path} is no file. Give one with a word a line.")
    from tsdae_kit.corpus.parsing import texts_of
    from tsdae_kit.corpus.reading import read_chunks

    words = {text.strip() for chunk in read_chunks([path], form) for text, _ in texts_of(chunk, form)}
    return tuple(sorted(words - {""}))
