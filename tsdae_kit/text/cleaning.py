"""Decides which lines become training sentences, and gives every other line its reason.

One function decides, so that the counts in the manifest, the closing table and the data can not
disagree (as in datatrove's filters).
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass, field

_CONTROL_OR_SPACE = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u200b\ufeff]+")
_LETTER = re.compile(r"[^\W\d_]")


def clean_text(text: str) -> str:
    """Return the text in Unicode normal form C, control characters and runs of white space as one space."""
    return _CONTROL_OR_SPACE.sub(" ", unicodedata.normalize("NFC", text)).strip()


@dataclass
class SentenceFilter:
    """Keeps each sentence once and counts what it drops, by reason.

    Duplicates are found by a 64-bit digest of the case-folded text: of ten million sentences, the
    chance that any one is dropped by a collision is about 3 in a million.
    """

    min_chars: int
    max_chars: int
    kept: int = 0
    dropped: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("empty", "too short", "too long", "no letters", "duplicate"), 0)
    )
    _seen: set[int] = field(default_factory=set, repr=False)

    def accept(self, line: str) -> str | None:
        """Return the cleaned sentence, or ``None`` for a line that is counted as dropped."""
        sentence = clean_text(line)
        reason = self._reason(sentence)
        if reason:
            self.dropped[reason] += 1
            return None
        self.kept += 1
        return sentence

    def _reason(self, sentence: str) -> str | None:
        if not sentence:
            return "empty"
        if len(sentence) < self.min_chars:
            return "too short"
        if len(sentence) > self.max_chars:
            return "too long"
        if not _LETTER.search(sentence):
            return "no letters"
        digest = int.from_bytes(hashlib.blake2b(sentence.casefold().encode(), digest_size=8).digest(), "little")
        if digest in self._seen:
            return "duplicate"
        self._seen.add(digest)
        return None
