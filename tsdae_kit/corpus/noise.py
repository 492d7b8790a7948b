"""The noise of TSDAE: deletes words (or changes them), as a pure function of the seed, the epoch and the row.

A row is identified by its text, not by its position. The prepared data holds every text once, so that both are the
same, and the text still identifies the row when rows are shuffled, sharded or processed on another machine. The random
numbers are SHAKE-128 of (seed, epoch, text): no generator has a state to lose. Upstream draws from the process's own
generator, so that a resumed run sees other noise. The numbers of a sentence cost about a microsecond.

Source of the objective: Wang, Reimers and Gurevych 2021, arXiv 2104.06979, section 3: 60 % of the
words are *deleted*; the library's example keeps 60 % (its ``del_ratio`` is the share kept). The other
operations (swap, mask, replace, insert) are those of the paper's ablation.
"""

from __future__ import annotations

import array
import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple

from tsdae_kit.corpus import defaults
from tsdae_kit.corpus.custom_noise import call_noise_function, load_noise_function
from tsdae_kit.corpus.defaults import WordUnit
from tsdae_kit.corpus.noise_draws import MAX_DRAW, draw_numbers, function_key, make_generator, operation_key
from tsdae_kit.corpus.noise_operations import NOISE_OPERATIONS, TWO_DRAWS_PER_WORD, NoiseOperation, NoiseStyle, mask
from tsdae_kit.corpus.words import SPLITTERS
from tsdae_kit.errors import KitError

_KEEP = MAX_DRAW  # a draw that is never below a threshold


class NoiseStep(NamedTuple):
    """One step of the noise.

    Attributes:
        operation: The operation, or the dotted name of a custom noise function.
        threshold: Words with a draw below it, of 65,536, are changed; a custom function ignores it.
    """

    operation: NoiseOperation | str
    threshold: int


