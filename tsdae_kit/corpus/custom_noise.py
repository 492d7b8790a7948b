"""Custom noise functions of the user's, named as ``module.function``."""

from __future__ import annotations

import random
from collections.abc import Callable
from importlib import import_module

from tsdae_kit.errors import KitError, first_line

NoiseFunction = Callable[[list[str], random.Random], list[str]]


def load_noise_function(name: str) -> NoiseFunction:
    """Import the function ``module.name`` and return it.

    Raises:
        KitError: If there is none.
    """
    module, _, attribute = name.rpartition(".")
    try:
        function: NoiseFunction = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise KitError(
            f"--noise {name}: {first_line(error)}. Give the dotted name of a function that Python can import here."
        ) from error
    return function


def call_noise_function(name: str, pieces: list[str], generator: random.Random) -> list[str]:
    """Return the words that a custom noise function leaves of the pieces, without empty ones.

    Raises:
        KitError: If the function fails, or returns something else than texts.
    """
    try:
        result = list(load_noise_function(name)(list(pieces), generator))
        "".join(result)  # raises for what is no text
    except Exception as error:  # the user's code may raise anything
        raise KitError(
            f"--noise {name} failed on {''.join(pieces)[:60]!r}: {type(error).__name__}: {first_line(error)}. "
            "It takes a list of words and a random.Random, and returns the words that are left."
        ) from error
    return [piece for piece in result if piece]
