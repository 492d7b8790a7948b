"""Reads evaluation data: a folder with queries and judgements, reranking lists, pairs, or several of these.

The layouts are the README's. What the files say of each other is checked here: a judgement of what is not there is
left out and counted, a file that belongs to other data is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from pathlib import Path

from tsdae_kit.config.settings import ReadingSettings
from tsdae_kit.corpus.cleaning import clean_text
from tsdae_kit.corpus.files import is_evaluation_data, kind_of, stem_of
from tsdae_kit.corpus.formats import Format
from tsdae_kit.corpus.prepared_folder import read_manifest
from tsdae_kit.errors import KitError
from tsdae_kit.evaluation.layouts import SearchFiles, describe_layouts, find_layout, list_folder, pairs_name
from tsdae_kit.evaluation.proxy_tasks import make_proxies
from tsdae_kit.evaluation.row_parsing import (
    Judgement,
    holds_pairs,
    holds_texts,
    read_documents,
    read_judgements,
    read_lists,
    read_pairs,
    read_queries,
)
from tsdae_kit.evaluation.tasks import Pairs, Reranking, Retrieval, Task

logger = logging.getLogger("tsdae_kit")
UTF8 = ReadingSettings()
_SHOWN = 3  # ids in a message
Grades = dict[str, dict[str, float]]


def read_tasks(name: str, split: str, reading: ReadingSettings = UTF8) -> list[Task]:
    """Return everything to score that a folder or a file holds.

    Args:
        name: A folder of evaluation data or of prepared pairs, a file of pairs, or a text file.
        split: ``test`` or ``dev``.
        reading: How the files are written.

    Raises:
        KitError: If there is nothing, naming what there is; or if a file is not as it should be.
    """
    path, form = Path(name), Format.of(reading)
    if not path.exists():
        raise KitError(
            f"The evaluation data {name} does not exist. Name a folder that holds {describe_layouts(split)}."
        )
    if path.is_file():
        return _read_file(path, form)
    if read_manifest(path) is not None:
        return list(make_proxies(path, form))
    label, layout = path.resolve().name, find_layout(path, split)
    tasks: list[Task] = []
    if layout.search:
        tasks.append(_read_retrieval(layout.search, f"{label} retrieval", form))
    if layout.rerank:
        tasks.append(_read_reranking(layout.rerank, f"{label} reranking", form))
    tasks += [_read_pairs(file, f"{label} {pairs_name(file, split)}", form) for file in layout.pairs]
    if not tasks:
        advice = f"For split {split} it should hold {describe_layouts(split)}"
        if (path / "corpus.txt").exists():
            advice += f"; without labels, name the text: --data {path / 'corpus.txt'}"
        raise KitError(
            f"{name} holds no evaluation data for split {split} (it holds: {list_folder(path):.300}). {advice}."
        )
    return tasks


def holds_split(path: Path, split: str) -> bool:
    """Return whether a folder has files of the split."""
    return path.is_dir() and not find_layout(path, split).is_empty


def _read_file(path: Path, form: Format) -> list[Task]:
    label = f"{path.resolve().parent.name}/{path.name}"
    parts = stem_of(path).replace("-", "_").split("_")
    if "rerank" in parts:
        return [_read_reranking(path, label, form)]
    are_pairs = kind_of(path) == "tsv" and not is_evaluation_data(path) and not holds_texts(path, form)
    if "pairs" in parts or are_pairs or holds_pairs(path, form):
        return [_read_pairs(path, label, form)]
    if is_evaluation_data(path):
        raise KitError(f"{path} is one file of several. Name their folder: --data {path.parent}.")
    return list(make_proxies(path, form))


def _read_retrieval(files: SearchFiles, name: str, form: Format) -> Retrieval:
    judgements = list(read_judgements(files.qrels, form))
    queries = read_queries(files.queries, form, {query for _, query, _, _ in judgements})
    docs = read_documents(files.docs, form, {document for _, _, document, _ in judgements})
    grades = _collect_grades(files, judgements, queries, docs)
    relevant = {query: judged for query, judged in grades.items() if any(grade > 0 for grade in judged.values())}
    scored = {query: judged for query, judged in relevant.items() if queries[query].strip()}
    if not scored:
        raise KitError(f"{files.qrels} marks no document as relevant. Give some a grade above 0.")
    if len(grades) > len(scored):
        logger.warning("%s: %s of %s judged queries have no relevant document or no text and are left out.",
                       files.qrels, f"{len(grades) - len(scored):,}", f"{len(grades):,}")  # fmt: skip
    numbers = {key: number for number, key in enumerate(docs)}
    itself = tuple(
        numbers[query] if judged.get(query, 0) <= 0 and _is_same(queries[query], docs.get(query)) else -1
        for query, judged in scored.items()
    )
    own = sum(number >= 0 for number in itself)
    if own:
        logger.info("%s: %s of %s queries are documents themselves (the same id and text); each is left out of its own "
                    "ranking, as in BEIR.", name, f"{own:,}", f"{len(scored):,}")  # fmt: skip
    return Retrieval(
        name,
        queries=tuple(queries[query] for query in scored),
        docs=tuple(docs.values()),
        grades=tuple({numbers[key]: grade for key, grade in judged.items()} for judged in scored.values()),
        itself=itself if own else (),
    )


def _is_same(query: str, document: str | None) -> bool:
    """Return whether a document is the query's text, with or without a title before it."""
    if document is None:
        return False
    query, document = (clean_text(text).casefold() for text in (query, document))
    return document == query or document.endswith(f" {query}")


