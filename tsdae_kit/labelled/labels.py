"""Parses labels: 0 and 1, scores, or classes, from numbers, truth values and texts that spell them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tsdae_kit.corpus.formats import describe_value
from tsdae_kit.errors import KitError
from tsdae_kit.labelled.column_names import plain_name
from tsdae_kit.labelled.column_values import LABEL_WORDS, is_number, to_number

LabelKind = Literal["none", "binary", "scores", "classes"]
_MAX_CLASSES = 20
TRUTH = {"1": 1, "0": 0, "true": 1, "false": 0, "yes": 1, "no": 0, "t": 1, "f": 0, "y": 1, "n": 0}
_NO_LABEL = {"", "-", "nan", "none", "null", "n/a"}  # SNLI marks a pair without a majority by "-"
_NUMBER_LIKE = re.compile(r"[\d.,/%\s+-]*\d[\d.,/%\s+-]*")
GRADES = {"score", "scores", "similarity", "similarity_score", "sim", "relatedness", "relatedness_score", "rating",
           "grade", "relevance", "relevance_score", "sts_score", "human_score", "gold_score"}  # fmt: skip


@dataclass(frozen=True)
class ParsedLabels:
    """The labels of a file, as numbers.

    Attributes:
        values: One for each row.
        kind: What they are.
        classes: The names of the classes, in the order of their numbers; empty for other kinds.
    """

    values: list[int] | list[float]
    kind: LabelKind
    classes: tuple[str, ...] = ()


def is_missing(label: Any) -> bool:
    """Return whether a label is missing: null, NaN or infinite, or SNLI's mark for it."""
    try:
        if isinstance(label, str):
            return label.strip().casefold() in _NO_LABEL or (is_number(label) and not math.isfinite(to_number(label)))
        return label is None or (isinstance(label, int | float) and not math.isfinite(label))
    except OverflowError:  # an integer too large for a float
        return True


def is_no_majority(column: str, labels: Sequence[Any]) -> bool:
    """Return whether -1 means that there is no label: if the others are 0, 1 and 2, as in SNLI on the hub."""
    numbers = {to_number(str(label)) for label in labels if is_number(str(label))}
    return numbers == {-1.0, 0.0, 1.0, 2.0} and plain_name(column) not in GRADES


def parse_labels(path: Path, column: str, labels: Sequence[tuple[int, Any]]) -> ParsedLabels:
    """Return the labels as numbers.

    Args:
        path: The file, for errors.
        column: The label column.
        labels: Line and value of each row.

    Raises:
        KitError: If they are neither numbers nor a few classes.
    """
    for line, value in labels:
        if not isinstance(value, str | int | float):
            raise KitError(
                f"{path}, line {line}: the label {column!r} holds {describe_value(value)}. Give a number or a class."
            )
    texts = [value.strip() if isinstance(value, str) else value for _, value in labels]
    words = [str(value).casefold() for value in texts]
    if all(word in TRUTH for word in words):
        return ParsedLabels([TRUTH[word] for word in words], "binary")
    are_numbers = [not isinstance(value, str) or is_number(value) for value in texts]
    if all(are_numbers):
        return _parse_numbers(column, texts)
    must_be_numbers = sum(are_numbers) > len(are_numbers) / 2 or (
        plain_name(column) in GRADES and not set(words) <= LABEL_WORDS
    )
    for (line, value), text, is_parsed in zip(labels, texts, are_numbers, strict=True):
        if not is_parsed and (must_be_numbers or _NUMBER_LIKE.fullmatch(str(text))):
            raise KitError(f"{path}, line {line}: the label {value!r} is no number that is understood. Mend the line.")
    names: dict[str, str] = {}  # as first spelled, by the case-folded name
    for value, word in zip(texts, words, strict=True):
        names.setdefault(word, str(value))
    if len(names) > _MAX_CLASSES:
        raise KitError(f"{path}: the column {column!r} holds {len(names)} different texts, no labels. Name the label "
                       "with --columns, or leave it out there.")  # fmt: skip
    class_numbers = {word: number for number, word in enumerate(sorted(names))}
    classes = tuple(names[word] for word in sorted(names))
    return ParsedLabels([class_numbers[word] for word in words], "classes", classes)


def _parse_numbers(column: str, values: Sequence[Any]) -> ParsedLabels:
    numbers = [to_number(value) if isinstance(value, str) else float(value) for value in values]
    distinct = set(numbers)
    if distinct <= {0.0, 1.0}:
        return ParsedLabels([int(number) for number in numbers], "binary")
    if distinct <= {0.0, 1.0, 2.0} and plain_name(column) not in GRADES:  # 0.0 too: pandas, of a column with gaps
        classes = tuple(str(int(number)) for number in sorted(distinct))
        return ParsedLabels([classes.index(str(int(number))) for number in numbers], "classes", classes)
    return ParsedLabels(numbers, "scores")
