"""Labelled pairs from files: anchor, positive, negatives and label, whatever a file's columns are called.

What the columns mean is decided in :mod:`tsdae_kit.labelled.column_roles`, whether the first line names them
here. Files are read whole, before anything is trained: labelled data is small, and a wrong row in its middle must not
end a run.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tsdae_kit.corpus.files import content_digest, kind_of
from tsdae_kit.corpus.parsing import read_rows
from tsdae_kit.corpus.reading import Format, Row
from tsdae_kit.errors import KitError
from tsdae_kit.labelled.column_roles import (
    LABEL,
    SHORT,
    ColumnValues,
    Roles,
    assign_roles,
    is_known_name,
    is_number,
    names_a_pair,
    profile_columns,
    read_mapping,
    to_number,
)
from tsdae_kit.labelled.labels import Labels
from tsdae_kit.labelled.rows import collect_rows

logger = logging.getLogger("tsdae_kit")
_SCALE = 10  # the highest grade of a label without a name
_ID = re.compile(r"(?=.*\d)[A-Za-z0-9_.:/-]+")
_NLI = {"entailment", "neutral", "contradiction"}


@dataclass(frozen=True)
class LabelledFile:
    """The rows of one file.

    Attributes:
        path: Where they come from.
        rows: Columns ``anchor``, ``positive``, then ``negative`` (or ``negative_1``, ``negative_2``, ...) or ``label``.
        labels: What the label is.
        classes: The names of the classes, in the order of their numbers.
        roles: Which of the file's columns these are.
        mined: Whether the negatives were found in a corpus.
    """

    path: Path
    rows: pa.Table
    labels: Labels
    classes: tuple[str, ...] = ()
    roles: Roles | None = None
    mined: bool = False


@dataclass(frozen=True)
class LabelledPairs:
    """All files of a run.

    Attributes:
        files: One or more.
        fingerprint: A digest of their bytes.
        corpus: Sentences among which hard negatives are to be searched.
    """

    files: tuple[LabelledFile, ...]
    fingerprint: str
    corpus: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """How many rows there are to train on."""
        return sum(len(file.rows) for file in self.files)

    @property
    def held_out_size(self) -> int:
        """None is held out: what helps is measured on the task's own test data."""
        return 0

    def texts(self) -> Iterator[tuple[str, Iterable[Iterable[object]]]]:
        """Yield the place of each file and its texts, by column (other values are among them)."""
        for file in self.files:
            yield str(file.path), (column.to_pylist() for column in file.rows.columns)


def load_labelled(paths: Sequence[Path], form: Format | None = None, columns: Sequence[str] = ()) -> LabelledPairs:
    """Return the labelled rows of the files.

    Args:
        paths: JSON Lines, JSON lists, CSV, TSV, Parquet or Arrow, also compressed.
        form: How the text files are written.
        columns: What the columns mean, as ``anchor=NAME``, ``positive=NAME``, ``negative=NAME``, ``label=NAME``; of a
            file without a header, numbers. Of several files it holds for those that have a column so called.

    Raises:
        KitError: For a file that is missing or damaged, a row that is none, or columns whose meaning is not known.
    """
    mapping, form = read_mapping(columns), form or Format()
    for path in paths:
        if not path.is_file():
            raise KitError(f"There is no file {path}. Pass JSON Lines, CSV, TSV or Parquet with labelled pairs.")
        if kind_of(path) in (None, "lines"):
            raise KitError(
                f"{path} is none of .jsonl, .json, .csv, .tsv, .parquet. Convert it, or name it by what it is."
            )
    read = {path: _read(path, form, mapping) for path in paths}
    named = {name for names in mapping.values() for name in names}
    by_number = bool(named) and all(name.isdecimal() for name in named)
    holds = {
        path: not named or len(paths) == 1 or (by_number != table.has_header and not named.isdisjoint(table.columns))
        for path, table in read.items()
    }
    if not any(holds.values()):
        raise KitError(f"None of the files has a column that --columns names ({', '.join(sorted(named))}). Mend it.")
    files = tuple(_load(path, table, mapping if holds[path] else {}) for path, table in read.items())
    return LabelledPairs(files, content_digest(paths))


def positives(file: LabelledFile) -> LabelledFile:
    """Return the texts that belong together: of labels 0 and 1 those with 1, without the label.

    Raises:
        KitError: If there are none.
    """
    if LABEL not in file.rows.column_names:
        return file
    rows = file.rows.filter(pc.equal(file.rows[LABEL], 1)).drop_columns([LABEL])
    if file.labels != "binary" or not len(rows):
        raise KitError(f"{file.path} holds no texts that belong together (labels: {file.labels}; 1 is for such pairs).")
    return replace(file, rows=rows, labels="none")


@dataclass(frozen=True)
class _Table:
    """A file's rows, each with its line.

    Attributes:
        rows: Values by column.
        lines: A number for each.
        columns: All names, in their order.
        has_header: False for columns that have numbers alone.
    """

    rows: list[Row]
    lines: list[int]
    columns: list[str]
    has_header: bool = True


