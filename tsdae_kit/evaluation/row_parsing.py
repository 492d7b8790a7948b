"""Reads the rows of evaluation data: texts by id, judgements, pairs, reranking lists.

Every format that ``prepare`` reads, through the same reader. Columns are known by name, whatever their case; our own
tab-separated files and TREC's have no header, and where there is one it is no row. What would make scores quietly
wrong is refused with its file and line; what is left out is counted.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tsdae_kit.corpus.files import kind_of
from tsdae_kit.corpus.formats import ID_COLUMNS, TEXT, TITLE, Format, describe_value
from tsdae_kit.corpus.parsing import read_rows
from tsdae_kit.errors import KitError
from tsdae_kit.labelled.column_names import ALIASES, LABEL, is_metadata, plain_name
from tsdae_kit.labelled.column_values import is_number, to_number
from tsdae_kit.labelled.labels import GRADES, TRUTH

logger = logging.getLogger("tsdae_kit")
Names = tuple[str, ...]
Judgement = tuple[int, str, str, float]  # line, query id, document id, grade
_FindColumns = Callable[[Names, str], Sequence[str | None]]  # of the names, and the place for an error
_QUERY_IDS = (*ID_COLUMNS, "query_id", "qid", "topic_id")
_DOCUMENT_IDS = (*ID_COLUMNS, "doc_id", "docid", "docno", "document_id", "corpus_id", "passage_id", "pid")
_JUDGEMENT = {
    "query id": ("query_id", "qid", "topic_id", "query", "topic"),
    "document id": (*_DOCUMENT_IDS[len(ID_COLUMNS) :], "document", "doc"),
    "grade": ("score", "grade", "relevance", "rel", "label", "judgement", "judgment"),
}
_SCORES = ALIASES[LABEL][0]
_TWO_TEXTS = [(f"{name}{first}", f"{name}{second}") for name in ("text", "sentence", "question")
              for first, second in (("1", "2"), ("_a", "_b"))]  # fmt: skip
_ROLES = {"query": ("query", TEXT), "positive": ("positive", "positives", "pos"),
          "negative": ("negative", "negatives", "neg")}  # fmt: skip


def read_documents(path: Path, form: Format, judged: Collection[str] = ()) -> dict[str, str]:
    """Return the texts by id, titles before them; an empty one is in its place (Cranfield has two).

    Args:
        path: The file.
        form: How it is written.
        judged: The ids in the judgements, which decide between several columns of ids.

    Raises:
        KitError: Naming the line of what has no id or no text, or of an id with two texts; if two columns of ids are
            named by the judgements alike.
    """
    return _read_texts(path, form, (_find_ids(path, form, _DOCUMENT_IDS, judged), (TEXT,)))


def read_queries(path: Path, form: Format, judged: Collection[str] = ()) -> dict[str, str]:
    """Return the texts by id; arguments and errors are those of documents."""
    return _read_texts(path, form, (_find_ids(path, form, _QUERY_IDS, judged), (TEXT, "query")))


def _find_ids(path: Path, form: Format, ids: Names, judged: Collection[str]) -> Names:
    """Return the names by which a file's ids are found: that of one column, where several could hold them.

    Raises:
        KitError: If two columns that differ hold equally many of the judged ids.
    """
    rows = read_rows(path, replace(form, all_columns=True))
    names = [name for name in next(rows, (0, {}))[1] if plain_name(name) in {plain_name(alias) for alias in ids}]
    if len(names) < 2 or not judged:
        return ids
    values: dict[str, list[str]] = {name: [] for name in names}
    for _, row in read_rows(path, replace(form, all_columns=True)):
        for name in names:
            value = row.get(name)
            is_id = isinstance(value, str | int) or (isinstance(value, float) and value.is_integer())
            values[name].append(str(int(value) if isinstance(value, float) else value).strip() if is_id else "")
    hits = {name: len(set(judged).intersection(column)) for name, column in values.items()}
    best = [name for name in names if hits[name] == max(hits.values())]
    if not hits[best[0]]:
        return ids
    if any(values[name] != values[best[0]] for name in best):
        raise KitError(
            f"{path}: the ids may be those of {' or '.join(map(repr, best))}: the judgements name {hits[best[0]]:,} of "
            "each. Leave one of the columns out."
        )
    return (best[0],)


def _read_texts(path: Path, form: Format, aliases: tuple[Names, Names]) -> dict[str, str]:
    ids, texts = aliases

    def find(names: Names, where: str) -> list[str | None]:
        return [*_require(names, {"id": ids, "text": texts}, where), _find(names, (TITLE,))]

    found: dict[str, str] = {}
    repeated = 0
    for line, (value, main, title) in _named_cells(path, form, find):
        where = f"{path}, line {line}"
        key = _identity(value, where)
        text = " ".join(part for part in (_text(title, TITLE, where), _text(main, TEXT, where)) if part)
        if found.get(key, text) != text:
            raise KitError(f"{where}: the id {key!r} was there before, with another text. Give each text its own.")
        repeated += key in found
        found[key] = text
    if repeated:
        logger.info("%s: %s lines repeat an id and its text, and are read once.", path, f"{repeated:,}")
    return found


def read_judgements(path: Path, form: Format) -> Iterator[Judgement]:
    """Yield line, query id, document id and grade.

    Files of text hold these columns, or TREC's four (query id, 0, document id, grade), parted by tabs or white space.

    Raises:
        KitError: Naming the line of what is no judgement.
    """
    if kind_of(path) in ("json", "parquet", "arrow"):
        cells = _named_cells(path, form, lambda names, where: _require(names, _JUDGEMENT, where))
    else:
        cells = _judgement_cells(path, form)
    for line, (query, document, value) in cells:
        where = f"{path}, line {line}"
        grade = _number(value, where, "grade", "Mend the line, or leave it out.")
        yield line, _identity(query, where), _identity(document, where), int(grade) if grade == int(grade) else grade


def _judgement_cells(path: Path, form: Format) -> Iterator[tuple[int, list[Any]]]:
    places: Sequence[int] = ()
    for line, row in read_rows(path, replace(form, all_columns=True, header=False)):
        cells = list(row.values())
        if len(cells) == 1:
            cells = cells[0].split("\t") if "\t" in cells[0] else cells[0].split()
        if not cells:
            continue
        where = f"{path}, line {line}"
        if not places:
            if _is_header(cells, [name for names in _JUDGEMENT.values() for name in names]):
                places = [cells.index(name) for name in _require(tuple(cells), _JUDGEMENT, where)]
                width = len(cells)
                continue
            places, width = (0, 2, 3) if len(cells) == 4 else (0, 1, 2), 4 if len(cells) == 4 else 3
        if len(cells) != width:
            raise KitError(
                f"{where}: {len(cells)} columns instead of {width}. "
                "Write query id, document id, grade, parted by tabs (or TREC's four columns)."
            )
        yield line, [cells[place] for place in places]


def read_pairs(path: Path, form: Format) -> list[tuple[float, str, str]]:
    """Return score, first and second text of each pair; those that lack a text are left out, and counted.

    CSV and TSV without a header hold the three in this order.

    Raises:
        KitError: Naming the line of what is no such pair; for classes or row numbers where the scores should be.
    """
    columns: list[str] = []

    def find(names: Names, where: str) -> list[str]:
        columns[:] = _pair_columns(names, where)
        return columns

    headed = kind_of(path) in ("json", "parquet", "arrow")
    cells = _named_cells(path, form, find) if headed else _pair_cells(path, form, find)
    values: list[Any] = []
    found: list[tuple[float, str, str]] = []
    lacking = 0
    for line, (value, *texts) in cells:
        where = f"{path}, line {line}"
        score = _number(value, where, "score", "Write it in the first column, or name the columns in the first line.")
        values.append(value)
        first, second = (_text(text, "of a text", where) for text in texts)
        if first.strip() and second.strip():
            found.append((score, first, second))
        else:
            lacking += 1
    if lacking:
        logger.warning("%s: %s of %s pairs lack a text and are left out.", path, lacking, lacking + len(found))
    _check_scores(path, columns[0] if columns else None, values)
    return found


def _check_scores(path: Path, column: str | None, values: Sequence[Any]) -> None:
    """See to it that numbers are scores, by which the order of pairs means something.

    Args:
        path: The file.
        column: Their column; ``None`` where there is no header.
        values: As they are in the file.

    Raises:
        KitError: For classes, as those of NLI, and for row numbers.
    """
    are_whole = all(not isinstance(value, float) and str(value).strip().lstrip("+-").isdecimal() for value in values)
    numbers = [int(value) for value in values] if are_whole else []
    distinct = set(numbers)
    if column is not None and plain_name(column) not in GRADES and 2 in distinct and distinct <= {-1, 0, 1, 2}:
        raise KitError(
            f"{path}: the column {column!r} holds {', '.join(map(str, sorted(distinct)))}, which may be classes as "
            "those of NLI (2: contradiction) and no scores. Write 1 for pairs that belong together and 0 for others; "
            "or, if a higher number is a closer pair, call the column score."
        )
    if column is None and len(numbers) > 2 and len(distinct) == len(numbers) and not distinct <= set(range(6)):
        raise KitError(
            f"{path}: the first column holds another whole number in each row, as the number of a row, where the score "
            "should be. Write score, text 1 and text 2, or name the columns in the first line."
        )


def holds_pairs(path: Path, form: Format) -> bool:
    """Return whether the columns of a file with a header say that it holds pairs and scores, not texts."""
    if kind_of(path) in (None, "lines"):
        return False
    names = next((tuple(row) for _, row in read_rows(path, replace(form, all_columns=True))), ())
    return _find(names, _SCORES) is not None


def holds_texts(path: Path, form: Format) -> bool:
    """Return whether the first line of CSV or TSV names a column of texts, and none of scores."""
    rows = read_rows(path, replace(form, all_columns=True, header=False))
    cells = list(next(rows, (0, {}))[1].values())
    return _is_header(cells, (TEXT,)) and _find(cells, _SCORES) is None


def _pair_cells(path: Path, form: Format, find: _FindColumns) -> Iterator[tuple[int, list[Any]]]:
    places: Sequence[int] = ()
    for line, row in read_rows(path, replace(form, all_columns=True, header=False)):
        cells = list(row.values())
        if not places:
            where = f"{path}, line {line}"
            if _is_header(cells, _SCORES):
                places = [cells.index(name) for name in find(tuple(cells), where) if name is not None]
                continue
            if len(cells) != 3:
                raise KitError(f"{where}: {len(cells)} columns instead of 3. Write score, text 1 and text 2.")
            places = (0, 1, 2)
        yield line, [cells[place] for place in places]


def _pair_columns(names: Names, where: str) -> list[str]:
    scores = [name for name in names if plain_name(name) in _SCORES]
    texts = next(
        ([one, other] for two in _TWO_TEXTS if (one := _find(names, two[:1])) and (other := _find(names, two[1:]))),
        [name for name in names if name not in scores and not is_metadata(name)],
    )
    if len(scores) != 1 or len(texts) != 2:
        shown = ", ".join(names)
        raise KitError(
            f"{where}: of the columns ({shown:.200}) one must hold the score and two the texts. "
            "Call them score, text1 and text2; for a test without labels, leave the score out."
        )
    return [*scores, *texts]


def read_lists(path: Path, form: Format) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Return query, positives and negatives of each row that has all of them; the others are counted.

    Raises:
        KitError: Naming the line of what is no such row.
    """
    found: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = []
    read = blank = 0
    for line, (query, *lists) in _named_cells(path, form, lambda names, where: _require(names, _ROLES, where)):
        where = f"{path}, line {line}"
        if not all(isinstance(texts, list) for texts in lists):
            raise KitError(f"{where}: positive and negative must be lists of texts. Write [...].")
        if any(not isinstance(text, str) for texts in lists for text in texts):
            raise KitError(f"{where}: positive and negative must hold texts alone. Mend the line.")
        read += 1
        positives, negatives = (tuple(text for text in texts if text.strip()) for texts in lists)
        if _text(query, "query", where).strip() and positives and negatives:  # else every order is right
            found.append((query, positives, negatives))
            blank += len(lists[0]) + len(lists[1]) - len(positives) - len(negatives)
    if read > len(found):
        logger.warning("%s: %s of %s rows lack a query, a positive or a negative and are left out.", path,
                       read - len(found), read)  # fmt: skip
    if blank:
        logger.warning("%s: %s positives or negatives are empty and are left out.", path, f"{blank:,}")
    return found


