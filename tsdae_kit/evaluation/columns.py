"""Finds the columns of evaluation data by their names, and parses their values.

Names match in any case and spelling (``query-id``, ``Query ID``). Every format that ``prepare`` reads goes through the
same reader. A value that would silently make scores wrong is refused with its file and line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tsdae_kit.corpus.files import kind_of
from tsdae_kit.corpus.formats import Format, describe_value
from tsdae_kit.corpus.parsing import read_rows
from tsdae_kit.errors import KitError
from tsdae_kit.labelled.column_names import plain_name
from tsdae_kit.labelled.column_values import is_number, to_number
from tsdae_kit.labelled.labels import TRUTH

Names = tuple[str, ...]
SelectColumns = Callable[[Names, str], Sequence[str | None]]  # from a row's names, and its place for errors


@dataclass(frozen=True, slots=True)
class Cells:
    """The selected cells of one row.

    Attributes:
        line: The line of the file, or the number of the row.
        columns: The names of the cells' columns; empty if the file has no header.
        values: The cells; ``None`` for an optional column that is missing.
    """

    line: int
    columns: Sequence[str | None]
    values: Sequence[Any]


def read_cells(path: Path, form: Format, select: SelectColumns) -> Iterator[Cells]:
    """Yield the selected cells of each row of a file with named columns."""
    names: Names | None = None
    columns: Sequence[str | None] = ()
    for line, row in read_rows(path, replace(form, all_columns=True)):
        if names != tuple(row):
            names = tuple(row)
            columns = select(names, f"{path}, line {line}")
        yield Cells(line, columns, [None if column is None else row[column] for column in columns])


def read_rows_without_header(path: Path, form: Format) -> Iterator[tuple[int, list[Any]]]:
    """Yield the line and all cells of each row; a header counts as a row."""
    for line, row in read_rows(path, replace(form, all_columns=True, header=False)):
        yield line, list(row.values())


def always_has_names(path: Path) -> bool:
    """Return whether each row of the file's format has column names."""
    return kind_of(path) in ("json", "parquet", "arrow")


def find_column(names: Sequence[str], aliases: Sequence[str]) -> str | None:
    """Return the column that has the first of the aliases: as it is written, or in another spelling."""
    known = {plain_name(name): name for name in reversed(names)} | {name: name for name in names}
    return next((known[alias] for alias in aliases if alias in known), None)


def require_columns(names: Names, roles: Mapping[str, Names], where: str) -> list[str]:
    """Return the column of each role.

    Args:
        names: The names of all columns.
        roles: The accepted names for each role.
        where: The place, for errors.

    Raises:
        KitError: If one is missing, or if two differ only in spelling and neither is written as the role's name.
    """
    columns = {role: find_column(names, aliases) for role, aliases in roles.items()}
    for role, column in columns.items():
        alike = [name for name in names if column is not None and plain_name(name) == plain_name(column)]
        if len(alike) > 1 and column not in roles[role]:
            raise KitError(f"{where}: the columns {' and '.join(map(repr, alike))} have one name. Rename all but one.")
    if missing := [role for role, column in columns.items() if column is None]:
        raise KitError(f"{where}: {', '.join(missing)} missing (columns: {', '.join(names):.100}). Add it.")
    return [column for column in columns.values() if column is not None]


def is_header(cells: Sequence[str], aliases: Sequence[str]) -> bool:
    """Return whether a first row names columns: it has one of the aliases, and no number."""
    return find_column(cells, aliases) is not None and not any(is_number(cell) for cell in cells)


def parse_id(value: Any, where: str) -> str:
    """Return an id as text; whole numbers are accepted."""
    if isinstance(value, float) and value.is_integer():  # an integer column with missing values
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise KitError(f"{where}: the id is {describe_value(value)}. Write a text or a whole number.")
    return str(value).strip()


def parse_text(value: Any, column: str, where: str) -> str:
    """Return a text; a missing one is empty."""
    if not isinstance(value, str | None):
        raise KitError(f"{where}: the column {column!r} holds {describe_value(value)}, not text. Correct the line.")
    return value or ""


def parse_number(value: Any, role: str, where: str, advice: str) -> float:
    """Return a finite number; words such as ``true`` and ``no`` are 1 and 0."""
    word = str(value).strip().lower()
    if word in TRUTH:
        return float(TRUTH[word])
    try:
        number = to_number(value) if isinstance(value, str) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        shown = repr(value) if isinstance(value, str | int | float) else describe_value(value)
        if word[:1] == word[-1:] == '"':
            advice = "If quotation marks enclose the fields, pass --quoting quotes."
        raise KitError(f"{where}: the {role} {shown:.80} is not a number. {advice}")
    return number
