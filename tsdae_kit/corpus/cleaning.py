"""Decides which texts become training sentences, and gives every other one its reason.

One function decides, so that the counts in the manifest, the closing table and the data can not
disagree (as in datatrove's filters). Duplicates are found later, where all sentences meet.
"""

from __future__ import annotations

import re
import string
import unicodedata
from dataclasses import dataclass

import regex

from tsdae_kit.corpus.words import SPACELESS

REASONS = ("empty", "too short", "too long", "few letters", "duplicate", "near-duplicate")
# Control characters, zero-width space, lone surrogates (no characters at all), byte-order marks
_CONTROL_OR_SPACE = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u200b\ud800-\udfff\ufeff]+")
_ASCII_LETTERS = string.ascii_letters.encode()
_NO_LETTERS = regex.compile(r"[^\p{L}\p{M}]+")  # vowel signs are marks: a third of a Hindi text
_SPACELESS_CHARACTERS = regex.compile(rf"[{SPACELESS}]")


def clean_text(text: str) -> str:
    """Return the text in Unicode normal form C, control characters and runs of white space as one space."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    if text.isprintable() and "  " not in text:  # most are; this is ten times as fast
        return text.strip(" ")
    return _CONTROL_OR_SPACE.sub(" ", text).strip()


@dataclass(frozen=True)
class Rules:
    """What a sentence must be: the settings of the same names."""

    min_chars: int
    max_chars: int
    min_letters: float

    def fault(self, sentence: str) -> str | None:
        """Return why the cleaned sentence is dropped, or ``None``: it is good.

        A character of a script written without spaces counts as two for the shortest length: seven of
        them are a whole question.
        """
        length = len(sentence)
        if not length:
            return "empty"
        if length > self.max_chars:
            return "too long"
        if sentence.isascii():
            plain = sentence.encode()
            letters = length - len(plain.translate(None, _ASCII_LETTERS))
            width, spaces = length, plain.count(b" ")
        else:
            letters, spaces = len(_NO_LETTERS.sub("", sentence)), sentence.count(" ")
            width = length
            if length < self.min_chars:
                width += len(_SPACELESS_CHARACTERS.findall(sentence))
        if width < self.min_chars:
            return "too short"
        if not letters or letters < self.min_letters * (length - spaces):
            return "few letters"
        return None