def _read(path: Path, form: Format, mapping: Mapping[str, list[str]]) -> _Table:
    kind = kind_of(path)
    headless = kind in ("csv", "tsv")
    found = list(read_rows(path, replace(form, all_columns=True, header=not headless)))
    lines, rows = [line for line, _ in found], [row for _, row in found]
    if not rows:
        raise KitError(f"{path} holds no rows. Give pairs of texts.")
    if headless and _has_header(path, rows, mapping):
        names = [cell.strip() or f"column_{i}" for i, cell in enumerate(rows[0].values(), start=1)]
        if twice := [name for name in names if names.count(name) > 1]:
            raise KitError(f"{path}: {len(twice)} columns are called {twice[0]!r}. Rename all but one.")
        rows = [dict(zip(names, row.values(), strict=True)) for row in rows[1:]]
        return _Table(rows, lines[1:], names)
    return _Table(rows, lines, list(dict.fromkeys(name for row in rows for name in row)), has_header=not headless)


def _has_header(path: Path, rows: Sequence[Row], mapping: Mapping[str, list[str]]) -> bool:
    """Return whether the first line of CSV or TSV names the columns; its rows are those of a file without a header.

    Raises:
        KitError: If that cannot be told.
    """
    first = [str(cell).strip() for cell in rows[0].values()]
    named = {name for names in mapping.values() for name in names}
    known = sum(map(is_known_name, first))
    if named and named <= set(first):
        return True
    if named and all(name.isdecimal() for name in named) and known <= len(first) / 2:
        return False
    if first == [str(number) for number in range(len(first))]:  # pandas, without names
        return True
    is_row = any(_is_sentence(cell) or is_number(cell) or cell.casefold() in _NLI for cell in first)
    if is_row and not known:
        return False
    if (known > 1 or names_a_pair(first)) and not is_row:
        return True
    raise KitError(
        f"{path}: it cannot be known whether the first line ({' | '.join(first):.80}) names the columns. "
        "If it does: --columns anchor=NAME positive=NAME; if not: --columns anchor=1 positive=2."
    )


def _is_sentence(cell: str) -> bool:
    return len(cell.split()) > SHORT or len(cell) > 50


def _load(path: Path, table: _Table, mapping: Mapping[str, list[str]]) -> LabelledFile:
    profiles = profile_columns(table.rows)
    columns = {name: profiles[name] for name in table.columns if name in profiles}
    if not columns:
        raise KitError(f"{path} holds no rows. Give pairs of texts.")
    roles = _roles_by_place(table.rows, columns, str(path)) if not (table.has_header or mapping) else None
    roles = roles or assign_roles(columns, mapping, str(path))
    numbered = zip(table.lines, table.rows, strict=True)
    return LabelledFile(path, *collect_rows(path, roles, numbered), roles=roles)


def _roles_by_place(rows: Sequence[Row], columns: Mapping[str, ColumnValues], where: str) -> Roles:
    """Return what two or three columns without names are; a column of numbers or classes is the label.

    Raises:
        KitError: If that cannot be known.
    """
    labels = [name for name, values in columns.items() if values.may_be_label]
    texts = [name for name, values in columns.items() if name not in labels and values.is_text]
    if len(columns) in (2, 3) and len(texts) == 2 and len(labels) == len(columns) - 2:
        are_ids = any(map(_is_identity, [columns[name] for name in texts]))
        if not are_ids and not any(_is_key(rows, name, texts) for name in labels):
            return Roles(texts[0], texts[1], label=labels[0] if labels else None)
    raise KitError(
        f"{where} has no header, and what its {len(columns)} columns are cannot be known. Say it by their numbers, as "
        "in --columns anchor=1 positive=2 negative=3, or label=3."
    )


def _is_identity(values: ColumnValues) -> bool:
    """Return whether texts are all like ``doc17``: one word of letters and digits."""
    return all(_ID.fullmatch(value) for value in values.distinct)


def _is_key(rows: Sequence[Row], label: str, texts: Sequence[str]) -> bool:
    """Return whether numbers are those of the texts, not of how they belong together.

    Whole numbers beyond a scale of ten are, and those that are the same in all rows of a text that comes again.
    """
    values = [str(row[label]) for row in rows]
    numbers = [to_number(value) for value in values if is_number(value)]
    if len(numbers) < len(values) or any(number % 1 for number in numbers):
        return False
    if max(numbers) > _SCALE or (len(set(numbers)) == len(numbers) > 2):
        return True
    for name in texts:
        of_text: dict[Any, set[str]] = {}
        for row, value in zip(rows, values, strict=True):
            of_text.setdefault(row[name], set()).add(value)
        comes_again = len(of_text) < len(rows) and len(set(values)) > 1
        if comes_again and len(of_text) == len(set(values)) and all(len(found) == 1 for found in of_text.values()):
            return True
    return False