def _collect_grades(
    files: SearchFiles, judgements: Sequence[Judgement], queries: Collection[str], docs: Collection[str]
) -> Grades:
    """Return the grades by query and document; what names something unknown is left out and counted."""
    grades: Grades = {}
    strange: list[str] = []
    foreign: list[str] = []
    total = len(judgements)
    for line, query, document, grade in judgements:
        if query not in queries:
            strange.append(query)
        if document not in docs:
            foreign.append(document)
        if query not in queries or document not in docs:
            continue
        if grades.setdefault(query, {}).setdefault(document, grade) != grade:
            before = grades[query][document]
            raise KitError(
                f"{files.qrels}, line {line}: the document {document!r} was judged {before:g} for the query {query!r} "
                f"before, and now {grade:g}. Keep one of the two."
            )
    _say_unknown(files.qrels, strange, total, f"queries that are not in {files.queries.name}")
    _say_unknown(files.qrels, foreign, total, f"documents that are not in {files.docs.name}")
    return grades


def _say_unknown(qrels: Path, ids: Sequence[str], total: int, what: str) -> None:
    """Say how many judgements are left out.

    Raises:
        KitError: If they are more than half: the file belongs to other data.
    """
    if not ids:
        return
    different = list(dict.fromkeys(ids))
    shown = ", ".join(different[:_SHOWN]) + ", ..." * (len(different) > _SHOWN)
    fault = f"{qrels}: {len(ids):,} of {total:,} judgements name {what} ({shown:.200})"
    if 2 * len(ids) > total:
        raise KitError(f"{fault}. Check that the files belong together.")
    logger.warning("%s: left out.", fault)


def _read_reranking(path: Path, name: str, form: Format) -> Reranking:
    found = read_lists(path, form)
    if not found:
        raise KitError(f"{path} holds no query with a positive and a negative. Add some.")
    queries, positives, negatives = zip(*found, strict=True)
    return Reranking(name, queries, positives, negatives)


def _read_pairs(path: Path, name: str, form: Format) -> Pairs:
    found = read_pairs(path, form)
    if len({score for score, _, _ in found}) < 2:
        raise KitError(f"{path} holds fewer than two different scores: nothing to tell apart. Add other pairs.")
    gold, firsts, seconds = zip(*found, strict=True)
    return Pairs(name, firsts, seconds, gold)
