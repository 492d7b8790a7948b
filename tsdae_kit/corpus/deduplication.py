"""Finds what was there before: exact duplicates by 64-bit hashes, near-duplicates by MinHash.

Hashes lie in sorted arrays, merged when two are of a size (a log-structured merge): eight bytes a
sentence, where a Python set needs about a hundred. Of ten million sentences, the chance that any
one is dropped by a collision is about 3 in a million.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsdae_kit.errors import KitError

Hashes = NDArray[np.uint64]
Flags = NDArray[np.bool_]
_PERMUTATIONS = 128
_SCHEME = "affine32"


class SeenHashes:
    """Remembers hashes; the first of each is the one that counts."""

    def __init__(self) -> None:
        self._runs: list[Hashes] = []  # sorted, each at least twice as long as the next

    def add(self, hashes: Hashes) -> Flags:
        """Return which of the hashes are new: not among earlier ones, and the first of their kind among these."""
        run, first = np.unique(hashes, return_index=True)
        fresh = np.ones(len(run), dtype=np.bool_)
        for earlier in self._runs:
            at = np.searchsorted(earlier, run)
            fresh &= earlier[np.minimum(at, len(earlier) - 1)] != run
        is_new = np.zeros(len(hashes), dtype=np.bool_)
        is_new[first[fresh]] = True
        run = run[fresh]
        while self._runs and len(self._runs[-1]) < 2 * len(run):
            run = np.concatenate([self._runs.pop(), run])
            run.sort(kind="stable")  # merges sorted runs
        if len(run):
            self._runs.append(run)
        return is_new


class NearDuplicates:
    """Finds sentences whose sets of five-character pieces are similar to an earlier sentence's.

    Ten times slower than all the rest, and everything seen stays in memory (5 kB a sentence): for up to a
    million or two.
    """

    def __init__(self, similarity: float) -> None:
        self._index: Any = datasketch().MinHashLSH(threshold=similarity, num_perm=_PERMUTATIONS)
        self._similarity = similarity
        self._kept: dict[int, Any] = {}

    def add(self, signatures: NDArray[Any]) -> Flags:
        """Return which of the signatures are unlike all earlier ones that were kept."""
        is_new = np.ones(len(signatures), dtype=np.bool_)
        for i, values in enumerate(signatures):
            known = datasketch().LeanMinHash(seed=1, hashvalues=values, scheme=_SCHEME)
            if any(self._kept[key].jaccard(known) >= self._similarity for key in self._index.query(known)):
                is_new[i] = False
            else:
                key = len(self._kept)
                self._index.insert(key, known)
                self._kept[key] = known
        return is_new


@lru_cache(maxsize=1)
def _blank() -> Any:
    return datasketch().MinHash(num_perm=_PERMUTATIONS, seed=1, scheme=_SCHEME)


def sketch(sentence: str) -> NDArray[Any]:
    """Return the sentence's MinHash signature."""
    text = sentence.casefold()
    found = _blank().copy()
    found.update_batch([text[i : i + 5].encode() for i in range(max(len(text) - 4, 1))])
    values: NDArray[Any] = found.hashvalues
    return values


def datasketch() -> Any:
    """Return the package of that name.

    Raises:
        KitError: If it is not installed.
    """
    try:
        import datasketch as module
    except ImportError as error:
        raise KitError(
            "--near-duplicates needs the package datasketch. Install it: pip install 'tsdae_kit[near]'."
        ) from error
    return module
