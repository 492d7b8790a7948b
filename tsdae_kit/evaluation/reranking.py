"""Reads files of reranking data: queries with lists of positives and negatives."""

from __future__ import annotations

import logging
from pathlib import Path

from tsdae_kit.corpus.formats import TEXT, Format
from tsdae_kit.errors import KitError
from tsdae_kit.evaluation.columns import parse_text, read_cells, require_columns
from tsdae_kit.evaluation.tasks import Reranking

logger = logging.getLogger("tsdae_kit")
_COLUMNS = {"query": ("query", TEXT), "positive": ("positive", "positives", "pos"),
            "negative": ("negative", "negatives", "neg")}  # fmt: skip


def read_reranking(path: Path, name: str, form: Format) -> Reranking:
    """Return the task of a file; rows without a query, a positive or a negative are skipped and counted.

    Without positives or negatives, every order is right.

    Args:
        path: The file.
        name: The task's name.
        form: The file's format.

    Raises:
        KitError: With the line of an invalid row, or if no row is complete.
    """
    complete: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = []
    rows = blank = 0
    for cells in read_cells(path, form, lambda names, where: require_columns(names, _COLUMNS, where)):
        where = f"{path}, line {cells.line}"
        query, *lists = cells.values
        if not all(isinstance(texts, list) for texts in lists):
            raise KitError(f"{where}: positive and negative must be lists of texts. Write [...].")
        if any(not isinstance(text, str) for texts in lists for text in texts):
            raise KitError(f"{where}: positive and negative must hold only texts. Correct the line.")
        rows += 1
        positives, negatives = (tuple(text for text in texts if text.strip()) for texts in lists)
        if parse_text(query, "query", where).strip() and positives and negatives:
            complete.append((query, positives, negatives))
            blank += sum(map(len, lists)) - len(positives) - len(negatives)
    if rows > len(complete):
        logger.warning("%s: %s of %s rows lack a query, a positive or a negative and are skipped.", path,
                       rows - len(complete), rows)  # fmt: skip
    if blank:
        logger.warning("%s: %s positives or negatives are empty and are skipped.", path, f"{blank:,}")
    if not complete:
        raise KitError(f"{path} holds no query with a positive and a negative. Add some.")
    return Reranking(name, *zip(*complete, strict=True))