@dataclass(frozen=True)
class Noise:
    """Noise on one text; call it with a text and an epoch.

    Attributes:
        deletion_ratio: Share of the words that is *deleted* (or otherwise changed), each independently.
        words: What a word is; see :mod:`tsdae_kit.corpus.words`.
        seed: Changes every draw.
        kinds: The steps in order, joined by commas: names of ``NOISE_OPERATIONS``, each with ``:RATIO`` where it is
            not to be ``deletion_ratio``, or ``module.function``.
        protect: Words that are never changed, in any case.
        vocabulary: The words that replace and insert take.
        mask_token: What a masked word becomes.
    """

    deletion_ratio: float = defaults.DELETION_RATIO
    words: WordUnit = defaults.WORD_UNIT
    seed: int = defaults.SEED
    kinds: str = defaults.NOISE
    protect: tuple[str, ...] = ()
    vocabulary: tuple[str, ...] = ()
    mask_token: str = defaults.MASK_TOKEN

    def __call__(self, text: str, epoch: int = 0) -> str:
        """Return the noisy text: the same for the same arguments, and with a word in it if the text has one.

        Args:
            text: The clean text, which identifies the row.
            epoch: From 0; each has its own noise.

        Neighbours that are kept keep what stood between them. One space replaces what was deleted (none does, in
        scripts written without spaces). If all words (pieces with a letter or digit) were deleted, the one with the
        highest draw is kept: of n words, the share 0.6 - 0.6^n / n is deleted on average, of two 0.42, of three 0.53,
        of five 0.58. A punctuation mark is a piece of its own, as in the paper's Treebank tokens, and is deleted as
        often as a word, so that the share of words deleted is the ratio too.

        Raises:
            KitError: If the kinds are unknown, or a custom function fails.
        """
        pieces = SPLITTERS[self.words](text)
        for number, (operation, threshold) in enumerate(self.steps):
            if isinstance(operation, str):
                pieces = self._call_function(operation, pieces, function_key(self.seed, epoch, text, number))
            else:
                key = operation_key(self.seed, epoch, text, number)
                pieces = self._apply(operation, pieces, key, threshold)
        return "".join(pieces).strip() or text

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the fields alone, not what was derived from them."""
        return Noise, tuple(getattr(self, entry.name) for entry in fields(self))

    @property
    def functions(self) -> list[str]:
        """The names of the custom functions among the kinds; nothing is imported."""
        return [name for kind in self.kinds.split(",") if (name := _function_name(kind))]

    @property
    def masks_words(self) -> bool:
        """Whether a step masks words."""
        return any(step.operation is mask for step in self.steps)

    @cached_property
    def steps(self) -> list[NoiseStep]:
        """The steps in order; custom functions are imported, to see that they exist.

        Raises:
            KitError: If the kinds are misspelled, or a function cannot be imported.
        """
        steps: list[NoiseStep] = []
        for kind in self.kinds.split(","):
            name, _, ratio_text = kind.strip().partition(":")
            try:
                ratio = float(ratio_text) if ratio_text else self.deletion_ratio
            except ValueError:
                ratio = -1.0
            function = _function_name(kind)
            if not (function or name in NOISE_OPERATIONS) or not 0 <= ratio < 1:
                raise KitError(
                    f"--noise {kind.strip()!r} is no kind of noise. "
                    f"Give {', '.join(NOISE_OPERATIONS)} (joined by commas, as in swap:0.1,delete:0.6) "
                    "or module.function."
                )
            if function:
                load_noise_function(function)
            threshold = min(math.ceil(ratio * (MAX_DRAW + 1)), MAX_DRAW)
            steps.append(NoiseStep(function or NOISE_OPERATIONS[name], threshold))
        return steps

    def _apply(self, operation: NoiseOperation, pieces: list[str], key: str, threshold: int) -> list[str]:
        draws = draw_numbers(key, len(pieces) * (2 if operation in TWO_DRAWS_PER_WORD else 1))
        if self.protect:
            for i, piece in enumerate(pieces):
                if piece.strip().casefold() in self._protected:
                    draws[i] = _KEEP
        result = operation(pieces, draws, threshold, self._style)
        if self._has_no_word(result) and (highest := self._highest_word(pieces, draws)) is not None:
            draws[highest] = _KEEP
            result = operation(pieces, draws, threshold, self._style)
        return result

    def _call_function(self, name: str, pieces: list[str], key: str) -> list[str]:
        result = call_noise_function(name, pieces, make_generator(key))
        if result and self._has_no_word(result):
            highest = self._highest_word(pieces, draw_numbers(key, len(pieces)))
            return result if highest is None else [pieces[highest], *result]
        return result

    def _has_no_word(self, pieces: list[str]) -> bool:
        if pieces and pieces[0][-1].isalnum() and not self._masked_word:  # most; this is fast
            return False
        return next(self._word_places(pieces), None) is None

    def _highest_word(self, pieces: list[str], draws: array.array[int]) -> int | None:
        """Return the place of the word with the highest draw, or ``None`` if there is no word."""
        return max(self._word_places(pieces), key=draws.__getitem__, default=None)

    def _word_places(self, pieces: list[str]) -> Iterator[int]:
        """Yield the places of the pieces that have a letter or digit and are not a masked word."""
        for i, piece in enumerate(pieces):
            if (piece[-1].isalnum() or any(map(str.isalnum, piece))) and piece.strip() != self._masked_word:
                yield i

    @cached_property
    def _style(self) -> NoiseStyle:
        return NoiseStyle(self.words, self.vocabulary, self.mask_token)

    @cached_property
    def _masked_word(self) -> str:
        """The mask token if a step masks words, else an empty text."""
        return self.mask_token.strip() if self.masks_words else ""

    @cached_property
    def _protected(self) -> frozenset[str]:
        words = (piece.strip() for phrase in self.protect for piece in SPLITTERS[self.words](phrase.casefold()))
        return frozenset(word for word in words if word)


def _function_name(kind: str) -> str | None:
    """Return the dotted name if the kind names a custom function (which takes no ratio), else ``None``."""
    name, _, ratio = kind.strip().partition(":")
    return name if "." in name and not ratio else None
