"""Reads labels: 0 and 1, scores, or classes, from numbers, truth values and texts that spell either."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from tsdae_kit.errors import KitError
from tsdae_kit.text.parsing import describe
from tsdae_kit.text.roles import is_number, plain_name, to_number

Labels = Literal["none", "binary", "scores", "classes"]
MOST_CLASSES = 20
TRUTH = {"true": 1, "false": 0, "yes": 1, "no": 0, "t": 1, "f": 0, "y": 1, "n": 0}
_NO_LABEL = {"", "-", "nan", "none", "null", "n/a"}  # SNLI marks a pair without a majority by "-"
GRADES = {"score", "scores", "similarity", "similarity_score", "sim", "relatedness", "relatedness_score", "rating",
          "grade", "relevance", "relevance_score", "sts_score", "human_score", "gold_score"}  # fmt: skip


def is_missing(label: Any) -> bool:
    """Return whether a label is none: nothing, no number, or SNLI's mark for it."""
    if isinstance(label, str):
        return label.strip().casefold() in _NO_LABEL or (is_number(label) and not math.isfinite(to_number(label)))
    return label is None or (isinstance(label, float) and not math.isfinite(label))


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
    if all(isinstance(value, bool) or str(value).casefold() in TRUTH for value in texts):
        truths = [int(value) if isinstance(value, bool) else TRUTH[str(value).casefold()] for value in texts]
        return truths, "binary", ()
    numbers = [not isinstance(value, str) or is_number(value) for value in texts]
    if all(numbers):
        return _read_numbers(column, texts)
    if sum(numbers) > len(numbers) / 2:
        line, value = next(entry for entry, known in zip(labels, numbers, strict=True) if not known)
        raise KitError(f"{path}, line {line}: the label {value!r} is no number, as the others are. Mend the line.")
    classes = tuple(sorted({str(value) for value in texts}))
    if len(classes) > MOST_CLASSES:
        raise KitError(f"{path}: the column {column!r} holds {len(classes)} different texts, no labels. Name the label "
                       "with --columns, or leave it out there.")  # fmt: skip
    places = {name: number for number, name in enumerate(classes)}
    return [places[str(value)] for value in texts], "classes", classes


def _read_numbers(column: str, values: Sequence[Any]) -> tuple[list[int] | list[float], Labels, tuple[str, ...]]:
    numbers = [to_number(value) if isinstance(value, str) else float(value) for value in values]
    distinct = set(numbers)
    if distinct <= {0.0, 1.0}:
        return [int(number) for number in numbers], "binary", ()
    are_whole = all(not isinstance(value, float) and str(value).lstrip("+-").isdecimal() for value in values)
    if are_whole and distinct <= {0.0, 1.0, 2.0} and plain_name(column) not in GRADES:
        classes = tuple(str(int(number)) for number in sorted(distinct))
        return [classes.index(str(int(number))) for number in numbers], "classes", classes
    return numbers, "scores", ()
