"""Whether the first line of CSV and TSV names the columns, and the roles of columns without a name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from tsdae_kit.corpus.formats import Row
from tsdae_kit.errors import KitError
from tsdae_kit.labelled.column_names import MAX_NAME_WORDS, is_known_name, names_a_pair
from tsdae_kit.labelled.column_roles import Roles
from tsdae_kit.labelled.column_values import ColumnValues, is_number, to_number

_MAX_GRADE = 10  # the highest number that a label without a name may be
_ID = re.compile(r"(?=.*\d)[A-Za-z0-9_.:/-]+")
_NLI_LABELS = {"entailment", "neutral", "contradiction"}


def has_header(path: Path, rows: Sequence[Row], mapping: Mapping[str, list[str]]) -> bool:
    """Return whether the first row holds the names of the columns.

    Args:
        path: The file, for errors.
        rows: Its rows, read as those of a file without a header.
        mapping: The columns that the user named, by role.

    Raises:
        KitError: If it cannot be decided.
    """
    first = [str(cell).strip() for cell in rows[0].values()]
    mapped = {name for names in mapping.values() for name in names}
    known = sum(map(is_known_name, first))
    if mapped and mapped <= set(first):
        return True
    if mapped and all(name.isdecimal() for name in mapped) and known <= len(first) / 2:
        return False
    if first == [str(number) for number in range(len(first))]:  # pandas, without names
        return True
    has_values = any(_is_sentence(cell) or is_number(cell) or cell.casefold() in _NLI_LABELS for cell in first)
    if has_values and not known:
        return False
    if (known > 1 or names_a_pair(first)) and not has_values:
        return True
    raise KitError(
        f"{path}: it cannot be known whether the first line ({' | '.join(first):.80}) names the columns. "
        "If it does: --columns anchor=NAME positive=NAME; if not: --columns anchor=1 positive=2."
    )


def _is_sentence(cell: str) -> bool:
    return len(cell.split()) > MAX_NAME_WORDS or len(cell) > 50


def assign_roles_by_position(rows: Sequence[Row], columns: Mapping[str, ColumnValues], where: str) -> Roles:
    """Return the roles of two or three columns without names: texts in their order, then numbers or classes as label.

    Args:
        rows: The file's rows.
        columns: Statistics of its columns, in its order.
        where: The file, for errors.

    Raises:
        KitError: If the values do not decide.
    """
    labels = [name for name, values in columns.items() if values.may_be_label]
    texts = [name for name, values in columns.items() if name not in labels and values.is_text]
    if len(columns) in (2, 3) and len(texts) == 2 and len(labels) == len(columns) - 2:
        has_ids = any(_are_ids(columns[name]) for name in texts)
        if not has_ids and not any(_is_text_number(rows, name, texts) for name in labels):
            return Roles(texts[0], texts[1], label=labels[0] if labels else None)
    raise KitError(
        f"{where} has no header, and what its {len(columns)} columns are cannot be known. Say it by their numbers, as "
        "in --columns anchor=1 positive=2 negative=3, or label=3."
    )


def _are_ids(values: ColumnValues) -> bool:
    """Return whether all texts are like ``doc17``: one word of letters and digits."""
    return all(_ID.fullmatch(value) for value in values.distinct)


def _is_text_number(rows: Sequence[Row], column: str, texts: Sequence[str]) -> bool:
    """Return whether the numbers of a column identify texts, and are no labels of pairs.

    That is so for whole numbers above a scale of ten, and for numbers that are the same in all rows of a repeated text.
    """
    values = [str(row[column]) for row in rows]
    numbers = [to_number(value) for value in values if is_number(value)]
    if len(numbers) < len(values) or any(number % 1 for number in numbers):
        return False
    if max(numbers) > _MAX_GRADE or (len(set(numbers)) == len(numbers) > 2):
        return True
    return any(_identifies(values, [row[name] for row in rows]) for name in texts)


def _identifies(values: Sequence[str], texts: Sequence[object]) -> bool:
    """Return whether each text has one value of its own, in all rows in which it is repeated."""
    values_of_text: dict[object, set[str]] = {}
    for text, value in zip(texts, values, strict=True):
        values_of_text.setdefault(text, set()).add(value)
    distinct = len(set(values))
    is_repeated = len(values_of_text) < len(texts) and distinct > 1
    return is_repeated and len(values_of_text) == distinct and all(len(one) == 1 for one in values_of_text.values())
