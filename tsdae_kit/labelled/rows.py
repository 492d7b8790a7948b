"""Gathers the rows of labelled data that can be learned from: with all their texts, and equally many negatives."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from tsdae_kit.corpus.parsing import describe
from tsdae_kit.corpus.reading import Row
from tsdae_kit.errors import KitError
from tsdae_kit.labelled.column_roles import ANCHOR, LABEL, NEGATIVE, POSITIVE, Roles, is_nothing
from tsdae_kit.labelled.labels import Labels, is_missing, is_no_majority, read_labels

logger = logging.getLogger("tsdae_kit")
_LIST = re.compile(r"""\[(['"]).*\1\]""", re.DOTALL)  # as pandas writes it into CSV
MOST_NEGATIVES = 7  # of a row; FlagEmbedding's default (train_group_size 8)


def collect_rows(path: Path, roles: Roles, rows: Iterable[tuple[int, Row]]) -> tuple[pa.Table, Labels, tuple[str, ...]]:
    """Return a file's rows as a loss takes them, what their label is, and the names of classes.

    What is left out or filled up is said and counted.

    Args:
        path: The file, for messages.
        roles: Which column is what.
        rows: Each with its line.

    Raises:
        KitError: Naming the line of what is no text or no label; if no row is whole.
    """
    collector = _Collector(path, roles)
    for line, row in rows:
        collector.add(line, row)
    return collector.finish()


class _Collector:
    """The rows of a file as they are gathered.

    Args:
        path: The file.
        roles: Which column is what.
    """

    def __init__(self, path: Path, roles: Roles) -> None:
        self._path, self._roles = path, roles
        self._pairs: list[tuple[str, str]] = []
        self._negatives: list[list[str]] = []
        self._labels: list[tuple[int, Any]] = []  # line, value
        self._left_out = 0
        self._own = 0

    def add(self, line: int, row: Row) -> None:
        """Take a row, if it has its texts and its label."""
        roles = self._roles
        anchors = self._texts(row.get(roles.anchor), line, roles.anchor, several=False)
        positives = self._texts(row.get(roles.positive), line, roles.positive, several=roles.label is None)
        negatives = [text for name in roles.negatives for text in self._texts(row.get(name), line, name, several=True)]
        label = row.get(roles.label) if roles.label is not None else None
        if not anchors or not positives or (roles.label is not None and is_missing(label)):
            self._left_out += 1
            return
        others = [text for text in negatives if text not in (anchors[0], *positives)]
        self._own += len(others) < len(negatives)
        for positive in positives:
            self._pairs.append((anchors[0], positive))
            self._negatives.append(others)
            self._labels.append((line, label))

    def _texts(self, value: Any, line: int, column: str, several: bool) -> list[str]:
        """Return the texts of a value, blank ones left out."""
        values = value if several and isinstance(value, list) else [value]
        for item in values:
            if not (is_nothing(item) or isinstance(item, str)):
                raise KitError(
                    f"{self._path}, line {line}: the column {column!r} holds {describe(item)}, not text. Mend the "
                    "line, or name the columns of the texts with --columns."
                )
            if isinstance(item, str) and _LIST.fullmatch(item):
                raise KitError(
                    f"{self._path}, line {line}: the column {column!r} holds a list written as text. Write the file as "
                    "JSON Lines or Parquet, which have lists."
                )
        return [item for item in values if not is_nothing(item)]

    def finish(self) -> tuple[pa.Table, Labels, tuple[str, ...]]:
        """Return the rows, as a loss takes them, what their label is, and the names of classes.

        Raises:
            KitError: If no row is whole, or the label is none.
        """
        roles = self._roles
        if roles.label is not None and is_no_majority(roles.label, [value for _, value in self._labels]):
            whole = [i for i, (_, value) in enumerate(self._labels) if str(value).strip() not in ("-1", "-1.0")]
            self._left_out += len(self._labels) - len(whole)
            self._pairs, self._labels = [self._pairs[i] for i in whole], [self._labels[i] for i in whole]
        negatives = self._even_negatives() if roles.negatives else []
        if self._left_out:
            logger.warning("%s: %s of %s rows lack a text or a label and are left out.", self._path,
                           f"{self._left_out:,}", f"{self._left_out + len(self._pairs):,}")  # fmt: skip
        if not self._pairs:
            raise KitError(f"{self._path} holds no row with all its texts. Its columns: {roles}.")
        anchors, positives = zip(*self._pairs, strict=True)
        columns: dict[str, Any] = {ANCHOR: pa.array(anchors, pa.string()), POSITIVE: pa.array(positives, pa.string())}
        for number, texts in enumerate(zip(*negatives, strict=True), start=1):
            name = NEGATIVE if len(negatives[0]) == 1 else f"{NEGATIVE}_{number}"
            columns[name] = pa.array(texts, pa.string())
        if roles.label is None:
            return pa.table(columns), "none", ()
        values, labels, classes = read_labels(self._path, roles.label, self._labels)
        columns[LABEL] = pa.array(values)
        return pa.table(columns), labels, classes

    def _even_negatives(self) -> list[list[str]]:
        """Return equally many negatives for each row, and say what was done for rows that have fewer.

        Their own are repeated, as FlagEmbedding does; a row without any takes other rows' positives, which are its
        negatives in a batch anyway.
        """
        width = min(MOST_NEGATIVES, max(map(len, self._negatives), default=0))
        fewer = sum(0 < len(texts) < width for texts in self._negatives)
        more = sum(len(texts) > width for texts in self._negatives)
        without = [row for row, texts in enumerate(self._negatives) if not texts]
        if self._own:
            logger.warning("%s: in %s rows a negative is the row's own anchor or positive, and is left out.",
                           self._path, f"{self._own:,}")  # fmt: skip
        if not width:
            raise KitError(f"{self._path} holds no negative in {' or '.join(self._roles.negatives)}. Leave them out of "
                           "the file, or of --columns.")  # fmt: skip
        known: dict[str, set[str]] = {}
        for anchor, positive in self._pairs:
            known.setdefault(anchor, set()).update((anchor, positive))
        found: list[list[str]] = []
        for row, texts in enumerate(self._negatives):
            own = texts or self._positives_of_others(row, known, width)
            found.append([own[i % len(own)] for i in range(width)] if own else [])
        whole = [row for row, texts in enumerate(found) if texts]
        self._left_out += len(found) - len(whole)
        self._pairs, self._labels = [self._pairs[i] for i in whole], [self._labels[i] for i in whole]
        for count, what in (
            (fewer, f"have fewer than {width} negatives, which are repeated"),
            (len(without), "have no negative and take other rows' positives"),
            (more, f"have more than {width} negatives, of which the first {width} are taken"),
        ):
            if count:
                logger.info("%s: %s rows %s.", self._path, f"{count:,}", what)
        return [found[row] for row in whole]

    def _positives_of_others(self, row: int, known: Mapping[str, set[str]], count: int) -> list[str]:
        """Return up to so many positives of the next rows with another anchor."""
        anchor = self._pairs[row][0]
        found: dict[str, None] = {}
        for offset in range(1, min(len(self._pairs), 20 * count)):
            other, positive = self._pairs[(row + offset) % len(self._pairs)]
            if other != anchor and positive not in known[anchor]:
                found[positive] = None
            if len(found) == count:
                break
        return list(found)
