"""The noise of TSDAE: deletes words, as a pure function of the seed, the epoch and the row.

A row is known by its text, not by its position: the prepared data holds every text once, so that is
the same thing, and it stays the same thing when rows are shuffled, sharded or made on another
machine. The random numbers are SHAKE-128 of (seed, epoch, text), two bytes a word, which no library
version, process or thread can change; no generator has a state to lose (upstream draws from the
process's own, so that a resumed run sees other noise). The cost is about a microsecond a sentence.

Source of the objective: Wang, Reimers and Gurevych 2021, arXiv 2104.06979, section 3: 60 % of the
words are *deleted*; the library's example keeps 60 % (its ``del_ratio`` is the share kept).
"""

from __future__ import annotations

import array
import hashlib
import sys
from dataclasses import dataclass
from typing import Any

from tsdae_kit.settings import PrepareSettings, WordUnit
from tsdae_kit.text.words import SPLITTERS, is_spaceless


@dataclass(frozen=True)
class Noise:
    """Deletion noise; call it with a text and an epoch.

    Attributes:
        deletion_ratio: Share of the words that is *deleted*, each word independently.
        words: What a word is; see :mod:`tsdae_kit.text.words`.
        seed: Changes every draw.
    """

    deletion_ratio: float = PrepareSettings.deletion_ratio
    words: WordUnit = PrepareSettings.words
    seed: int = PrepareSettings.seed

    def __call__(self, text: str, epoch: int = 0) -> str:
        """Return the text without the deleted words; equal for equal arguments, never empty.

        Neighbours that stay keep what stood between them; where something was deleted, one space
        stands for it (nothing, in scripts written without spaces). If all words fell, one is kept.
        """
        pieces = SPLITTERS[self.words](text)
        draws = self._draws(text, epoch, len(pieces))
        threshold = self.deletion_ratio * 65536
        kept = [draw >= threshold for draw in draws]
        if pieces and True not in kept:
            kept[max(range(len(pieces)), key=draws.__getitem__)] = True
        return _join(pieces, kept) or text

    def _draws(self, text: str, epoch: int, count: int) -> array.array[int]:
        """Return ``count`` numbers from 0 to 65,535."""
        key = f"{self.seed}:{epoch}:{text}".encode("utf-8", "surrogatepass")
        draws = array.array("H", hashlib.shake_128(key).digest(2 * count))
        if sys.byteorder == "big":
            draws.byteswap()
        return draws


def _join(pieces: list[str], kept: list[bool]) -> str:
    parts: list[str] = []
    before_kept = True
    for piece, keep in zip(pieces, kept, strict=True):
        if keep:
            if not before_kept and parts and not piece[0].isspace() and not is_spaceless(piece[0]):
                parts.append(" ")
            parts.append(piece)
        before_kept = keep
    return "".join(parts).strip()


class NoiseTransform:
    """A ``datasets`` transform that gives every epoch fresh noise.

    Use it as ``dataset.set_transform(NoiseTransform(noise))`` on a data set with a column ``clean``, and
    call :meth:`set_epoch` before each epoch (:class:`tsdae_kit.ResumableTrainer` does). Epoch 0 and
    ``fixed`` take a column ``noisy`` as it is stored, if there is one. The columns come out by name,
    noisy first: their order in the data set can not turn source and target around
    (sentence-transformers issue 3263).
    """

    def __init__(self, noise: Noise, fixed: bool = False) -> None:
        import torch

        self.noise = noise
        self.fixed = fixed
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
        return {"noisy": noisy, "clean": clean}
