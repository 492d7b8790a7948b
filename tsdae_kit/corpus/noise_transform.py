"""A ``datasets`` transform that draws the noise of each epoch. Apart from the noise itself, because it needs torch."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import torch

from tsdae_kit.corpus.noise import Noise
from tsdae_kit.corpus.noise_draws import draw_numbers, pair_key


class NoiseTransform:
    """A ``datasets`` transform that gives every epoch fresh noise.

    Use it as ``dataset.set_transform(NoiseTransform(noise))`` on a data set with a column ``clean``, and
    call :meth:`set_epoch` before each epoch (:class:`tsdae_kit.ResumableTrainer` does). The columns come out by name,
    noisy first: their order in the data set cannot exchange source and target (sentence-transformers issue 3263).

    Args:
        noise: The noise.
        pairs: Labelled pairs, whose columns are added as ``pair_NAME``: each row gets one pair in each epoch, which
            seed, epoch and text decide.
    """

    def __init__(self, noise: Noise, pairs: pa.Table | None = None) -> None:
        self.noise = noise
        self.pairs = pairs
        # Shared memory: DataLoader workers that live across epochs see the new value too.
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Draw the noise of this epoch (from 0) from now on."""
        self._epoch[0] = epoch

    def __call__(self, rows: dict[str, list[Any]]) -> dict[str, list[str]]:
        """Return the rows' ``noisy`` and ``clean`` texts; in epoch 0, a stored column ``noisy`` is taken."""
        epoch = int(self._epoch)
        clean = rows["clean"]
        noisy = rows["noisy"] if epoch == 0 and "noisy" in rows else [self.noise(text, epoch) for text in clean]
        return {"noisy": noisy, "clean": clean, **self._draw_pairs(clean)}

    def _draw_pairs(self, clean: list[str]) -> dict[str, list[str]]:
        if self.pairs is None:
            return {}
        draws = (draw_numbers(pair_key(self.noise.seed, int(self._epoch), text), 2) for text in clean)
        drawn = self.pairs.take([(low + 65536 * high) % len(self.pairs) for low, high in draws])
        return {f"pair_{name}": drawn[name].to_pylist() for name in drawn.column_names}
