"""Splits long texts into sentences or paragraphs.

Punkt finds the ends of sentences; it learns from the corpus itself, which needs no download and covers the
abbreviations of the domain. It knows where a full stop ends a sentence in languages with a space after it. The marks
of scripts without spaces, which always end a sentence, are split at first.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

logger = logging.getLogger("tsdae_kit")
_LEARNED_CHARACTERS = 2_000_000  # about ten seconds
_END, _CLOSING = r"[。！？｡।॥؟]", r"[」』”’）)]"
_CERTAIN_ENDS = re.compile(f"(?<={_END})(?!{_END}|{_CLOSING})|(?<={_END}{_CLOSING})")
_PARAGRAPH_ENDS = re.compile(r"\n\s*\n")


@dataclass(frozen=True)
class ParagraphSplitter:
    """Splits a text at its blank lines."""

    def __call__(self, text: str) -> list[str]:
        """Return the paragraphs."""
        return _PARAGRAPH_ENDS.split(text) if "\n" in text else [text]


@dataclass(frozen=True)
class SentenceSplitter:
    """Splits a text into sentences.

    Attributes:
        punkt: A trained ``PunktSentenceTokenizer``.
    """

    punkt: Any

    def __call__(self, text: str) -> list[str]:
        """Return the sentences, as pieces of the text."""
        return [sentence for part in self._split_certain(text) for sentence in self.punkt.tokenize(part)] or [text]

    def _split_certain(self, text: str) -> Iterator[str]:
        for paragraph in _PARAGRAPH_ENDS.split(text):
            yield from _CERTAIN_ENDS.split(paragraph)


def learn_sentences(texts: Iterable[str]) -> SentenceSplitter:
    """Return a splitter that has learned abbreviations from the first two million characters, and log what it read."""
    from nltk.tokenize.punkt import PunktSentenceTokenizer, PunktTrainer  # half a second, and few runs need it

    trainer = PunktTrainer()
    characters = 0
    for text in texts:
        trainer.train(text, finalize=False)
        characters += len(text)
        if characters >= _LEARNED_CHARACTERS:
            break
    trainer.finalize_training()
    learned = trainer.get_params()
    logger.info("Sentence ends learned from %s characters: %s abbreviations.", f"{characters:,}",
                f"{len(learned.abbrev_types):,}")  # fmt: skip
    return SentenceSplitter(PunktSentenceTokenizer(learned))
