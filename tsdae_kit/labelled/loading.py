"""Loads labelled pairs from files, whatever their columns are called.

:mod:`tsdae_kit.labelled.column_roles` decides what the columns mean, :mod:`tsdae_kit.labelled.headers` whether the
first line names them. Files are read whole before training starts: labelled data is small, and an invalid row must
not end a run half-way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tsdae_kit.corpus.files import content_digest, kind_of
from tsdae_kit.corpus.formats import DEFAULT_FORMAT, Format, Row
from tsdae_kit.corpus.parsing import read_rows
from tsdae_kit.errors import KitError
from tsdae_kit.labelled.column_roles import assign_roles, read_mapping
from tsdae_kit.labelled.column_values import profile_columns
from tsdae_kit.labelled.headers import assign_roles_by_position, has_header
from tsdae_kit.labelled.pairs import LabelledFile, LabelledPairs
from tsdae_kit.labelled.rows import collect_rows


def load_labelled(
    paths: Sequence[Path], file_format: Format = DEFAULT_FORMAT, columns: Sequence[str] = ()
) -> LabelledPairs:
    """Return the labelled rows of the files.

    Args:
        paths: JSON Lines, JSON lists, CSV, TSV, Parquet or Arrow, also compressed.
        file_format: How the text files are written.
        columns: The roles of columns, as ``anchor=NAME``, ``positive=NAME``, ``negative=NAME``, ``label=NAME``; for a
            file without a header, numbers. Of several files, they apply to those that have such a column.

    Raises:
        KitError: For a file that is missing or damaged, an invalid row, or columns whose roles are not known.
    """
    mapping = read_mapping(columns)
    for path in paths:
        if not path.is_file():
            raise KitError(f"There is no file {path}. Pass JSON Lines, CSV, TSV or Parquet with labelled pairs.")
        if kind_of(path) in (None, "lines"):
            raise KitError(
                f"{path} is none of .jsonl, .json, .csv, .tsv, .parquet. Convert it, or name it by what it is."
            )
    tables = {path: _read(path, file_format, mapping) for path in paths}
    mapped_files = set(paths) if len(paths) == 1 or not mapping else _find_mapped(tables, mapping)
    files = tuple(_load(path, table, mapping if path in mapped_files else {}) for path, table in tables.items())
    return LabelledPairs(files, content_digest(paths))


@dataclass(frozen=True)
class _Table:
    """A file's rows.

    Attributes:
        rows: Values by column.
        lines: The line of each row.
        columns: All names, in their order.
        has_header: False if the columns have numbers instead of names.
    """

    rows: list[Row]
    lines: list[int]
    columns: list[str]
    has_header: bool = True


def _read(path: Path, file_format: Format, mapping: Mapping[str, list[str]]) -> _Table:
    may_lack_header = kind_of(path) in ("csv", "tsv")
    numbered = list(read_rows(path, replace(file_format, all_columns=True, header=not may_lack_header)))
    lines, rows = [line for line, _ in numbered], [row for _, row in numbered]
    if not rows:
        raise KitError(f"{path} holds no rows. Give pairs of texts.")
    if may_lack_header and has_header(path, rows, mapping):
        names = [cell.strip() or f"column_{i}" for i, cell in enumerate(rows[0].values(), start=1)]
        if repeated := [name for name in names if names.count(name) > 1]:
            raise KitError(f"{path}: {len(repeated)} columns are called {repeated[0]!r}. Rename all but one.")
        rows = [dict(zip(names, row.values(), strict=True)) for row in rows[1:]]
        return _Table(rows, lines[1:], names)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    return _Table(rows, lines, columns, has_header=not may_lack_header)


def _find_mapped(tables: Mapping[Path, _Table], mapping: Mapping[str, list[str]]) -> set[Path]:
    """Return the files to which the mapping applies: of several, those that have one of its columns.

    Raises:
        KitError: If there are none.
    """
    names = {name for names in mapping.values() for name in names}
    by_number = all(name.isdecimal() for name in names)
    mapped = {
        path for path, table in tables.items()
        if by_number != table.has_header and not names.isdisjoint(table.columns)
    }  # fmt: skip
    if not mapped:
        raise KitError(f"None of the files has a column that --columns names ({', '.join(sorted(names))}). Mend it.")
    return mapped


def _load(path: Path, table: _Table, mapping: Mapping[str, list[str]]) -> LabelledFile:
    profiles = profile_columns(table.rows)
    columns = {name: profiles[name] for name in table.columns if name in profiles}
    if not columns:
        raise KitError(f"{path} holds no rows. Give pairs of texts.")
    if table.has_header or mapping:
        roles = assign_roles(columns, mapping, str(path))
    else:
        roles = assign_roles_by_position(table.rows, columns, str(path))
    return collect_rows(path, roles, zip(table.lines, table.rows, strict=True))
