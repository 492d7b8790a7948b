"""Labelled pairs in memory: anchor and positive, with negatives or a label."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tsdae_kit.errors import KitError
from tsdae_kit.labelled.column_names import LABEL
from tsdae_kit.labelled.column_roles import Roles
from tsdae_kit.labelled.labels import LabelKind


@dataclass(frozen=True)
class LabelledFile:
    """The rows of one file.

    Attributes:
        path: The file.
        rows: Columns ``anchor``, ``positive``, then ``negative`` (or ``negative_1``, ``negative_2``, ...) or ``label``.
        labels: The kind of the labels.
        classes: The names of the classes, in the order of their numbers.
        roles: Which of the file's columns became these.
        mined: Whether the negatives were mined from a corpus.
    """

    path: Path
    rows: pa.Table
    labels: LabelKind
    classes: tuple[str, ...] = ()
    roles: Roles | None = None
    mined: bool = False


@dataclass(frozen=True)
class LabelledPairs:
    """The files of a run.

    Attributes:
        files: One or more.
        fingerprint: A digest of their bytes.
        corpus: Sentences among which hard negatives are to be mined.
    """

    files: tuple[LabelledFile, ...]
    fingerprint: str
    corpus: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """The number of rows to train on."""
        return sum(len(file.rows) for file in self.files)

    @property
    def held_out_size(self) -> int:
        """Zero: fine-tuning is evaluated on the task's own test data."""
        return 0

    def texts(self) -> Iterator[tuple[str, Iterable[Iterable[object]]]]:
        """Yield each file with its columns, one list of values each (also labels, which are no texts)."""
        for file in self.files:
            yield str(file.path), (column.to_pylist() for column in file.rows.columns)


def positive_pairs(file: LabelledFile) -> LabelledFile:
    """Return the file with the pairs that belong together: without a label all, else those with label 1.

    Raises:
        KitError: If there are none.
    """
    if LABEL not in file.rows.column_names:
        return file
    rows = file.rows.filter(pc.equal(file.rows[LABEL], 1)).drop_columns([LABEL])
    if file.labels != "binary" or not len(rows):
        raise KitError(f"{file.path} holds no texts that belong together (labels: {file.labels}; 1 is for such pairs).")
    return replace(file, rows=rows, labels="none")
