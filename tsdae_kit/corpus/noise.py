"""The noise of TSDAE: deletes words (or worse), as a pure function of the seed, the epoch and the row.

A row is known by its text, not by its position: the prepared data holds every text once, so that is
the same thing, and it stays the same thing when rows are shuffled, sharded or made on another
machine. The random numbers are SHAKE-128 of (seed, epoch, text), two bytes a word, which no library
version, process or thread can change; no generator has a state to lose (upstream draws from the
process's own, so that a resumed run sees other noise). The cost is about a microsecond a sentence.

Source of the objective: Wang, Reimers and Gurevych 2021, arXiv 2104.06979, section 3: 60 % of the
words are *deleted*; the library's example keeps 60 % (its ``del_ratio`` is the share kept). The other
kinds (swap, mask, replace, insert) are those of the paper's ablation.
"""

from __future__ import annotations

import array
import hashlib
import math
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tsdae_kit.config.settings import PrepareSettings, WordUnit
from tsdae_kit.corpus.noise_operations import CHANGES, TWO_DRAWS, Change, mask
from tsdae_kit.corpus.words import SPLITTERS
from tsdae_kit.errors import KitError, first_line

if TYPE_CHECKING:
    import pyarrow as pa

OwnNoise = Callable[[list[str], random.Random], list[str]]
_STAYS = 65535  # a draw at or above every threshold


@dataclass(frozen=True)
class Noise:
    """Noise on one text; call it with a text and an epoch.

    Attributes:
        deletion_ratio: Share of the words that is *deleted* (or otherwise changed), each independently.
        words: What a word is; see :mod:`tsdae_kit.corpus.words`.
        seed: Changes every draw.
        kinds: What is done, in order: some of ``CHANGES``, each with ``:RATIO`` where it is not to be
            ``deletion_ratio``, or ``module.function``; joined by commas.
        protect: Words that are never touched, whatever their case.
        vocabulary: The words that replace and insert draw from.
        mask_token: What masked words become.
    """

    deletion_ratio: float = PrepareSettings.deletion_ratio
    words: WordUnit = PrepareSettings.words
    seed: int = PrepareSettings.seed
    kinds: str = PrepareSettings.noise
    protect: tuple[str, ...] = ()
    vocabulary: tuple[str, ...] = ()
    mask_token: str = PrepareSettings.mask_token

    def __call__(self, text: str, epoch: int = 0) -> str:
        """Return the noisy text; equal for equal arguments, and with a word in it if the text has one.

        Args:
            text: What to make noisy; a row is known by it.
            epoch: From 0; each draws its own noise.

        Neighbours that stay keep what stood between them; where something was deleted, one space
        stands for it (nothing, in scripts written without spaces). If all words (pieces with a letter or digit)
        fell, the one with the highest draw stays: of n words, the share 0.6 - 0.6^n / n is deleted on average, of
        two 0.42, of three 0.53, of five 0.58. A punctuation mark is a piece of its own, as in the paper's Treebank
        tokens, and falls as often as a word does, so that the share of words deleted is the ratio too.

        Raises:
            KitError: If the kinds are unknown, or a function of the user's fails.
        """
        pieces = SPLITTERS[self.words](text)
        for number, (change, threshold) in enumerate(self.steps):
            if isinstance(change, str):
                pieces = self._apply_own(change, pieces, f"{self.seed}:{epoch}:{number}:{text}")
                continue
            key = f"{self.seed}:{epoch}:{text}\0{number}" if number else f"{self.seed}:{epoch}:{text}"
            draws = _draws(key, len(pieces) * (1 + (change in TWO_DRAWS)))
            if self.protect:
                for i, piece in enumerate(pieces):
                    if piece.strip().casefold() in self._protected:
                        draws[i] = _STAYS
            left = change(self, pieces, draws, threshold)
            if self._has_no_word(left) and (last := self._last_word(pieces, draws)) is not None:
                draws[last] = _STAYS
                left = change(self, pieces, draws, threshold)
            pieces = left
        return "".join(pieces).strip() or text

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the fields alone, not what was derived from them."""
        return Noise, tuple(getattr(self, entry.name) for entry in fields(self))

    @property
    def functions(self) -> list[str]:
        """The functions of the user's among the kinds; nothing is imported."""
        return [kind for part in self.kinds.split(",") if "." in (kind := part.strip()) and ":" not in kind]

    @cached_property
    def steps(self) -> list[tuple[Change | str, int]]:
        """The changes in order, each with its threshold of 65,536; a dotted name stands for itself, and is imported.

        Raises:
            KitError: If the kinds are not spelled as they must be, or a function cannot be imported.
        """
        steps: list[tuple[Change | str, int]] = []
        for part in self.kinds.split(","):
            kind, _, given = part.strip().partition(":")
            try:
                ratio = float(given) if given else self.deletion_ratio
            except ValueError:
                ratio = -1.0
            own = "." in kind and not given
            if not (own or kind in CHANGES) or not 0 <= ratio < 1:
                raise KitError(
                    f"--noise {part.strip()!r} is no kind of noise. "
                    f"Give {', '.join(CHANGES)} (joined by commas, as in swap:0.1,delete:0.6) or module.function."
                )
            steps.append((kind if own else CHANGES[kind], min(math.ceil(ratio * 65536), _STAYS)))
            if own:
                own_noise(kind)
        return steps

    def _has_no_word(self, pieces: list[str]) -> bool:
        if pieces and pieces[0][-1].isalnum() and not self._masked:  # most; this is fast
            return False
        return next(self._words_of(pieces), None) is None

    def _words_of(self, pieces: list[str]) -> Iterator[int]:
        """Yield the places of the pieces that have a letter or digit and do not stand for a masked word."""
        for i, piece in enumerate(pieces):
            if (piece[-1].isalnum() or any(map(str.isalnum, piece))) and piece.strip() != self._masked:
                yield i

    def _last_word(self, pieces: list[str], draws: array.array[int]) -> int | None:
        """Return the place of the word with the highest draw, if there is a word."""
        return max(self._words_of(pieces), key=draws.__getitem__, default=None)

    @cached_property
    def _masked(self) -> str:
        """What a masked word is in this chain of changes."""
        return self.mask_token.strip() if any(change is mask for change, _ in self.steps) else ""

    @cached_property
    def _protected(self) -> frozenset[str]:
        words = (piece.strip() for phrase in self.protect for piece in SPLITTERS[self.words](phrase.casefold()))
        return frozenset(word for word in words if word)

    def _apply_own(self, name: str, pieces: list[str], key: str) -> list[str]:
        seed = hashlib.shake_128(key.encode("utf-8", "surrogatepass")).digest(16)
        try:
            left = list(own_noise(name)(list(pieces), random.Random(seed)))
            "".join(left)  # raises for what is no text
        except Exception as error:  # the user's code may raise anything
            raise KitError(
                f"--noise {name} failed on {''.join(pieces)[:60]!r}: {type(error).__name__}: {first_line(error)}. "
                "It takes a list of words and a random.Random, and returns the words that are left."
            ) from error
        left = [piece for piece in left if piece]
        if left and self._has_no_word(left):
            last = self._last_word(pieces, _draws(key, len(pieces)))
            return left if last is None else [pieces[last], *left]
        return left


