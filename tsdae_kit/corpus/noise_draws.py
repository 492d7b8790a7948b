"""Random numbers that a key decides: no library version, process or thread changes them.

The keys below must stay the same byte for byte, also their separators and the word ``beside``: they are the seeds, so
another spelling changes the noise of every prepared corpus, and a resumed run would see other data than before.
"""

from __future__ import annotations

import array
import hashlib
import random
import sys

MAX_DRAW = 65535


def operation_key(seed: int, epoch: int, text: str, step: int) -> str:
    """Return the key of a noise operation's draws; the step is its place in the chain, from 0."""
    return f"{seed}:{epoch}:{text}\0{step}" if step else f"{seed}:{epoch}:{text}"


def function_key(seed: int, epoch: int, text: str, step: int) -> str:
    """Return the key of a custom noise function's draws."""
    return f"{seed}:{epoch}:{step}:{text}"


def pair_key(seed: int, epoch: int, text: str) -> str:
    """Return the key that decides which labelled pair a row gets."""
    return f"{seed}:{epoch}:beside:{text}"


def draw_numbers(key: str, count: int) -> array.array[int]:
    """Return ``count`` numbers from 0 to ``MAX_DRAW``: SHAKE-128 of the key, two bytes each."""
    numbers = array.array("H", hashlib.shake_128(key.encode("utf-8", "surrogatepass")).digest(2 * count))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def make_generator(key: str) -> random.Random:
    """Return Python's generator, seeded with SHAKE-128 of the key."""
    return random.Random(hashlib.shake_128(key.encode("utf-8", "surrogatepass")).digest(16))
