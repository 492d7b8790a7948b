"""Deterministic choices of rows: an evenly spaced sample, and the held-out rows."""

from __future__ import annotations

import numpy as np

from tsdae_kit.corpus.deduplication import Hashes, Mask


def evenly_spaced(size: int, count: int) -> list[int]:
    """Return the numbers of at most ``count`` of ``size`` rows, evenly spaced from the first to the last."""
    rows: list[int] = np.linspace(0, size - 1, min(size, count), dtype=np.int64).tolist()
    return rows


def choose_held_out(hashes: Hashes, seed: int, held_out: float) -> Mask:
    """Return which rows are held out: those with the smallest keys, which depend on seed and text alone.

    Args:
        hashes: Hashes of the rows' texts, all different.
        seed: Changes the choice.
        held_out: A share below 1, or a count; never more than a tenth of the rows.
    """
    count = min(round(held_out * len(hashes)) if held_out < 1 else int(held_out), len(hashes) // 10)
    if not count:
        return np.zeros(len(hashes), dtype=np.bool_)
    keys = hashes ^ np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):  # splitmix64, a bijection
        keys ^= keys >> np.uint64(shift)
        keys *= np.uint64(factor)
    chosen: Mask = keys <= np.partition(keys, count - 1)[count - 1]
    return chosen
