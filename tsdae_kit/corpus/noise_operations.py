"""The noise operations: delete, swap, mask, replace and insert words. The last four are from the paper's ablation."""

from __future__ import annotations

import array
from collections.abc import Callable
from typing import NamedTuple

from tsdae_kit.corpus.defaults import WordUnit
from tsdae_kit.corpus.words import is_spaceless


class NoiseInput(NamedTuple):  # built for every text: a frozen dataclass takes three times as long
    """The words of one text, and the random numbers that choose among them.

    Attributes:
        pieces: The words, each with the white space before it.
        draws: A random number from 0 to 65,535 for each word; two, for the operations in ``TWO_DRAWS_PER_WORD``.
        threshold: Words with a smaller draw are changed.
        unit: What a word is.
        vocabulary: The words that replace and insert take; empty: the text's own.
        mask_token: What a masked word becomes.
    """

    pieces: list[str]
    draws: array.array[int]
    threshold: int
    unit: WordUnit
    vocabulary: tuple[str, ...]
    mask_token: str


NoiseOperation = Callable[[NoiseInput], list[str]]


def delete(sentence: NoiseInput) -> list[str]:
    """Return the words without the chosen ones; the word with the highest draw, if all are chosen."""
    pieces, draws, threshold = sentence.pieces, sentence.draws, sentence.threshold
    remaining: list[str] = []
    previous = -1
    for i, draw in enumerate(draws):
        if draw >= threshold:
            piece = pieces[i]
            needs_gap = previous != i - 1 and piece[0] != " "
            remaining.append(_gap(sentence, previous + 1, i) + piece if needs_gap else piece)
            previous = i
    return remaining or [pieces[max(range(len(pieces)), key=draws.__getitem__)]] if pieces else []


def swap(sentence: NoiseInput) -> list[str]:
    """Return the words, the chosen ones exchanged with their right neighbours; the white space stays in its place."""
    draws, threshold = sentence.draws, sentence.threshold
    words = [_split_space(piece)[1] for piece in sentence.pieces]
    for i in range(len(words) - 1):
        if draws[i] < threshold:
            words[i], words[i + 1] = words[i + 1], words[i]
    return _put_in_place(sentence, words)


def mask(sentence: NoiseInput) -> list[str]:
    """Return the words, the chosen ones as the mask token."""
    return [
        _split_space(piece)[0] + sentence.mask_token if draw < sentence.threshold else piece
        for piece, draw in zip(sentence.pieces, sentence.draws, strict=True)
    ]


def replace(sentence: NoiseInput) -> list[str]:
    """Return the words, the chosen ones replaced with words of the vocabulary."""
    draws, threshold = sentence.draws, sentence.threshold
    words = [
        _vocabulary_word(sentence, i) if draws[i] < threshold else _split_space(piece)[1]
        for i, piece in enumerate(sentence.pieces)
    ]
    return _put_in_place(sentence, words)


def insert(sentence: NoiseInput) -> list[str]:
    """Return the words, a word of the vocabulary after each chosen one."""
    result: list[str] = []
    for i, piece in enumerate(sentence.pieces):
        is_after_inserted = i and sentence.draws[i - 1] < sentence.threshold
        needs_space = is_after_inserted and _would_join(sentence, result[-1], piece)
        result.append(" " + piece if needs_space else piece)
        if sentence.draws[i] < sentence.threshold:
            word = _vocabulary_word(sentence, i)
            result.append(word if is_spaceless(word[:1]) or sentence.unit == "characters" else " " + word)
    return result


NOISE_OPERATIONS: dict[str, NoiseOperation] = {
    "delete": delete, "swap": swap, "mask": mask, "replace": replace, "insert": insert,
}  # fmt: skip
TWO_DRAWS_PER_WORD = (replace, insert)  # whether a word is chosen, and which word of the vocabulary comes


def _vocabulary_word(sentence: NoiseInput, place: int) -> str:
    words = sentence.vocabulary or sentence.pieces
    return words[sentence.draws[len(sentence.pieces) + place] % len(words)].strip()


def _gap(sentence: NoiseInput, first: int, place: int) -> str:
    """Return the white space to put before the piece at a place when those from the first to it were deleted."""
    start = sentence.pieces[place][0]
    if start.isspace():
        return ""
    if sentence.unit == "characters":
        return " " if any(piece[0].isspace() for piece in sentence.pieces[first:place]) else ""
    return "" if is_spaceless(start) else " "


def _split_space(piece: str) -> tuple[str, str]:
    """Return the white space before a word, and the word."""
    word = piece.lstrip()
    return piece[: len(piece) - len(word)], word


def _put_in_place(sentence: NoiseInput, words: list[str]) -> list[str]:
    """Return the words with the white space of the pieces that they replace; a space keeps new neighbours apart."""
    result: list[str] = []
    before, is_before_old = "", True
    for piece, word in zip(sentence.pieces, words, strict=True):
        space, old = _split_space(piece)
        if not space and (word != old or not is_before_old) and _would_join(sentence, before, word):
            space = " "
        result.append(space + word)
        before, is_before_old = word, word == old
    return result


def _would_join(sentence: NoiseInput, left: str, right: str) -> bool:
    """Return whether two words without a space between them would become one."""
    if sentence.unit == "characters" or not (left[-1:].isalnum() and right[:1].isalnum()):
        return False
    return not (is_spaceless(left[-1]) or is_spaceless(right[0]))