def _named_cells(path: Path, form: Format, find: _FindColumns) -> Iterator[tuple[int, list[Any]]]:
    """Yield the line and the values of those columns of each row that ``find`` returns for the row's names."""
    names: Names | None = None
    columns: Sequence[str | None] = ()
    for line, row in read_rows(path, replace(form, all_columns=True)):
        if names != tuple(row):
            names = tuple(row)
            columns = find(names, f"{path}, line {line}")
        yield line, [None if column is None else row[column] for column in columns]


def _require(names: Names, roles: dict[str, Names], where: str) -> list[str]:
    """Return the column of each role, whatever its case.

    Raises:
        KitError: If one is missing, or two differ in their case alone and none is called as the role.
    """
    found = {role: _find(names, aliases) for role, aliases in roles.items()}
    for role, name in found.items():
        alike = [other for other in names if name is not None and plain_name(other) == plain_name(name)]
        if len(alike) > 1 and name not in roles[role]:
            raise KitError(f"{where}: the columns {' and '.join(map(repr, alike))} have one name. Rename all but one.")
    if missing := [role for role, name in found.items() if name is None]:
        there = ", ".join(names)
        raise KitError(f"{where}: {', '.join(missing)} missing (there is: {there:.100}). Add it.")
    return [name for name in found.values() if name is not None]


def _find(names: Sequence[str], aliases: Sequence[str]) -> str | None:
    """Return the column that has the first of these names: just so, or in another spelling."""
    known = {plain_name(name): name for name in reversed(names)} | {name: name for name in names}
    return next((known[alias] for alias in aliases if alias in known), None)


def _is_header(cells: Sequence[str], aliases: Sequence[str]) -> bool:
    """Return whether a first row names columns: it has a known name, and no number."""
    return _find(cells, aliases) is not None and not any(is_number(cell) for cell in cells)


def _identity(value: Any, where: str) -> str:
    """Return an id as text: numbers may stand for it."""
    if isinstance(value, float) and value.is_integer():  # a column of numbers with gaps
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise KitError(f"{where}: the id is {describe_value(value)}. Write a text or a whole number.")
    return str(value).strip()


def _text(value: Any, name: str, where: str) -> str:
    """Return a text; a missing one is empty."""
    if not isinstance(value, str | None):
        raise KitError(f"{where}: the column {name!r} holds {describe_value(value)}, not text. Mend the line.")
    return value or ""


def _number(value: Any, where: str, what: str, advice: str) -> float:
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
        raise KitError(f"{where}: the {what} {shown:.80} is no number. {advice}")
    return number
