"""Reads labels: 0 and 1, scores, or classes, from numbers, truth values and texts that spell either."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from tsdae_kit.corpus.parsing import describe
from tsdae_kit.errors import KitError
from tsdae_kit.labelled.column_roles import LABEL_WORDS, is_number, plain_name, to_number

Labels = Literal["none", "binary", "scores", "classes"]
MOST_CLASSES = 20
TRUTH = {"1": 1, "0": 0, "true": 1, "false": 0, "yes": 1, "no": 0, "t": 1, "f": 0, "y": 1, "n": 0}
_NO_LABEL = {"", "-", "nan", "none", "null", "n/a"}  # SNLI marks a pair without a majority by "-"
_LIKE_A_NUMBER = re.compile(r"[\d.,/%\s+-]*\d[\d.,/%\s+-]*")
GRADES = {"score", "scores", "similarity", "similarity_score", "sim", "relatedness", "relatedness_score", "rating",
           "grade", "relevance", "relevance_score", "sts_score", "human_score", "gold_score"}  # fmt: skip


def is_missing(label: Any) -> bool:
    """Return whether a label is none: nothing, no number, or SNLI's mark for it."""
    try:
        if isinstance(label, str):
            return label.strip().casefold() in _NO_LABEL or (is_number(label) and not math.isfinite(to_number(label)))
        return label is None or (isinstance(label, int | float) and not math.isfinite(label))
    except OverflowError:  # a whole number beyond all others
        return True


def is_no_majority(column: str, labels: Sequence[Any]) -> bool:
    """Return whether -1 stands for no label: beside the classes 0, 1 and 2, as in SNLI on the hub."""
    found = {to_number(str(label)) for label in labels if is_number(str(label))}
    return found == {-1.0, 0.0, 1.0, 2.0} and plain_name(column) not in GRADES


def read_labels(
    path: Path, column: str, labels: Sequence[tuple[int, Any]]
) -> tuple[list[int] | list[float], Labels, tuple[str, ...]]:
    """Return the labels as numbers, what they are, and the names of classes.

    Raises:
        KitError: If they are neither numbers nor a few classes.
    """
    for line, value in labels:
        if not isinstance(value, str | int | float):
            raise KitError(
                f"{path}, line {line}: the label {column!r} holds {describe(value)}. Give a number or a class."
            )
    texts = [value.strip() if isinstance(value, str) else value for _, value in labels]
    words = [str(value).casefold() for value in texts]
    if all(word in TRUTH for word in words):
        return [TRUTH[word] for word in words], "binary", ()
    numbers = [not isinstance(value, str) or is_number(value) for value in texts]
    if all(numbers):
        return _read_numbers(column, texts)
    must_be_numbers = sum(numbers) > len(numbers) / 2 or (
        plain_name(column) in GRADES and not set(words) <= LABEL_WORDS
    )
    for (line, value), text, known in zip(labels, texts, numbers, strict=True):
        is_spelled = not known and _LIKE_A_NUMBER.fullmatch(str(text))
        if is_spelled or (must_be_numbers and not known):
            raise KitError(f"{path}, line {line}: the label {value!r} is no number that is understood. Mend the line.")
    names: dict[str, str] = {}
    for value, word in zip(texts, words, strict=True):
        names.setdefault(word, str(value))
    if len(names) > MOST_CLASSES:
        raise KitError(f"{path}: the column {column!r} holds {len(names)} different texts, no labels. Name the label "
                       "with --columns, or leave it out there.")  # fmt: skip
    places = {word: number for number, word in enumerate(sorted(names))}
    return [places[word] for word in words], "classes", tuple(names[word] for word in sorted(names))


def _read_numbers(column: str, values: Sequence[Any]) -> tuple[list[int] | list[float], Labels, tuple[str, ...]]:
    numbers = [to_number(value) if isinstance(value, str) else float(value) for value in values]
    distinct = set(numbers)
    if distinct <= {0.0, 1.0}:
        return [int(number) for number in numbers], "binary", ()
    if distinct <= {0.0, 1.0, 2.0} and plain_name(column) not in GRADES:  # 0.0 too: pandas, of a column with gaps
        classes = tuple(str(int(number)) for number in sorted(distinct))
        return [classes.index(str(int(number))) for number in numbers], "classes", classes
    return numbers, "scores", ()
