"""Reads the files of retrieval data: queries, documents and relevance judgements (qrels)."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tsdae_kit.corpus.formats import ID_COLUMNS, TEXT, TITLE, Format
from tsdae_kit.corpus.parsing import read_rows
from tsdae_kit.errors import KitError
from tsdae_kit.evaluation.columns import (
    Cells,
    Names,
    always_has_names,
    find_column,
    is_header,
    parse_id,
    parse_number,
    parse_text,
    read_cells,
    read_rows_without_header,
    require_columns,
)
from tsdae_kit.labelled.column_names import plain_name

logger = logging.getLogger("tsdae_kit")
_QUERY_IDS = (*ID_COLUMNS, "query_id", "qid", "topic_id")
_DOCUMENT_IDS = (*ID_COLUMNS, "doc_id", "docid", "docno", "document_id", "corpus_id", "passage_id", "pid")
_JUDGEMENT_COLUMNS = {
    "query id": ("query_id", "qid", "topic_id", "query", "topic"),
    "document id": (*_DOCUMENT_IDS[len(ID_COLUMNS) :], "document", "doc"),
    "grade": ("score", "grade", "relevance", "rel", "label", "judgement", "judgment"),
}
_JUDGEMENT_NAMES = [name for names in _JUDGEMENT_COLUMNS.values() for name in names]


@dataclass(frozen=True, slots=True)
class Judgement:
    """One relevance judgement: the grade of a document for a query."""

    line: int
    query: str
    document: str
    grade: float


def read_documents(path: Path, form: Format, judged_ids: Collection[str] = ()) -> dict[str, str]:
    """Return the texts by id, each after its title; a text may be empty (Cranfield has two such documents).

    Args:
        path: The file.
        form: Its format.
        judged_ids: The document ids of the judgements; they decide if several columns may hold the ids.

    Raises:
        KitError: For a row without an id or a text column, an id with two texts, or two columns that match the judged
            ids equally well.
    """
    return _read_texts(path, form, _id_names(path, form, _DOCUMENT_IDS, judged_ids), (TEXT,))


def read_queries(path: Path, form: Format, judged_ids: Collection[str] = ()) -> dict[str, str]:
    """Return the texts by id; arguments and errors as for :func:`read_documents`."""
    return _read_texts(path, form, _id_names(path, form, _QUERY_IDS, judged_ids), (TEXT, "query"))


def _id_names(path: Path, form: Format, aliases: Names, judged_ids: Collection[str]) -> Names:
    """Return the accepted names of the id column; of several such columns, the one that matches the judgements.

    Raises:
        KitError: If two columns that differ match equally many judged ids.
    """
    _, first_row = next(read_rows(path, replace(form, all_columns=True)), (0, {}))
    accepted = {plain_name(alias) for alias in aliases}
    columns = [name for name in first_row if plain_name(name) in accepted]
    if len(columns) < 2 or not judged_ids:
        return aliases
    ids: dict[str, list[str]] = {column: [] for column in columns}
    for _, row in read_rows(path, replace(form, all_columns=True)):
        for column in columns:
            ids[column].append(_id_or_empty(row.get(column)))
    matches = {column: len(set(judged_ids).intersection(ids[column])) for column in columns}
    most = max(matches.values())
    if most == 0:
        return aliases
    best = [column for column in columns if matches[column] == most]
    if any(ids[column] != ids[best[0]] for column in best):
        raise KitError(
            f"{path}: the ids may be in {' or '.join(map(repr, best))}: each matches {most:,} ids of the judgements. "
            "Remove one of the columns."
        )
    return (best[0],)


def _id_or_empty(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() if isinstance(value, str | int) else ""


def _read_texts(path: Path, form: Format, id_names: Names, text_names: Names) -> dict[str, str]:
    def select(names: Names, where: str) -> list[str | None]:
        return [*require_columns(names, {"id": id_names, "text": text_names}, where), find_column(names, (TITLE,))]

    texts: dict[str, str] = {}
    repeated = 0
    for cells in read_cells(path, form, select):
        where = f"{path}, line {cells.line}"
        key, text, title = cells.values
        key = parse_id(key, where)
        text = " ".join(filter(None, (parse_text(title, TITLE, where), parse_text(text, TEXT, where))))
        if texts.get(key, text) != text:
            raise KitError(f"{where}: the id {key!r} already has another text. Give each text its own id.")
        repeated += key in texts
        texts[key] = text
    if repeated:
        logger.info("%s: %s lines repeat an id and its text; each is read once.", path, f"{repeated:,}")
    return texts


def read_judgements(path: Path, form: Format) -> Iterator[Judgement]:
    """Yield the judgements.

    CSV, TSV and plain text hold query id, document id and grade, or TREC's four columns (query id, 0, document id,
    grade), separated by tabs or white space.

    Raises:
        KitError: With the line of an invalid judgement.
    """
    if always_has_names(path):
        rows = read_cells(path, form, lambda names, where: require_columns(names, _JUDGEMENT_COLUMNS, where))
    else:
        rows = _split_judgements(path, form)
    for cells in rows:
        where = f"{path}, line {cells.line}"
        query, document, value = cells.values
        grade = parse_number(value, "grade", where, "Correct the line, or remove it.")
        grade = int(grade) if grade == int(grade) else grade
        yield Judgement(cells.line, parse_id(query, where), parse_id(document, where), grade)


def _split_judgements(path: Path, form: Format) -> Iterator[Cells]:
    """Yield query id, document id and grade of each line of a text file, with or without a header."""
    positions: Sequence[int] = ()
    width = 0
    for line, row in read_rows_without_header(path, form):
        if len(row) == 1:
            row = row[0].split("\t") if "\t" in row[0] else row[0].split()
        if not row:
            continue
        where = f"{path}, line {line}"
        if not positions:
            if is_header(row, _JUDGEMENT_NAMES):
                positions = [row.index(name) for name in require_columns(tuple(row), _JUDGEMENT_COLUMNS, where)]
                width = len(row)
                continue
            positions, width = ((0, 2, 3), 4) if len(row) == 4 else ((0, 1, 2), 3)
        if len(row) != width:
            raise KitError(
                f"{where}: {len(row)} columns instead of {width}. "
                "Write query id, document id and grade, separated by tabs (or TREC's four columns)."
            )
        yield Cells(line, (), [row[position] for position in positions])
