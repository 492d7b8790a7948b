"""Reads files of text pairs with scores or labels."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tsdae_kit.corpus.files import kind_of
from tsdae_kit.corpus.formats import TEXT, Format
from tsdae_kit.corpus.parsing import read_rows
from tsdae_kit.errors import KitError
from tsdae_kit.evaluation.columns import (
    Cells,
    Names,
    always_has_names,
    find_column,
    is_header,
    parse_number,
    parse_text,
    read_cells,
    read_rows_without_header,
)
from tsdae_kit.evaluation.tasks import Pairs
from tsdae_kit.labelled.column_names import ALIASES, LABEL, is_metadata, plain_name
from tsdae_kit.labelled.labels import GRADES

logger = logging.getLogger("tsdae_kit")
_SCORE_NAMES = ALIASES[LABEL][0]
_TEXT_NAMES = [(f"{name}{first}", f"{name}{second}") for name in ("text", "sentence", "question")
               for first, second in (("1", "2"), ("_a", "_b"))]  # fmt: skip
_NLI_LABELS = {-1, 0, 1, 2}  # -1: no majority
_SCALE = set(range(6))  # whole numbers that are scores even if all differ


def read_pairs(path: Path, name: str, form: Format) -> Pairs:
    """Return the task of a file of pairs; pairs that lack a text are skipped and counted.

    CSV and TSV without a header hold score, first and second text in this order.

    Args:
        path: The file.
        name: The task's name.
        form: The file's format.

    Raises:
        KitError: With the line of an invalid pair; for classes or row numbers in place of scores; for fewer than two
            different scores.
    """
    rows = read_cells(path, form, _select_columns) if always_has_names(path) else _split_pairs(path, form)
    score_column: str | None = None
    values: list[Any] = []
    pairs: list[tuple[float, str, str]] = []
    for cells in rows:
        where = f"{path}, line {cells.line}"
        value, *texts = cells.values
        advice = "Write it in the first column, or name the columns in the first line."
        score = parse_number(value, "score", where, advice)
        score_column = cells.columns[0] if cells.columns else None
        values.append(value)
        first, second = (parse_text(text, "of a text", where) for text in texts)
        if first.strip() and second.strip():
            pairs.append((score, first, second))
    if len(pairs) < len(values):
        logger.warning("%s: %s of %s pairs lack a text and are skipped.", path, len(values) - len(pairs), len(values))
    _check_scores(path, score_column, values)
    if len({score for score, _, _ in pairs}) < 2:
        raise KitError(f"{path} holds fewer than two different scores: there is nothing to rank. Add other pairs.")
    gold, firsts, seconds = zip(*pairs, strict=True)
    return Pairs(name, firsts, seconds, gold)


def holds_pairs(path: Path, form: Format) -> bool:
    """Return whether a file's header has a column of scores, so that it holds pairs and not single texts."""
    if kind_of(path) in (None, "lines"):
        return False
    names = next((tuple(row) for _, row in read_rows(path, replace(form, all_columns=True))), ())
    return find_column(names, _SCORE_NAMES) is not None


def holds_texts(path: Path, form: Format) -> bool:
    """Return whether the first line of CSV or TSV names a column of texts, and none of scores."""
    _, cells = next(read_rows_without_header(path, form), (0, []))
    return is_header(cells, (TEXT,)) and find_column(cells, _SCORE_NAMES) is None


def _split_pairs(path: Path, form: Format) -> Iterator[Cells]:
    """Yield score and texts of each row of CSV or TSV, with or without a header."""
    columns: list[str] = []
    positions: Sequence[int] = ()
    for line, row in read_rows_without_header(path, form):
        if not positions:
            where = f"{path}, line {line}"
            if is_header(row, _SCORE_NAMES):
                columns = _select_columns(tuple(row), where)
                positions = [row.index(name) for name in columns]
                continue
            if len(row) != 3:
                raise KitError(f"{where}: {len(row)} columns instead of 3. Write score, text 1 and text 2.")
            positions = (0, 1, 2)
        yield Cells(line, columns, [row[position] for position in positions])


def _select_columns(names: Names, where: str) -> list[str]:
    """Return the columns of the score and the two texts.

    Raises:
        KitError: If the names do not decide.
    """
    scores = [name for name in names if plain_name(name) in _SCORE_NAMES]
    texts = _find_text_columns(names) or [name for name in names if name not in scores and not is_metadata(name)]
    if len(scores) != 1 or len(texts) != 2:
        raise KitError(
            f"{where}: of the columns ({', '.join(names):.200}) one must hold the score and two the texts. "
            "Call them score, text1 and text2."
        )
    return [*scores, *texts]


def _find_text_columns(names: Names) -> list[str]:
    """Return the first two columns that are called ``text1`` and ``text2``, or similarly."""
    for aliases in _TEXT_NAMES:
        first, second = (find_column(names, (alias,)) for alias in aliases)
        if first and second:
            return [first, second]
    return []


def _check_scores(path: Path, column: str | None, values: Sequence[Any]) -> None:
    """Refuse numbers that are not scores.

    Args:
        path: The file.
        column: The score column; ``None`` without a header.
        values: The column as it is in the file.

    Raises:
        KitError: For the classes of NLI, and for row numbers.
    """
    are_whole = all(not isinstance(value, float) and str(value).strip().lstrip("+-").isdecimal() for value in values)
    numbers = [int(value) for value in values] if are_whole else []
    distinct = set(numbers)
    if column is not None and plain_name(column) not in GRADES and 2 in distinct and distinct <= _NLI_LABELS:
        raise KitError(
            f"{path}: the column {column!r} holds {', '.join(map(str, sorted(distinct)))}, which may be the classes of "
            "NLI (2: contradiction) instead of scores. Write 1 for pairs that belong together and 0 for others; or, "
            "if a higher number means a closer pair, call the column score."
        )
    if column is None and len(numbers) > 2 and len(distinct) == len(numbers) and not distinct <= _SCALE:
        raise KitError(
            f"{path}: the first column holds a different whole number in each row, like a row number, not a score. "
            "Write score, text 1 and text 2, or name the columns in the first line."
        )
