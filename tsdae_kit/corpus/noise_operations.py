"""What noise does to a sentence's words: the paper's kinds.

Each takes the words (every one with the white space before it), random numbers from 0 to 65,535 and
the threshold below which a word is chosen.
"""

from __future__ import annotations

import array
from collections.abc import Callable
from typing import TYPE_CHECKING

from tsdae_kit.corpus.words import is_spaceless

if TYPE_CHECKING:
    from tsdae_kit.corpus.noise import Noise

Change = Callable[["Noise", list[str], "array.array[int]", int], list[str]]


def delete(noise: Noise, pieces: list[str], draws: array.array[int], threshold: int) -> list[str]:
    """Return the words whose draw is not below the threshold; the one with the highest, if all are."""
    left: list[str] = []
    last = -1
    for i, draw in enumerate(draws):
        if draw >= threshold:
            piece = pieces[i]
            left.append(piece if last == i - 1 or piece[0] == " " else _gap(noise, pieces, last + 1, i) + piece)
            last = i
    return left or [pieces[max(range(len(pieces)), key=draws.__getitem__)]] if pieces else []


def _gap(noise: Noise, pieces: list[str], first: int, place: int) -> str:
    """Return what stands before the piece at a place when those from the first to it are gone."""
    start = pieces[place][0]
    if start.isspace():
        return ""
    if noise.words == "characters":
        return " " if any(piece[0].isspace() for piece in pieces[first:place]) else ""
    return "" if is_spaceless(start) else " "


def _cut(piece: str) -> tuple[str, str]:
    """Return the white space before a word, and the word."""
    word = piece.lstrip()
    return piece[: len(piece) - len(word)], word


def _in_place(noise: Noise, pieces: list[str], words: list[str]) -> list[str]:
    """Return the words with the white space of the pieces whose places they take, and apart where they are new."""
    left: list[str] = []
    before = (True, "")
    for piece, word in zip(pieces, words, strict=True):
        space, old = _cut(piece)
        if not space and (word != old or not before[0]) and _would_grow_together(noise, before[1], word):
            space = " "
        left.append(space + word)
        before = (word == old, word)
    return left


def _would_grow_together(noise: Noise, left: str, right: str) -> bool:
    if noise.words == "characters" or not (left[-1:].isalnum() and right[:1].isalnum()):
        return False
    return not (is_spaceless(left[-1]) or is_spaceless(right[0]))


def swap(noise: Noise, pieces: list[str], draws: array.array[int], threshold: int) -> list[str]:
    """Return the words with chosen ones and their right neighbours exchanged; the white space stays where it was."""
    words = [_cut(piece)[1] for piece in pieces]
    for i in range(len(words) - 1):
        if draws[i] < threshold:
            words[i], words[i + 1] = words[i + 1], words[i]
    return _in_place(noise, pieces, words)


def mask(noise: Noise, pieces: list[str], draws: array.array[int], threshold: int) -> list[str]:
    """Return the words with chosen ones masked."""
    pairs = zip(pieces, draws, strict=True)
    return [_cut(piece)[0] + noise.mask_token if draw < threshold else piece for piece, draw in pairs]


def replace(noise: Noise, pieces: list[str], draws: array.array[int], threshold: int) -> list[str]:
    """Return the words with others of the corpus in the place of chosen ones."""
    words = [
        _other(noise, pieces, draws[len(pieces) + i]) if draws[i] < threshold else _cut(piece)[1]
        for i, piece in enumerate(pieces)
    ]
    return _in_place(noise, pieces, words)


def insert(noise: Noise, pieces: list[str], draws: array.array[int], threshold: int) -> list[str]:
    """Return the words with others of the corpus after chosen ones."""
    grown: list[str] = []
    for i, piece in enumerate(pieces):
        is_after_new = i and draws[i - 1] < threshold
        grown.append(" " + piece if is_after_new and _would_grow_together(noise, grown[-1], piece) else piece)
        if draws[i] < threshold:
            word = _other(noise, pieces, draws[len(pieces) + i])
            grown.append(word if is_spaceless(word[:1]) or noise.words == "characters" else " " + word)
    return grown


def _other(noise: Noise, pieces: list[str], draw: int) -> str:
    known = noise.vocabulary or pieces
    return known[draw % len(known)].strip()


CHANGES: dict[str, Change] = {"delete": delete, "swap": swap, "mask": mask, "replace": replace, "insert": insert}
TWO_DRAWS = (replace, insert)  # whether a word is changed, then which word comes
