"""Collects the rows that a loss can be trained on: with all their texts, and equally many negatives."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from tsdae_kit.corpus.formats import Row, describe_value
from tsdae_kit.errors import KitError
from tsdae_kit.labelled.column_names import ANCHOR, LABEL, NEGATIVE, POSITIVE
from tsdae_kit.labelled.column_roles import Roles
from tsdae_kit.labelled.column_values import is_blank
from tsdae_kit.labelled.labels import is_missing, is_no_majority, parse_labels
from tsdae_kit.labelled.pairs import LabelledFile

logger = logging.getLogger("tsdae_kit")
_WRITTEN_LIST = re.compile(r"""\[(['"]).*\1\]""", re.DOTALL)  # as pandas writes it into CSV
_MAX_NEGATIVES = 7  # of a row; FlagEmbedding's default (train_group_size 8)


def collect_rows(path: Path, roles: Roles, rows: Iterable[tuple[int, Row]]) -> LabelledFile:
    """Return a file's rows as a loss takes them, and log how many were left out or filled up.

    Args:
        path: The file, for messages.
        roles: Which column has which role.
        rows: Each with its line.

    Raises:
        KitError: Naming the line of what is no text or no label; if no row is complete.
    """
    collector = _Collector(path, roles)
    for line, row in rows:
        collector.add(line, row)
    return collector.finish()


class _Collector:
    """Collects the rows of a file.

    Args:
        path: The file.
        roles: Which column has which role.
    """

    def __init__(self, path: Path, roles: Roles) -> None:
        self._path, self._roles = path, roles
        self._pairs: list[tuple[str, str]] = []
        self._negatives: list[list[str]] = []
        self._labels: list[tuple[int, Any]] = []  # line, value
        self._incomplete = 0  # rows left out
        self._own_negatives = 0  # rows of which a negative is the anchor or a positive

    def add(self, line: int, row: Row) -> None:
        """Add a row if it has its texts and its label; one pair for each of its positives."""
        roles = self._roles
        anchors = self._texts(row.get(roles.anchor), line, roles.anchor, several=False)
        positives = self._texts(row.get(roles.positive), line, roles.positive, several=roles.label is None)
        negatives = [text for name in roles.negatives for text in self._texts(row.get(name), line, name, several=True)]
        label = row.get(roles.label) if roles.label is not None else None
        if not anchors or not positives or (roles.label is not None and is_missing(label)):
            self._incomplete += 1
            return
        others = [text for text in negatives if text not in (anchors[0], *positives)]
        self._own_negatives += len(others) < len(negatives)
        for positive in positives:
            self._pairs.append((anchors[0], positive))
            self._negatives.append(others)
            self._labels.append((line, label))

    def _texts(self, value: Any, line: int, column: str, several: bool) -> list[str]:
        """Return the texts of a value, without blank ones."""
        values = value if several and isinstance(value, list) else [value]
        for item in values:
            if not (is_blank(item) or isinstance(item, str)):
                raise KitError(
                    f"{self._path}, line {line}: the column {column!r} holds {describe_value(item)}, not text. "
                    "Mend the line, or name the columns of the texts with --columns."
                )
            if isinstance(item, str) and _WRITTEN_LIST.fullmatch(item):
                raise KitError(
                    f"{self._path}, line {line}: the column {column!r} holds a list written as text. Write the file as "
                    "JSON Lines or Parquet, which have lists."
                )
        return [item for item in values if not is_blank(item)]

    def finish(self) -> LabelledFile:
        """Return the rows as a loss takes them.

        Raises:
            KitError: If no row is complete, or the labels cannot be parsed.
        """
        roles = self._roles
        if roles.label is not None and is_no_majority(roles.label, [value for _, value in self._labels]):
            self._select([i for i, (_, v) in enumerate(self._labels) if str(v).strip() not in ("-1", "-1.0")])
        negatives = self._equalize_negatives() if roles.negatives else []
        if self._incomplete:
            logger.warning("%s: %s of %s rows lack a text or a label and are left out.", self._path,
                           f"{self._incomplete:,}", f"{self._incomplete + len(self._pairs):,}")  # fmt: skip
        if not self._pairs:
            raise KitError(f"{self._path} holds no row with all its texts. Its columns: {roles}.")
        anchors, positives = zip(*self._pairs, strict=True)
        columns: dict[str, Any] = {ANCHOR: pa.array(anchors, pa.string()), POSITIVE: pa.array(positives, pa.string())}
        for number, texts in enumerate(zip(*negatives, strict=True), start=1):
            name = NEGATIVE if len(negatives[0]) == 1 else f"{NEGATIVE}_{number}"
            columns[name] = pa.array(texts, pa.string())
        if roles.label is None:
            return LabelledFile(self._path, pa.table(columns), "none", roles=roles)
        labels = parse_labels(self._path, roles.label, self._labels)
        columns[LABEL] = pa.array(labels.values)
        return LabelledFile(self._path, pa.table(columns), labels.kind, labels.classes, roles)

    def _select(self, complete: list[int]) -> None:
        """Keep these rows, and count the others as incomplete."""
        self._incomplete += len(self._pairs) - len(complete)
        self._pairs, self._labels = [self._pairs[i] for i in complete], [self._labels[i] for i in complete]

    def _equalize_negatives(self) -> list[list[str]]:
        """Return equally many negatives for each row, and log how many rows had fewer or more.

        Negatives of a row with fewer are repeated, as FlagEmbedding does; a row without any takes other rows'
        positives, which are its negatives in a batch anyway.
        """
        width = min(_MAX_NEGATIVES, max(map(len, self._negatives), default=0))
        fewer = sum(0 < len(texts) < width for texts in self._negatives)
        more = sum(len(texts) > width for texts in self._negatives)
        without = [row for row, texts in enumerate(self._negatives) if not texts]
        if self._own_negatives:
            logger.warning("%s: in %s rows a negative is the row's own anchor or positive, and is left out.",
                           self._path, f"{self._own_negatives:,}")  # fmt: skip
        if not width:
            raise KitError(f"{self._path} holds no negative in {' or '.join(self._roles.negatives)}. Leave them out of "
                           "the file, or of --columns.")  # fmt: skip
        related: dict[str, set[str]] = {}  # the texts that are no negatives of an anchor
        for anchor, positive in self._pairs:
            related.setdefault(anchor, set()).update((anchor, positive))
        equalized: list[list[str]] = []
        for row, texts in enumerate(self._negatives):
            texts = texts or self._positives_of_others(row, related, width)
            equalized.append([texts[i % len(texts)] for i in range(width)] if texts else [])
        complete = [row for row, texts in enumerate(equalized) if texts]
        self._select(complete)
        for count, problem in (
            (fewer, f"have fewer than {width} negatives, which are repeated"),
            (len(without), "have no negative and take other rows' positives"),
            (more, f"have more than {width} negatives, of which the first {width} are taken"),
        ):
            if count:
                logger.info("%s: %s rows %s.", self._path, f"{count:,}", problem)
        return [equalized[row] for row in complete]

    def _positives_of_others(self, row: int, related: Mapping[str, set[str]], count: int) -> list[str]:
        """Return at most ``count`` positives of the next rows with another anchor."""
        anchor = self._pairs[row][0]
        found: dict[str, None] = {}  # in order, each once
        for offset in range(1, min(len(self._pairs), 20 * count)):
            other, positive = self._pairs[(row + offset) % len(self._pairs)]
            if other != anchor and positive not in related[anchor]:
                found[positive] = None
            if len(found) == count:
                break
        return list(found)
