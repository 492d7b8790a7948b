"""Splits a sentence into the pieces that noise deletes: words of the original text.

Each piece carries the white space before it, so joining all pieces restores the text. ``auto`` follows Unicode's word
boundaries (UAX #29: letters, marks and digits, joined by an apostrophe, a full stop or a comma between digits), and
takes single characters in scripts written without spaces: there a whole sentence would be one word, and never be
deleted. ``unicode`` is the same without that exception. ``nltk`` gives the paper's Treebank tokens through
``span_tokenize``, which needs no download.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

import regex

from tsdae_kit.corpus.defaults import WordUnit

# The prolonged sound mark (\u30fc, \uff70) belongs to two scripts, and therefore to neither in Unicode's data.
SPACELESS = r"\p{Han}\p{Hiragana}\p{Katakana}\u30fc\uff70\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_WORD = r"\s*(?:{letter}+(?:['’.]{letter}+|(?<=\d),\d+)*|{single}[^\w\s])"
# Python's own engine is three times as fast; on ASCII text the two patterns mean the same.
_ASCII_WORDS = re.compile(_WORD.format(letter=r"\w", single=""), re.ASCII)
_WORDS = regex.compile("(?V1)" + _WORD.format(letter=rf"[\w--[{SPACELESS}]]", single=rf"[{SPACELESS}]\p{{M}}*|"))
_UNICODE_WORDS = regex.compile("(?V1)" + _WORD.format(letter=r"\w", single=""))
_CHARACTERS = regex.compile(r"\s*\X")
_SPACELESS_CHARACTER = regex.compile(rf"[{SPACELESS}\u3000-\u303f\uff00-\uffef]")  # and their punctuation


def split_words(text: str) -> list[str]:
    """Return the text's words and punctuation marks, each with the white space before it."""
    pieces: list[str] = (_ASCII_WORDS if text.isascii() else _WORDS).findall(text)
    return pieces


def split_unicode_words(text: str) -> list[str]:
    """Return the words by Unicode's boundaries in every script: an unspaced Thai sentence is one word."""
    pieces: list[str] = (_ASCII_WORDS if text.isascii() else _UNICODE_WORDS).findall(text)
    return pieces


def split_characters(text: str) -> list[str]:
    """Return the text's characters as a reader sees them (grapheme clusters), each with the white space before it."""
    pieces: list[str] = _CHARACTERS.findall(text)
    return pieces


def split_treebank(text: str) -> list[str]:
    """Return nltk's Treebank tokens, as pieces of the original text, each with the white space before it."""
    pieces, end = [], 0
    for _, stop in _treebank_spans()(text):
        pieces.append(text[end:stop])
        end = stop
    return pieces


@lru_cache(maxsize=1)
def _treebank_spans() -> Callable[[str], Iterable[tuple[int, int]]]:
    from nltk.tokenize import NLTKWordTokenizer  # here: nltk takes half a second to import, and few runs need it

    spans: Callable[[str], Iterable[tuple[int, int]]] = NLTKWordTokenizer().span_tokenize
    return spans


SPLITTERS: dict[WordUnit, Callable[[str], list[str]]] = {
    "auto": split_words,
    "unicode": split_unicode_words,
    "nltk": split_treebank,
    "characters": split_characters,
}


def is_spaceless(character: str) -> bool:
    """Return whether the character belongs to a script written without spaces."""
    return character > "\u0e00" and _SPACELESS_CHARACTER.match(character) is not None
