"""Cleans texts, and decides which become training sentences: every dropped one has a reason.

One function decides, so that the counts in the manifest, the closing table and the data agree (as in datatrove's
filters). Duplicates are found later, where all sentences meet.
"""

from __future__ import annotations

import re
import string
import unicodedata
from dataclasses import dataclass

import regex

from tsdae_kit.corpus import defaults
from tsdae_kit.corpus.words import SPACELESS

DROP_REASONS = ("empty", "too short", "too long", "few letters", "duplicate", "near-duplicate")
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
class CleaningRules:
    """What a sentence must be to be kept.

    Attributes:
        min_chars: Drop shorter sentences. Seven characters of a script without spaces are a whole question, so each
            of these counts as two.
        max_chars: Drop longer sentences.
        min_letters: Drop sentences with a smaller share of letters among the characters that are not spaces.
    """

    min_chars: int = defaults.MIN_CHARS
    max_chars: int = defaults.MAX_CHARS
    min_letters: float = defaults.MIN_LETTERS

    def drop_reason(self, sentence: str) -> str | None:
        """Return why the cleaned sentence is dropped, or ``None`` if it is kept."""
        length = len(sentence)
        if not length:
            return "empty"
        if length > self.max_chars:
            return "too long"
        width = length
        if sentence.isascii():
            encoded = sentence.encode()
            letters, spaces = length - len(encoded.translate(None, _ASCII_LETTERS)), encoded.count(b" ")
        else:
            letters, spaces = len(_NO_LETTERS.sub("", sentence)), sentence.count(" ")
            if length < self.min_chars:
                width += len(_SPACELESS_CHARACTERS.findall(sentence))
        if width < self.min_chars:
            return "too short"
        if not letters or letters < self.min_letters * (length - spaces):
            return "few letters"
        return None
