"""What noise does to a sentence's words: the paper's kinds.

Each takes the words (every one with the white space before it), random numbers from 0 to 65,535 and
the threshold below which a word is chosen.
"""

from __future__ import annotations

import array
from collections.abc import Callable
from typing import TYPE_CHECKING

from tsdae_kit.text.words import is_spaceless

if TYPE_CHECKING:
    from tsdae_kit.text.noise import Noise

Change = Callable[["Noise", list[str], "array.array[int]", int], list[str]]


def delete(noise: Noise, pieces: list[str], draws: array.array[int], threshold: int) -> list[str]:
    """Return the words whose draw is not below the threshold; the one with the highest, if all are."""
    left: list[str] = []
    last = -1
    for i, draw in enumerate(draws):
        if draw >= threshold:
            piece = pieces[i]
            left.append(piece if last == i - 1 or piece[0] == " " else _gap(noise, pieces[last + 1 : i + 1]) + piece)
            last = i
    return left or [pieces[max(range(len(pieces)), key=draws.__getitem__)]] if pieces else []


def _gap(noise: Noise, pieces: list[str]) -> str:
    """Return what stands before the last of the pieces when the others are gone."""
    if noise.words == "characters":
        return "" if pieces[-1][0].isspace() or not any(piece[0].isspace() for piece in pieces) else " "
    return "" if pieces[-1][0].isspace() or is_spaceless(pieces[-1][0]) else " "


def _cut(piece: str) -> tuple[str, str]:
    """Return the white space before a word, and the word."""
    word = piece.lstrip()
    return piece[: len(piece) - len(word)], word


def swap(noise: Noise, pieces: list[str], draws: array.array[int], threshold: int) -> list[str]:
    """Return the words with chosen ones and their right neighbours exchanged; the white space stays where it was."""
    spaces, words = zip(*map(_cut, pieces), strict=True) if pieces else ((), ())
    moved = list(words)
    for i in range(len(moved) - 1):
        if draws[i] < threshold:
            moved[i], moved[i + 1] = moved[i + 1], moved[i]
    return [space + word for space, word in zip(spaces, moved, strict=True)]


def mask(noise: Noise, pieces: list[str], draws: array.array[int], threshold: int) -> list[str]:
    """Return the words with chosen ones masked."""
    return [
        _cut(piece)[0] + noise.mask_token if draw < threshold else piece
        for piece, draw in zip(pieces, draws, strict=True)
    ]


def replace(noise: Noise, pieces: list[str], draws: array.array[int], threshold: int) -> list[str]:
    """Return the words with others of the corpus in the place of chosen ones."""
    known, second = noise.vocabulary or pieces, len(pieces)
    return [
        _cut(piece)[0] + known[draws[second + i] % len(known)].strip() if draws[i] < threshold else piece
        for i, piece in enumerate(pieces)
    ]


def insert(noise: Noise, pieces: list[str], draws: array.array[int], threshold: int) -> list[str]:
    """Return the words with others of the corpus after chosen ones."""
    known, second = noise.vocabulary or pieces, len(pieces)
    grown: list[str] = []
    for i, piece in enumerate(pieces):
        grown.append(piece)
        if draws[i] < threshold:
            word = known[draws[second + i] % len(known)].strip()
            grown.append(word if is_spaceless(word[:1]) or noise.words == "characters" else " " + word)
    return grown


CHANGES: dict[str, Change] = {
    "delete": delete, "swap": swap, "mask": mask, "replace": replace, "insert": insert,
}  # fmt: skip
TWO_DRAWS = (replace, insert)  # whether a word is changed, then which word comes
