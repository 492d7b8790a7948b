"""Builds a retrieval task from its files, and checks that the files belong together.

A judgement of an unknown query or document is skipped and counted; if most are unknown, the judgements belong to other
data and are refused.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from tsdae_kit.corpus.cleaning import clean_text
from tsdae_kit.corpus.formats import Format
from tsdae_kit.errors import KitError
from tsdae_kit.evaluation.layouts import RetrievalFiles
from tsdae_kit.evaluation.retrieval_files import Judgement, read_documents, read_judgements, read_queries
from tsdae_kit.evaluation.tasks import Retrieval

logger = logging.getLogger("tsdae_kit")
_SHOWN_IDS = 3  # in a message
Grades = dict[str, dict[str, float]]  # by query id, then document id


def read_retrieval(files: RetrievalFiles, name: str, form: Format) -> Retrieval:
    """Return the retrieval task of a folder.

    Raises:
        KitError: If a file is invalid, the files do not belong together, or no document is relevant.
    """
    judgements = list(read_judgements(files.qrels, form))
    queries = read_queries(files.queries, form, {judgement.query for judgement in judgements})
    docs = read_documents(files.docs, form, {judgement.document for judgement in judgements})
    judged = _collect_grades(files, judgements, queries, docs)
    grades = {
        query: of_query for query, of_query in judged.items()
        if any(grade > 0 for grade in of_query.values()) and queries[query].strip()
    }  # fmt: skip
    if not grades:
        raise KitError(f"{files.qrels} marks no document as relevant. Give some a grade above 0.")
    if len(judged) > len(grades):
        logger.warning("%s: %s of %s judged queries have no relevant document or no text and are skipped.",
                       files.qrels, f"{len(judged) - len(grades):,}", f"{len(judged):,}")  # fmt: skip
    indices = {key: index for index, key in enumerate(docs)}
    return Retrieval(
        name,
        queries=tuple(queries[query] for query in grades),
        docs=tuple(docs.values()),
        grades=tuple({indices[key]: grade for key, grade in of_query.items()} for of_query in grades.values()),
        identical_docs=_find_identical_docs(name, grades, queries, docs, indices),
    )


def _find_identical_docs(
    name: str, grades: Grades, queries: Mapping[str, str], docs: Mapping[str, str], indices: Mapping[str, int]
) -> tuple[int, ...]:
    """Return for each query the index of the document with its id and text, or -1; nothing if no query has one.

    A document that is judged relevant to itself stays in the ranking.
    """
    identical = tuple(
        indices[query] if of_query.get(query, 0) <= 0 and _is_same_text(queries[query], docs.get(query)) else -1
        for query, of_query in grades.items()
    )
    count = sum(index >= 0 for index in identical)
    if not count:
        return ()
    logger.info("%s: %s of %s queries are also documents (the same id and text); each is excluded from its own "
                "ranking, as in BEIR.", name, f"{count:,}", f"{len(grades):,}")  # fmt: skip
    return identical


def _is_same_text(query: str, document: str | None) -> bool:
    """Return whether a document is the query's text, with or without a title before it."""
    if document is None:
        return False
    query, document = (clean_text(text).casefold() for text in (query, document))
    return document == query or document.endswith(f" {query}")


def _collect_grades(
    files: RetrievalFiles, judgements: Sequence[Judgement], queries: Collection[str], docs: Collection[str]
) -> Grades:
    """Return the grades of known documents for known queries.

    Raises:
        KitError: For two grades of one document for one query, or if most judgements are of unknown ids.
    """
    grades: Grades = {}
    for judgement in judgements:
        query, document, grade = judgement.query, judgement.document, judgement.grade
        if query not in queries or document not in docs:
            continue
        earlier = grades.setdefault(query, {}).setdefault(document, grade)
        if earlier != grade:
            raise KitError(
                f"{files.qrels}, line {judgement.line}: the document {document!r} has the grade {grade:g} for the "
                f"query {query!r}, and {earlier:g} in an earlier line. Keep one of the two."
            )
    unknown_queries = [judgement.query for judgement in judgements if judgement.query not in queries]
    unknown_docs = [judgement.document for judgement in judgements if judgement.document not in docs]
    total = len(judgements)
    _report_unknown(files.qrels, unknown_queries, total, f"queries that are not in {files.queries.name}")
    _report_unknown(files.qrels, unknown_docs, total, f"documents that are not in {files.docs.name}")
    return grades


def _report_unknown(qrels: Path, ids: Sequence[str], total: int, role: str) -> None:
    """Log how many judgements are skipped.

    Raises:
        KitError: If they are more than half.
    """
    if not ids:
        return
    distinct = list(dict.fromkeys(ids))
    shown = ", ".join(distinct[:_SHOWN_IDS]) + ", ..." * (len(distinct) > _SHOWN_IDS)
    count = f"{qrels}: {len(ids):,} of {total:,} judgements name {role} ({shown:.200})"
    if 2 * len(ids) > total:
        raise KitError(f"{count}. Check that the files belong together.")
    logger.warning("%s: skipped.", count)
