"""Cuts long texts into sentences with Punkt, trained on the corpus itself: no download, and the field's abbreviations.

Punkt knows where a full stop ends a sentence in languages that put a space after it; the marks of
scripts that do not (and those that mean nothing else) are cut at first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

SAMPLE = 2_000_000  # characters that Punkt learns from: about ten seconds
_END, _CLOSING = r"[。！？｡।॥؟]", r"[」』”’）)]"
_SURE_ENDS = re.compile(f"(?<={_END})(?!{_END}|{_CLOSING})|(?<={_END}{_CLOSING})")
_PARAGRAPH_ENDS = re.compile(r"\n\s*\n")


@dataclass(frozen=True)
class Paragraphs:
    """Cuts a text at its blank lines."""

    def __call__(self, text: str) -> list[str]:
        """Return the paragraphs."""
        return _PARAGRAPH_ENDS.split(text) if "\n" in text else [text]


@dataclass(frozen=True)
class Sentences:
    """Cuts a text into sentences.

    Attributes:
        punkt: A ``PunktSentenceTokenizer`` that has learned.
    """

    punkt: Any

    def __call__(self, text: str) -> list[str]:
        """Return the sentences, each cut from the text."""
        return [sentence for part in self._parts(text) for sentence in self.punkt.tokenize(part)] or [text]

    def _parts(self, text: str) -> Iterator[str]:
        for paragraph in _PARAGRAPH_ENDS.split(text):
            yield from _SURE_ENDS.split(paragraph)


def learn_sentences(texts: Iterable[str]) -> tuple[Sentences, int, int]:
    """Return a cutter that has learned from the first texts, how many characters these were, and its abbreviations."""
    from nltk.tokenize.punkt import PunktSentenceTokenizer, PunktTrainer

    trainer = PunktTrainer()
    read = 0
    for text in texts:
        trainer.train(text, finalize=False)
        read += len(text)
        if read >= SAMPLE:
            break
    trainer.finalize_training()
    found = trainer.get_params()
    return Sentences(PunktSentenceTokenizer(found)), read, len(found.abbrev_types)
