"""The noise operations: delete, swap, mask, replace and insert words. The last four are from the paper's ablation."""

from __future__ import annotations

import array
from collections.abc import Callable
from typing import NamedTuple

from tsdae_kit.corpus.defaults import WordUnit
from tsdae_kit.corpus.words import is_spaceless


class NoiseStyle(NamedTuple):
    """What the operations of one noise have in common.

    Attributes:
        unit: What a word is.
        vocabulary: The words that replace and insert take; empty: the text's own.
        mask_token: What a masked word becomes.
    """

    unit: WordUnit
    vocabulary: tuple[str, ...]
    mask_token: str


# Takes the words (each with the white space before it), a random number from 0 to 65,535 for each of them (two, for the
# operations in TWO_DRAWS_PER_WORD), and the threshold below which a word is chosen.
NoiseOperation = Callable[[list[str], "array.array[int]", int, NoiseStyle], list[str]]


def delete(pieces: list[str], draws: array.array[int], threshold: int, style: NoiseStyle) -> list[str]:
    """Return the words without the chosen ones; the word with the highest draw, if all are chosen."""
    remaining: list[str] = []
    previous = -1
    for i, draw in enumerate(draws):
        if draw >= threshold:
            piece = pieces[i]
            if previous != i - 1 and piece[0] != " ":
                piece = _gap(pieces, previous + 1, i, style.unit) + piece
            remaining.append(piece)
            previous = i
    return remaining or [pieces[max(range(len(pieces)), key=draws.__getitem__)]] if pieces else []


def swap(pieces: list[str], draws: array.array[int], threshold: int, style: NoiseStyle) -> list[str]:
    """Return the words, the chosen ones exchanged with their right neighbours; the white space stays in its place."""
    words = [_split_space(piece)[1] for piece in pieces]
    for i in range(len(words) - 1):
        if draws[i] < threshold:
            words[i], words[i + 1] = words[i + 1], words[i]
    return _put_in_place(pieces, words, style.unit)


def mask(pieces: list[str], draws: array.array[int], threshold: int, style: NoiseStyle) -> list[str]:
    """Return the words, the chosen ones as the mask token."""
    return [
        _split_space(piece)[0] + style.mask_token if draw < threshold else piece
        for piece, draw in zip(pieces, draws, strict=True)
    ]


def replace(pieces: list[str], draws: array.array[int], threshold: int, style: NoiseStyle) -> list[str]:
    """Return the words, the chosen ones replaced with words of the vocabulary."""
    words = [
        _vocabulary_word(pieces, draws, i, style.vocabulary) if draws[i] < threshold else _split_space(piece)[1]
        for i, piece in enumerate(pieces)
    ]
    return _put_in_place(pieces, words, style.unit)


def insert(pieces: list[str], draws: array.array[int], threshold: int, style: NoiseStyle) -> list[str]:
    """Return the words, a word of the vocabulary after each chosen one."""
    result: list[str] = []
    for i, piece in enumerate(pieces):
        is_after_inserted = i and draws[i - 1] < threshold
        needs_space = is_after_inserted and _would_join(result[-1], piece, style.unit)
        result.append(" " + piece if needs_space else piece)
        if draws[i] < threshold:
            word = _vocabulary_word(pieces, draws, i, style.vocabulary)
            result.append(word if is_spaceless(word[:1]) or style.unit == "characters" else " " + word)
    return result


NOISE_OPERATIONS: dict[str, NoiseOperation] = {
    "delete": delete, "swap": swap, "mask": mask, "replace": replace, "insert": insert,
}  # fmt: skip
TWO_DRAWS_PER_WORD = (replace, insert)  # whether a word is chosen, and which word of the vocabulary comes


def _vocabulary_word(pieces: list[str], draws: array.array[int], place: int, vocabulary: tuple[str, ...]) -> str:
    words = vocabulary or pieces
    return words[draws[len(pieces) + place] % len(words)].strip()


def _gap(pieces: list[str], first: int, place: int, unit: WordUnit) -> str:
    """Return the white space to put before the piece at a place when those from the first to it were deleted."""
    start = pieces[place][0]
    if start.isspace():
        return ""
    if unit == "characters":
        return " " if any(piece[0].isspace() for piece in pieces[first:place]) else ""
    return "" if is_spaceless(start) else " "


def _split_space(piece: str) -> tuple[str, str]:
    """Return the white space before a word, and the word."""
    word = piece.lstrip()
    return piece[: len(piece) - len(word)], word


def _put_in_place(pieces: list[str], words: list[str], unit: WordUnit) -> list[str]:
    """Return the words with the white space of the pieces that they replace; a space keeps new neighbours apart."""
    result: list[str] = []
    before, is_before_old = "", True
    for piece, word in zip(pieces, words, strict=True):
        space, old = _split_space(piece)
        if not space and (word != old or not is_before_old) and _would_join(before, word, unit):
            space = " "
        result.append(space + word)
        before, is_before_old = word, word == old
    return result


def _would_join(left: str, right: str, unit: WordUnit) -> bool:
    """Return whether two words without a space between them would become one."""
    if unit == "characters" or not (left[-1:].isalnum() and right[:1].isalnum()):
        return False
    return not (is_spaceless(left[-1]) or is_spaceless(right[0]))
