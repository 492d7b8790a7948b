"""The values of columns: texts, numbers or words of labels, and numbers that a text spells."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LABEL_WORDS = {
    "0", "1", "2", "yes", "no", "true", "false", "y", "n", "t", "f", "entailment", "neutral", "contradiction",
    "duplicate", "not_duplicate", "similar", "different", "same", "relevant", "irrelevant", "positive", "negative",
    "paraphrase", "match", "mismatch", "not_entailment", "not entailment",
}  # fmt: skip
_DECIMAL_COMMA = re.compile(r"[+-]?(0,\d+|\d+,(\d{1,2}|\d{4,}))")
_BLANKS = {"", "nan", "NaN", "None", "null", "NULL", "<NA>"}  # as pandas and databases write a missing value
_MAX_CLASSES = 3  # of a column of unknown name that may be a label
_MAX_DISTINCT = 1000  # more different whole numbers are no labels


@dataclass(frozen=True)
class ColumnValues:
    """Statistics of a column's values, without missing ones.

    Attributes:
        has_texts: Whether any is a text, or a list of texts.
        has_objects: Whether any is an object, or a list of something else than texts.
        numbers: The number of numbers, truth values, and texts that spell one.
        distinct: The different values as text, at most 1,001 of them.
        count: The number of values.
    """

    has_texts: bool
    has_objects: bool
    numbers: int
    distinct: frozenset[str]
    count: int

    @property
    def may_be_label(self) -> bool:
        """Whether a column of unknown name may be a label: numbers that repeat or have fractions, words of labels."""
        if not self.count or self.has_objects:
            return False
        if self.numbers == self.count:
            has_fractions = any(not value.lstrip("+-").isdecimal() for value in self.distinct)  # or is written so
            is_repeated = len(self.distinct) <= _MAX_DISTINCT and len(self.distinct) < self.count
            return has_fractions or is_repeated or self.distinct <= {"0", "1", "2"}
        has_few = 2 <= len(self.distinct) <= _MAX_CLASSES and 2 * len(self.distinct) <= self.count
        return has_few or {value.casefold() for value in self.distinct} <= LABEL_WORDS

    @property
    def is_text(self) -> bool:
        """Whether the column may be one of the texts."""
        return self.has_texts and self.numbers < self.count


def profile_columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, ColumnValues]:
    """Return statistics of each column's values, in the order in which the columns appear."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {name: _profile(row.get(name) for row in rows) for name in names}


def _profile(values: Iterator[Any]) -> ColumnValues:
    has_texts = has_objects = False
    numbers = count = 0
    distinct: set[str] = set()
    for value in values:
        if is_blank(value):
            continue
        count += 1
        if isinstance(value, str):
            has_texts = True
            numbers += is_number(value)
        elif isinstance(value, (bool, int, float)):
            numbers += 1
        elif isinstance(value, list) and all(isinstance(item, str) or item is None for item in value):
            has_texts = True
        else:
            has_objects = True
        if len(distinct) <= _MAX_DISTINCT:
            distinct.add(str(int(value)) if isinstance(value, bool) else str(value).strip())
    return ColumnValues(has_texts, has_objects, numbers, frozenset(distinct), count)


def is_number(text: str) -> bool:
    """Return whether a text spells a number, with a decimal point or a comma."""
    try:
        to_number(text)
    except ValueError:
        return False
    return True


def to_number(text: str) -> float:
    """Return the number that a text spells: ``0.75``, or ``0,75`` as spreadsheets in many languages write it.

    Raises:
        ValueError: If it spells none; ``1,000`` may be a thousand or one.
    """
    return float(text.replace(",", ".") if _DECIMAL_COMMA.fullmatch(text.strip()) else text)


def is_blank(value: Any) -> bool:
    """Return whether a value is missing: null, NaN, an empty list, a blank text or one that spells these."""
    if isinstance(value, str):
        return value.strip() in _BLANKS
    return value is None or value == [] or value != value
