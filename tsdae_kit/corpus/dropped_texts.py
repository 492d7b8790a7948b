"""Counts the texts that are dropped, by reason, with examples (or, if asked for, all of them in a file)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO

from tsdae_kit.corpus.cleaning import DROP_REASONS

EXAMPLES_PER_REASON = 3
_EXAMPLE_CHARACTERS = 200


@dataclass
class DroppedTexts:
    """The texts that one process has dropped.

    Attributes:
        keep_all: Whether all texts are kept, not only examples.
        counts: By reason.
        texts: Pairs of reason and text.
    """

    keep_all: bool
    counts: dict[str, int] = field(default_factory=dict)
    texts: list[tuple[str, str]] = field(default_factory=list)

    def add(self, reason: str, text: str) -> None:
        """Add one text."""
        self.counts[reason] = count = self.counts.get(reason, 0) + 1
        if self.keep_all or count <= EXAMPLES_PER_REASON:
            self.texts.append((reason, text))

    def merge(self, later: DroppedTexts) -> None:
        """Add those of a later chunk."""
        for reason, text in later.texts:
            if self.keep_all or self.counts.get(reason, 0) < EXAMPLES_PER_REASON:
                self.texts.append((reason, text))
        for reason, count in later.counts.items():
            self.counts[reason] = self.counts.get(reason, 0) + count


@dataclass
class DropCounter:
    """Counts the texts read and dropped, for the manifest.

    Attributes:
        file: Gets a line of JSON for each dropped text, if there is one.
        read: The number of texts read.
        columns: The number of texts that each column held.
    """

    file: IO[str] | None = None
    read: int = 0
    columns: Counter[str] = field(default_factory=Counter)
    _counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(DROP_REASONS, 0))
    _examples: dict[str, list[str]] = field(default_factory=dict)

    def add_read(self, texts: int, columns: Mapping[str, int]) -> None:
        """Count texts that were read."""
        self.read += texts
        self.columns.update(columns)

    def add_dropped(self, dropped: DroppedTexts) -> None:
        """Count texts that were dropped, and keep the first examples."""
        for reason, count in dropped.counts.items():
            self._counts[reason] += count
        for reason, text in dropped.texts:
            examples = self._examples.setdefault(reason, [])
            if len(examples) < EXAMPLES_PER_REASON:
                shown = " ".join(text.split())
                examples.append(shown if len(shown) <= _EXAMPLE_CHARACTERS else shown[:_EXAMPLE_CHARACTERS] + "...")
            if self.file:
                self.file.write(json.dumps({"reason": reason, "text": text}) + "\n")

    def summary(self) -> dict[str, object]:
        """Return the counts as the manifest has them."""
        dropped = {reason: count for reason, count in self._counts.items() if count}
        return {
            "read": self.read,
            "columns": dict(self.columns),
            "dropped": dropped,
            "examples": {reason: self._examples[reason] for reason in dropped},
        }