def own_noise(name: str) -> OwnNoise:
    """Return the function called ``module.name``.

    Raises:
        KitError: If there is none.
    """
    module, _, attribute = name.rpartition(".")
    try:
        found: OwnNoise = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise KitError(
            f"--noise {name}: {first_line(error)}. Give the dotted name of a function that Python can import here."
        ) from error
    return found


def _draws(key: str, count: int) -> array.array[int]:
    """Return ``count`` numbers from 0 to 65,535."""
    draws = array.array("H", hashlib.shake_128(key.encode("utf-8", "surrogatepass")).digest(2 * count))
    if sys.byteorder == "big":
        draws.byteswap()
    return draws


class NoiseTransform:
    """A ``datasets`` transform that gives every epoch fresh noise.

    Use it as ``dataset.set_transform(NoiseTransform(noise))`` on a data set with a column ``clean``, and
    call :meth:`set_epoch` before each epoch (:class:`tsdae_kit.ResumableTrainer` does). Epoch 0 and
    ``fixed`` take a column ``noisy`` as it is stored, if there is one. The columns come out by name,
    noisy first: their order in the data set can not turn source and target around
    (sentence-transformers issue 3263). ``pairs``, a table of texts that belong together, adds its columns:
    to each row, in each epoch, a row of it that seed, epoch and text decide.
    """

    def __init__(self, noise: Noise, fixed: bool = False, pairs: pa.Table | None = None) -> None:
        import torch

        self.noise = noise
        self.fixed = fixed
        self.pairs = pairs
        # Shared memory: workers of a DataLoader that live across epochs see the new value too.
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Draw the noise of this epoch (from 0) from now on."""
        self._epoch[0] = epoch

    def __call__(self, rows: dict[str, list[Any]]) -> dict[str, list[str]]:
        """Return the rows' ``noisy`` and ``clean`` texts."""
        epoch = 0 if self.fixed else int(self._epoch)
        clean = rows["clean"]
        noisy = rows["noisy"] if epoch == 0 and "noisy" in rows else [self.noise(text, epoch) for text in clean]
        return {"noisy": noisy, "clean": clean, **self._drawn(clean)}

    def _drawn(self, clean: list[str]) -> dict[str, list[str]]:
        if self.pairs is None:
            return {}
        draws = (_draws(f"{self.noise.seed}:{int(self._epoch)}:beside:{text}", 2) for text in clean)
        numbers = [(low + 65536 * high) % len(self.pairs) for low, high in draws]
        drawn = self.pairs.take(numbers)
        return {f"pair_{name}": drawn[name].to_pylist() for name in drawn.column_names}
