"""Finds repeated sentences: exact duplicates by 64-bit hashes, near-duplicates by MinHash.

Hashes lie in sorted arrays, merged when two are of similar size (a log-structured merge): eight bytes a sentence,
where a Python set needs about a hundred. Of ten million sentences, the chance that any one is dropped by a collision
is about 3 in a million.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsdae_kit.extras import import_extra, require_extra

Hashes = NDArray[np.uint64]
Mask = NDArray[np.bool_]
Signatures = NDArray[Any]  # of integers, one row of _PERMUTATIONS per sentence
_NEAR_DUPLICATES = ("near", "--near-duplicates")  # the extra, and the flag that needs it
_PERMUTATIONS = 128
_SCHEME = "affine32"


class SeenHashes:
    """Remembers hashes, to tell the first of each from its repetitions."""

    def __init__(self) -> None:
        self._runs: list[Hashes] = []  # sorted, each at least twice as long as the next

    def add(self, hashes: Hashes) -> Mask:
        """Return which of the hashes are new: not among earlier ones, and the first of their value among these."""
        run, first = np.unique(hashes, return_index=True)
        is_new_in_run = np.ones(len(run), dtype=np.bool_)
        for earlier in self._runs:
            at = np.searchsorted(earlier, run)
            is_new_in_run &= earlier[np.minimum(at, len(earlier) - 1)] != run
        is_new = np.zeros(len(hashes), dtype=np.bool_)
        is_new[first[is_new_in_run]] = True
        run = run[is_new_in_run]
        while self._runs and len(self._runs[-1]) < 2 * len(run):
            run = np.concatenate([self._runs.pop(), run])
            run.sort(kind="stable")  # merges sorted runs
        if len(run):
            self._runs.append(run)
        return is_new


class NearDuplicates:
    """Finds sentences whose sets of five-character pieces are similar to an earlier sentence's.

    Ten times slower than all the rest, and all signatures stay in memory (5 kB a sentence): for up to a million or two.

    Args:
        similarity: The Jaccard similarity from which a sentence is a near-duplicate.
    """

    def __init__(self, similarity: float) -> None:
        self._index: Any = _datasketch().MinHashLSH(threshold=similarity, num_perm=_PERMUTATIONS)
        self._similarity = similarity
        self._accepted: dict[int, Any] = {}

    def add(self, signatures: Signatures) -> Mask:
        """Return which of the signatures are unlike all that were accepted before; these are accepted too."""
        is_new = np.ones(len(signatures), dtype=np.bool_)
        for i, values in enumerate(signatures):
            signature = _datasketch().LeanMinHash(seed=1, hashvalues=values, scheme=_SCHEME)
            candidates = self._index.query(signature)
            if any(self._accepted[key].jaccard(signature) >= self._similarity for key in candidates):
                is_new[i] = False
            else:
                key = len(self._accepted)
                self._index.insert(key, signature)
                self._accepted[key] = signature
        return is_new


def compute_signature(sentence: str) -> Signatures:
    """Return the sentence's MinHash signature, of shape (permutations,)."""
    text = sentence.casefold()
    signature = _empty_signature().copy()
    signature.update_batch([text[i : i + 5].encode() for i in range(max(len(text) - 4, 1))])
    values: Signatures = signature.hashvalues
    return values


def require_datasketch() -> None:
    """Check that near-duplicates can be found.

    Raises:
        KitError: If the package datasketch is not installed.
    """
    require_extra(*_NEAR_DUPLICATES, "datasketch")


@lru_cache(maxsize=1)
def _empty_signature() -> Any:
    return _datasketch().MinHash(num_perm=_PERMUTATIONS, seed=1, scheme=_SCHEME)


@lru_cache(maxsize=1)
def _datasketch() -> Any:
    return import_extra("datasketch", *_NEAR_DUPLICATES)
