"""Evaluation data: every layout and format means the same task; what is wrong or left out is said with its place."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from tests.tiny import make_sentences
from tsdae_kit import KitError
from tsdae_kit.config.fields import flag
from tsdae_kit.config.settings import EvaluateSettings, ReadingSettings
from tsdae_kit.corpus.files import is_evaluation_data
from tsdae_kit.evaluation.bm25 import score_with_bm25
from tsdae_kit.evaluation.loading import read_tasks
from tsdae_kit.evaluation.metrics import score
from tsdae_kit.evaluation.ranking_metrics import measure_ranking
from tsdae_kit.evaluation.scoring import score_task
from tsdae_kit.evaluation.tasks import Pairs, Reranking, Retrieval, Task
from tsdae_kit.evaluation.validation_sets import ValidationSet, read_validation_set

SENTENCES = make_sentences(30)
DOCS = [{"_id": f"d{i}", "title": "On sleep" if i % 2 else "", "text": text} for i, text in enumerate(SENTENCES)]
QUERIES = [{"_id": f"q{i}", "text": text} for i, text in enumerate(SENTENCES[:10])]
JUDGED = [(f"q{i}", f"d{(3 * i + j) % 30}", j) for i in range(6) for j in range(3)]  # q6 to q9 are of another split
EXPECTED = Retrieval(
    "field retrieval",
    queries=tuple(SENTENCES[:6]),
    docs=tuple(f"On sleep {text}" if i % 2 else text for i, text in enumerate(SENTENCES)),
    grades=tuple({(3 * i + j) % 30: j for j in range(3)} for i in range(6)),
)


def write(name: str, text: str, encoding: str = "utf-8") -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = text.encode(encoding)
    path.write_bytes(gzip.compress(content) if path.suffix.lower() == ".gz" else content)


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def tabbed(rows: list[tuple[Any, ...]], by: str = "\t") -> str:
    return "".join(by.join(map(str, row)) + "\n" for row in rows)


@pytest.fixture
def beir() -> None:
    """Lay out a folder as BEIR does."""
    write("field/corpus.jsonl", lines(DOCS))
    write("field/queries.jsonl", lines(QUERIES))
    header = ("query-id", "corpus-id", "score")
    write("field/qrels/test.tsv", tabbed([header, *JUDGED]))
    write("field/qrels/dev.tsv", tabbed([header, ("q7", "d1", 1)]))
    write("field/qrels/train.tsv", tabbed([header, ("q8", "d1", 1)]))


@pytest.mark.usefixtures("beir")
def test_beirs_layout_is_read_and_only_the_splits_judged_queries_are_scored() -> None:
    assert read_tasks("field", "test") == [EXPECTED]
    (dev,) = read_tasks("field", "dev")
    assert isinstance(dev, Retrieval)
    assert dev.queries == (SENTENCES[7],)
    assert read_validation_set("field").split == "dev"
    Path("field/qrels/dev.tsv").unlink()
    assert read_validation_set("field").split == "test"
    Path("field/qrels/test.tsv").unlink()
    with pytest.raises(KitError, match=r"for split test \(it holds: corpus.jsonl, qrels/train.tsv, queries.jsonl\)"):
        read_tasks("field", "test")


def as_csv(rows: list[dict[str, Any]]) -> str:
    quoted = [",".join('"' + str(value).replace('"', '""') + '"' for value in row.values()) for row in rows]
    return "\n".join([",".join(rows[0]), *quoted]) + "\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("docs.jsonl", lines(DOCS)),
        ("docs.jsonl.gz", lines(DOCS)),
        ("DOCS.JSONL", lines(DOCS)),
        ("corpus.json", json.dumps(DOCS)),
        ("docs.csv", as_csv(DOCS)),
        ("docs.tsv", tabbed([("Doc-ID", "Title", "Text"), *[tuple(row.values()) for row in DOCS]])),
        (
            "docs.jsonl",
            lines([{"doc_id": row["_id"], "text": row["text"], "title": row["title"] or None} for row in DOCS]),
        ),
    ],
)
@pytest.mark.usefixtures("beir")
def test_documents_and_queries_are_read_in_every_format(name: str, content: str) -> None:
    Path("field/corpus.jsonl").unlink()
    write(f"field/{name}", content)
    assert read_tasks("field", "test") == [EXPECTED]


@pytest.mark.usefixtures("beir")
def test_parquet_files_with_numbers_as_ids_are_read() -> None:
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        Path("field", name).unlink()
    docs = [{**row, "_id": 100 + int(row["_id"][1:])} for row in DOCS]
    parquet.write_table(pa.Table.from_pylist(docs), "field/corpus.parquet")
    queries = pa.table({"query_id": pa.array([float(row["_id"][1:]) for row in QUERIES]),
                        "query": pa.array([row["text"] for row in QUERIES]).dictionary_encode()})  # fmt: skip
    parquet.write_table(queries, "field/queries.parquet")
    judged = [
        {"query-id": int(query[1:]), "corpus-id": 100 + int(doc[1:]), "score": grade} for query, doc, grade in JUDGED
    ]
    parquet.write_table(pa.Table.from_pylist(judged), "field/qrels/test.parquet")
    assert read_tasks("field", "test") == [EXPECTED]


TREC = [(query, 0, doc, grade) for query, doc, grade in JUDGED]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("qrels.tsv", tabbed(JUDGED)),
        ("qrels.tsv", tabbed([("query-id", "corpus-id", "score"), *JUDGED])),
        ("qrels.tsv", tabbed([("Score", "docid", "QID"), *[(grade, doc, query) for query, doc, grade in JUDGED]])),
        ("qrels.tsv", tabbed([(query, doc, f"{grade}.0") for query, doc, grade in JUDGED])),
        ("qrels.tsv", tabbed([*JUDGED, JUDGED[0]])),
        ("qrels.csv", tabbed([("query_id", "doc_id", "relevance"), *JUDGED], ",")),
        ("qrels.tsv", tabbed(TREC)),
        ("qrels.tsv", tabbed(TREC, " ")),
        ("qrels.txt", tabbed(TREC, "  ")),
        ("qrels.txt", "\ufeff" + tabbed(TREC).replace("\n", " \r\n")),
        ("test.qrels", tabbed(TREC, " ") + "\n"),
        ("qrels.jsonl", lines([{"qid": query, "did": 1, "docid": doc, "rel": grade} for query, doc, grade in JUDGED])),
    ],
)
@pytest.mark.usefixtures("beir")
def test_judgements_are_read_as_beir_trec_and_we_write_them(
    name: str, content: str, messages: Callable[[], str]
) -> None:
    write(f"field/{name}", content)
    assert read_tasks("field", "test") == [EXPECTED]
    assert f"field/{name} is read; ignored: qrels/test.tsv" in messages()


@pytest.mark.usefixtures("beir")
def test_docs_win_over_corpus_and_it_is_said(messages: Callable[[], str]) -> None:
    write("field/docs.jsonl", lines([*DOCS[:29], {"_id": "d29", "text": "another"}]))
    (task,) = read_tasks("field", "test")
    assert isinstance(task, Retrieval)
    assert task.docs[29] == "another"
    assert "field/docs.jsonl is read; ignored: field/corpus.jsonl." in messages()


def test_grades_between_whole_numbers_are_gains_as_they_are() -> None:
    found = measure_ranking([0, 1, 2], {0: 0.5, 2: 2.0})
    assert found["nDCG@10"] == pytest.approx((0.5 + 2 / 2) / (2 + 0.5 / 1.584962500721156))


@pytest.mark.usefixtures("beir")
def test_judgements_of_unknown_ids_are_counted_together_and_most_are_refused(messages: Callable[[], str]) -> None:
    strange = [("q0", f"x{i}", 1) for i in range(5)] + [("z1", "d1", 1), ("z1", "d2", 1)]
    write("field/qrels.tsv", tabbed([*JUDGED, *strange]))
    assert read_tasks("field", "test") == [EXPECTED]
    assert (
        "field/qrels.tsv: 5 of 25 judgements name documents that are not in corpus.jsonl (x0, x1, x2, ...): "
        in messages()
    )
    assert "field/qrels.tsv: 2 of 25 judgements name queries that are not in queries.jsonl (z1): skipped." in messages()
    write("field/qrels.tsv", tabbed([(query, f"doc{doc}", grade) for query, doc, grade in JUDGED]))
    with pytest.raises(KitError, match=r"18 of 18 judgements name documents that are not in corpus.jsonl \(docd0, "):
        read_tasks("field", "test")


@pytest.mark.usefixtures("beir")
def test_an_id_may_be_repeated_with_its_text_alone(messages: Callable[[], str]) -> None:
    write("field/corpus.jsonl", lines([*DOCS, DOCS[3]]))
    assert read_tasks("field", "test") == [EXPECTED]
    assert "corpus.jsonl: 1 lines repeat an id and its text; each is read once." in messages()
    write("field/corpus.jsonl", lines([*DOCS, {**DOCS[3], "text": "another"}]))
    with pytest.raises(KitError, match=r"corpus.jsonl, line 31: the id 'd3' already has another text"):
        read_tasks("field", "test")


@pytest.mark.usefixtures("beir")
def test_queries_without_a_relevant_document_or_a_text_are_counted(messages: Callable[[], str]) -> None:
    write("field/qrels.tsv", tabbed([*JUDGED, ("q7", "d1", 0), ("q8", "d1", 1)]))
    write("field/queries.jsonl", lines([*QUERIES[:8], {"_id": "q8", "text": None}]))
    assert read_tasks("field", "test") == [EXPECTED]
    assert "2 of 8 judged queries have no relevant document or no text and are skipped" in messages()


def test_a_document_that_is_the_query_is_left_out_of_its_ranking(messages: Callable[[], str]) -> None:
    """As in BEIR (ArguAna, Quora), where it would be the first of every ranking; equal ids alone mean nothing."""
    texts = ["the cat sat here", "the cat ran", "a dog sat", "fish swim"]
    write(
        "f/corpus.jsonl",
        lines([{"_id": i, "title": "On pets" * (i == 0), "text": text} for i, text in enumerate(texts)]),
    )
    write("f/queries.jsonl", lines([{"_id": 0, "text": "The cat  sat here"}, {"_id": 1, "text": "the dog"},
                                    {"_id": 3, "text": "fish swim"}]))  # fmt: skip
    write("f/qrels/test.tsv", tabbed([("query-id", "corpus-id", "score"), (0, 1, 1), (1, 2, 1), (3, 3, 1)]))
    (task,) = read_tasks("f", "test")
    assert isinstance(task, Retrieval)
    assert task.identical_docs == (0, -1, -1)  # the third is judged to be relevant to itself
    assert "f retrieval: 1 of 3 queries are also documents" in messages()
    vectors = {text: torch.eye(4)[i] for i, text in enumerate(task.docs)}
    vectors |= {"The cat  sat here": torch.tensor([0.9, 0.4, 0.1, 0.0]), "the dog": torch.tensor([0.0, 0.1, 0.9, 0.0])}
    found = score_task(task, lambda texts, role: torch.stack([vectors[text] for text in texts]))
    assert {name: score(metric) for name, metric in found.items()} == dict.fromkeys(task.metric_names, 100)
    by_words = score_with_bm25(task)
    assert by_words is not None
    assert score(by_words["MRR@10"]) == 100
    no_identical_docs = Retrieval(task.name, task.queries, task.docs, task.grades)
    assert ValidationSet("f", "test", (task,)).digest != ValidationSet("f", "test", (no_identical_docs,)).digest


@pytest.mark.parametrize(
    ("task", "digest"),
    [
        (
            Retrieval("f retrieval", ("a", "b"), ("a", "c d"), ({1: 1}, {0: 0.5, 1: 2}), identical_docs=(0, -1)),
            "81c0b80b92f76d8a6338f5c7a128ce30",
        ),
        (
            Reranking("f reranking", ("q",), (("a",),), (("b", "c"),)),
            "b457333700d751ac5d0f5af2ef6ba8b5",
        ),
        (Pairs("f pairs", ("a", "it's"), ("b", "ü"), (0.5, 2.0)), "cf0e3b9e48adb37fd08a7cf31ef0b2a5"),
    ],
)
def test_digests_are_those_in_the_records_of_earlier_runs(task: Task, digest: str) -> None:
    """Computed before the classes were renamed: with another digest a run could not be resumed."""
    assert ValidationSet(f"f {task.metric_names[0]}", "dev", (task,)).digest == digest


LISTS = [{"query": SENTENCES[i], "positive": SENTENCES[10:12], "negative": SENTENCES[20:24]} for i in range(4)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rerank.jsonl", lines(LISTS)),
        ("rerank.json", json.dumps(LISTS)),
        (
            "RERANK.JSONL.gz",
            lines([{"pos": row["positive"], "neg": row["negative"], "Query": row["query"]} for row in LISTS]),
        ),
    ],
)
def test_reranking_lists_are_read_in_every_format(name: str, content: str) -> None:
    write(f"field/{name}", content)
    (task,) = read_tasks("field", "test")
    assert isinstance(task, Reranking)
    assert task.queries == tuple(SENTENCES[:4])
    assert task.negatives == (tuple(SENTENCES[20:24]),) * 4


def test_rows_without_a_positive_or_negative_are_counted(messages: Callable[[], str]) -> None:
    write("field/rerank.jsonl", lines([*LISTS, {"query": "a", "positive": [], "negative": ["b"]}]))
    read_tasks("field", "test")
    assert "rerank.jsonl: 1 of 5 rows lack a query, a positive or a negative and are skipped." in messages()


PAIRS = [(i % 2, SENTENCES[i], SENTENCES[i + 1]) for i in range(8)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pairs_test.tsv", tabbed(PAIRS)),
        ("pairs_test.tsv", tabbed([("score", "text1", "text2"), *PAIRS])),
        ("pairs_test.tsv", tabbed([("sentence1", "sentence2", "Label"), *[(a, b, s) for s, a, b in PAIRS]])),
        ("Pairs_Test.TSV.gz", tabbed(PAIRS)),
        ("pairs-test.csv", as_csv([{"id": i, "question1": a, "question2": b, "is_duplicate": bool(s)}
                                   for i, (s, a, b) in enumerate(PAIRS)])),
        ("pairs_test.jsonl", lines([{"text2": b, "score": s, "text1": a, "lang": "en"} for s, a, b in PAIRS])),
        ("pairs_test.tsv", tabbed([*PAIRS, (1, "a", " ")])),
    ],
)  # fmt: skip
def test_pairs_are_read_in_every_format_and_by_their_header(name: str, content: str) -> None:
    write(f"field/{name}", content)
    (task,) = read_tasks("field", "test")
    scores, first, second = zip(*PAIRS, strict=True)
    assert (task.first, task.second, task.gold) == (first, second, scores)  # type: ignore[union-attr]
    assert task.name == "field pairs"
    (alone,) = read_tasks(f"field/{name}", "test")
    assert isinstance(alone, Pairs)
    assert alone.gold == scores
    Path(f"field/{name}").rename(f"field/{name.replace('-', '_').lower().replace('pairs_test', 'sts')}")
    (alone,) = read_tasks(f"field/{name.replace('-', '_').lower().replace('pairs_test', 'sts')}", "test")
    assert isinstance(alone, Pairs)


NLI = [{"premise": SENTENCES[i], "hypothesis": SENTENCES[i + 1], "label": i % 3} for i in range(6)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("nli.jsonl", lines(NLI)),
        ("nli.jsonl", lines([*NLI, {**NLI[0], "label": -1}])),
        ("pairs_test.csv", as_csv(NLI)),
        ("nli.tsv", tabbed([("Gold Label", "text1", "text2"), (2, "a", "b"), (0, "c", "d")])),
    ],
)
def test_classes_are_no_scores(name: str, content: str) -> None:
    """By NLI's numbers a contradiction would be the closest pair."""
    write(f"field/{name}", content)
    with pytest.raises(
        KitError, match=r"holds (-1, )?0, (1, )?2, which may be the classes of NLI .* call the column score"
    ) as raised:
        read_tasks(f"field/{name}", "test")
    check_advice(str(raised.value))


def test_whole_numbers_called_a_score_are_scores() -> None:
    write(
        "field/sts.jsonl",
        lines([{"text1": row["premise"], "text2": row["hypothesis"], "score": row["label"]} for row in NLI]),
    )
    (task,) = read_tasks("field/sts.jsonl", "test")
    assert isinstance(task, Pairs)
    assert task.gold == (0, 1, 2, 0, 1, 2)


def test_row_numbers_are_no_scores() -> None:
    write("field/pairs_test.tsv", tabbed([(10 + i, SENTENCES[i], SENTENCES[i + 1]) for i in range(4)]))
    with pytest.raises(KitError, match=r"pairs_test.tsv: the first column holds a different whole number in each row"):
        read_tasks("field", "test")
    for scores in ((10, 10, 30), (0, 3, 5), (0.5, 20, 30), (7, 9)):
        write("field/pairs_test.tsv", tabbed([(score, "a", "b") for score in scores]))
        (task,) = read_tasks("field", "test")
        assert isinstance(task, Pairs)
        assert task.gold == scores


@pytest.mark.usefixtures("beir")
@pytest.mark.parametrize("name", ["Text", "TEXT"])
def test_the_column_called_just_so_is_read(name: str) -> None:
    write("field/corpus.jsonl", lines([{name: "another", **row} for row in DOCS]))
    assert read_tasks("field", "test") == [EXPECTED]
    write("field/corpus.jsonl", lines([{"Text": "a", "TEXT": "b", "_id": row["_id"]} for row in DOCS]))
    with pytest.raises(KitError, match=r"line 1: the columns 'Text' and 'TEXT' have one name. Rename all but one"):
        read_tasks("field", "test")


@pytest.mark.usefixtures("beir")
@pytest.mark.parametrize("other", ["id", "ID", "doc_id"])
def test_of_two_columns_of_ids_the_judged_one_is_read(other: str) -> None:
    for rows in (
        [{other: 1000 + i, **row} for i, row in enumerate(DOCS)],
        [{**row, other: 1000 + i} for i, row in enumerate(DOCS)],
        [
            {**{key: value for key, value in row.items() if key != "_id"}, "_id": None, other: row["_id"]}
            for row in DOCS
        ],
    ):
        write("field/corpus.jsonl", lines(rows))
        assert read_tasks("field", "test") == [EXPECTED]
    write("field/corpus.jsonl", lines([{**row, other: row["_id"]} for row in DOCS]))
    assert read_tasks("field", "test") == [EXPECTED]
    ids = [row["_id"] for row in DOCS]
    write("field/corpus.jsonl", lines([{**row, other: key} for row, key in zip(DOCS, reversed(ids), strict=True)]))
    with pytest.raises(KitError, match=rf"corpus.jsonl: the ids may be in '_id' or '{other}': each matches"):
        read_tasks("field", "test")


@pytest.mark.parametrize(
    "names", [("text", "text_pair", "score"), ("text", "text_pair", "Label"), ("text", "body", "y")]
)
def test_text_and_another_with_a_score_are_a_pair(names: tuple[str, ...]) -> None:
    write("field/x.jsonl", lines([dict(zip(names, (a, b, s), strict=True)) for s, a, b in PAIRS]))
    (task,) = read_tasks("field/x.jsonl", "test")
    assert isinstance(task, Pairs)
    assert (task.gold, task.first, task.second) == tuple(zip(*PAIRS, strict=True))


def test_a_score_beside_one_text_is_refused() -> None:
    write("field/x.csv", as_csv([{"text": text, "label": i % 2} for i, text in enumerate(SENTENCES[:8])]))
    with pytest.raises(
        KitError, match=r"one must hold the score and two the texts\. Call them score, text1 and text2\."
    ):
        read_tasks("field/x.csv", "test")


def test_an_empty_positive_or_negative_is_none(messages: Callable[[], str]) -> None:
    rows = [{"query": "q", "pos": ["", " "], "neg": ["b"]}, {"query": "q", "pos": ["a", ""], "neg": ["b"]}]
    write("field/rerank.jsonl", lines([*rows, {"query": "q", "pos": ["a"], "neg": [""]}]))
    (task,) = read_tasks("field", "test")
    assert isinstance(task, Reranking)
    assert (task.positives, task.negatives) == ((("a",),), (("b",),))
    assert "2 of 3 rows lack a query, a positive or a negative" in messages()
    assert "rerank.jsonl: 1 positives or negatives are empty and are skipped." in messages()


def test_a_corpus_in_tsv_is_refused_because_it_holds_no_labels() -> None:
    texts = [(f"d{i}", f"{text} And it goes on for a while.") for i, text in enumerate(SENTENCES[:20])]
    write("field/c.tsv", tabbed([("id", "text"), *texts]))
    with pytest.raises(KitError, match=r"^field/c.tsv holds no labelled data"):
        read_tasks("field/c.tsv", "test")


@pytest.mark.usefixtures("beir")
def test_half_an_emoji_becomes_the_replacement_character() -> None:
    """JSON may spell a lone surrogate, which is no text: a tokenizer refuses it."""
    write("field/queries.jsonl", lines([{**row, "text": "fever \ud83d"} for row in QUERIES]))
    write("field/corpus.jsonl", lines([{**row, "title": "", "text": "\ude00 rash"} for row in DOCS]))
    write("field/rerank.jsonl", lines([{"query": "a \ud83d", "positive": ["b \ud83d"], "negative": ["c \ud83d"]}]))
    write("field/pairs_test.json", json.dumps([{"text1": "a \ud83d", "text2": "b", "score": i} for i in range(2)]))
    search, lists, pairs = read_tasks("field", "test")
    assert isinstance(search, Retrieval)
    assert isinstance(lists, Reranking)
    assert isinstance(pairs, Pairs)
    assert (set(search.queries), set(search.docs)) == ({"fever \ufffd"}, {"\ufffd rash"})
    assert (lists.queries, lists.positives, lists.negatives) == (("a \ufffd",), (("b \ufffd",),), (("c \ufffd",),))
    assert pairs.first == ("a \ufffd", "a \ufffd")


TEST_DATA = ["qrels.tsv", "QRELS-dev.txt", "test_qrels.tsv", "qrels/dev.tsv", "test.qrels", "Rerank_dev.json.gz",
             "pairs_test.csv", "de_pairs_test.tsv", "pairs-pit.dev.jsonl", "queries_dev.csv"]  # fmt: skip


@pytest.mark.parametrize("name", TEST_DATA)
def test_what_evaluate_reads_is_no_corpus_for_prepare(name: str) -> None:
    write("field/docs.jsonl", lines([{"id": "d1", "text": SENTENCES[0]}]))
    write(f"field/{name}", "a\tb\tc\n")
    assert is_evaluation_data(Path("field", name))
    assert not is_evaluation_data(Path("field/docs.jsonl"))


def test_names_of_pairs_say_what_they_said() -> None:
    for name in ("pairs_2014_deft-forum_test.tsv", "de_pairs_test.tsv", "pairs_test_decided.tsv"):
        write(f"field/{name}", tabbed(PAIRS))
    assert [task.name for task in read_tasks("field", "test")] == [
        "field pairs de", "field pairs 2014 deft-forum", "field pairs decided"
    ]  # fmt: skip


@pytest.mark.usefixtures("beir")
def test_quoted_fields_are_read_where_the_setting_says_so() -> None:
    write(
        "field/qrels.tsv", tabbed([tuple(f'"{cell}"' for cell in row) for row in [("qid", "docid", "score"), *JUDGED]])
    )
    assert read_tasks("field", "test", ReadingSettings(quoting="quotes")) == [EXPECTED]


@pytest.mark.parametrize(("encoding", "reading"), [("latin-1", {"encoding": "latin-1"}), ("utf-16", {}),
                                                   ("latin-1", {"encoding_errors": "replace"})])  # fmt: skip
@pytest.mark.usefixtures("beir")
def test_encodings_mean_what_they_mean_in_prepare(encoding: str, reading: dict[str, Any]) -> None:
    write("field/queries.jsonl", json.dumps({"_id": "q7", "text": "größer"}, ensure_ascii=False), encoding)
    (task,) = read_tasks("field", "dev", ReadingSettings(**reading))
    assert isinstance(task, Retrieval)
    assert task.queries == (("gr��er" if "encoding_errors" in reading else "größer"),)
    if encoding == "latin-1":
        with pytest.raises(KitError, match=r"queries.jsonl, line 1: the byte 0xf6 is not UTF-8"):
            read_tasks("field", "dev")


BROKEN: list[tuple[str, str, str]] = [
    ("corpus.jsonl", lines([{"_id": "d0", "text": ["a"]}]), r"line 1: the column 'text' holds a list, not text"),
    ("corpus.jsonl", lines([{"_id": "d0", "text": 5}]), r"line 1: the column 'text' holds a number, not text"),
    ("corpus.jsonl", lines([{"_id": "d0", "title": {"a": 1}, "text": "b"}]), r"line 1: the column 'title' holds"),
    ("corpus.jsonl", lines([{"_id": ["d0"], "text": "b"}]), r"line 1: the id is a list"),
    ("corpus.jsonl", lines([{"_id": None, "text": "b"}]), r"line 1: the id is nothing"),
    ("corpus.jsonl", lines([{"text": "b"}]), r"line 1: id missing"),
    ("corpus.jsonl", '["a"]', r"line 1: id missing \(columns: text\)"),
    ("queries.jsonl", lines([{"_id": "q0", "text": True}]), r"line 1: the column 'text' holds true or false"),
    ("queries.jsonl", "[{]", r"line 1: no JSON"),
    ("queries.jsonl", "5\n", r"line 1: it holds a number, not an object"),
    ("queries.csv", "id,text,text\n1,a,b\n", r"queries.csv: 2 columns are called 'text'"),
    ("queries.parquet", "PAR1 no", r"queries.parquet, after row 0"),
    ("queries.jsonl.gz", "", r"40 of 40|18 of 18 judgements name queries"),
    ("qrels.tsv", "q0\td0\n", r"qrels.tsv, line 1: 2 columns instead of 3"),
    ("qrels.tsv", "q0 0 d0 1 run\n", r"qrels.tsv, line 1: 5 columns instead of 3"),
    ("qrels.txt", "q0 0 d0 1\nq0 d0 1\n", r"qrels.txt, line 2: 3 columns instead of 4"),
    ("qrels.tsv", "query-id\tdoc\nq0\td0\n", r"qrels.tsv, line 1: grade missing \(columns: query-id, doc\)"),
    ("qrels.tsv", "q0\td0\tnan\n", r"line 1: the grade 'nan' is not a number"),
    ("qrels.tsv", "q0\td0\tgood\n", r"line 1: the grade 'good' is not a number"),
    ("qrels.tsv", '"q0"\t"d0"\t"1"\n',
     r"the grade '\"1\"' is not a number. If quotation marks enclose the fields, pass"),
    ("qrels.tsv", "", r"qrels.tsv marks no document as relevant"),
    ("qrels.json", '{"q0": {"d0": 1}}', r"line 1: query id, document id, grade missing"),
    ("qrels.jsonl", '{"qid": "q0", "docid": "d0", "score": [1]}', r"line 1: the grade a list is not a number"),
    ("rerank.jsonl", lines([{"query": "a", "positive": ["b"], "negative": [1]}]), r"line 1: positive and"),
    ("rerank.jsonl", lines([{"query": 1, "positive": ["b"], "negative": ["c"]}]), r"line 1: the column 'query' holds"),
    ("rerank.jsonl", lines([{"query": "a", "positive": ["b"]}]), r"line 1: negative missing"),
    ("rerank.csv", "query,positive,negative\na,b,c\n", r"line 2: positive and negative must be lists"),
    ("pairs_test.tsv", "a\tb\n", r"line 1: 2 columns instead of 3"),
    ("pairs_test.tsv", "a\tb\tc\n", r"line 1: the score 'a' is not a number"),
    ("pairs_test.tsv", "text1\ttext2\tscore\tlabel\na\tb\t1\t2\n", r"line 1: of the columns \(text1, text2, sc"),
    ("pairs_test.jsonl", lines([{"score": 1, "text1": "a", "text2": ["b"]}]), r"line 1: the column .* holds a list"),
    ("pairs_test.jsonl", lines([{"score": None, "text1": "a", "text2": "b"}]),
     r"line 1: the score nothing is not a number"),
    ("pairs_test.jsonl", '{"score": NaN, "text1": "a", "text2": "b"}', r"line 1: the score nan is not a number"),
    ("pairs_test.tsv", "1\ta\tb\n", r"fewer than two different scores"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "expected"), BROKEN)
@pytest.mark.usefixtures("beir")
def test_what_is_wrong_in_a_file_is_one_line_with_its_place(name: str, content: str, expected: str) -> None:
    if name.startswith(("corpus", "queries")):
        Path("field", name.partition(".")[0] + ".jsonl").unlink()
    write(f"field/{name}", content)
    with pytest.raises(KitError, match=expected) as raised:
        read_tasks("field", "test")
    check_advice(str(raised.value))


def check_advice(message: str) -> None:
    """Check that an error is one line and advises flags of ``evaluate`` alone (``--column`` is one of ``prepare``)."""
    assert "\n" not in message
    assert set(re.findall(r"--[a-z-]+", message)) <= {flag(entry.name) for entry in fields(EvaluateSettings)}


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", "body,id\nb,1\n", "a.csv holds no labelled data"),
        ("a.jsonl", '{"text": [1]}\n', "a.jsonl holds no labelled data"),
        ("qrels.tsv", "q0\td0\t1\n", "qrels.tsv is one file of several. Name their folder: --data field"),
    ],
)
def test_a_file_without_labels_is_refused_by_flags_that_evaluate_has(name: str, content: str, expected: str) -> None:
    write(f"field/{name}", content)
    with pytest.raises(KitError, match=expected) as raised:
        read_tasks(f"field/{name}", "test")
    check_advice(str(raised.value))


NAMES = ["corpus.jsonl", "corpus.json", "docs.csv", "queries.jsonl", "queries.tsv", "qrels.tsv", "qrels.txt",
         "qrels.csv", "qrels/test.tsv", "rerank.jsonl", "rerank.json", "pairs_test.tsv", "pairs_test.csv",
         "pairs_test.jsonl", "docs.parquet", "queries.jsonl.gz"]  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["d1", "q1", "1"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "text"]), inner, max_size=2),
    max_leaves=4,
)
KEYS = st.sampled_from(["id", "_id", "text", "title", "query", "positive", "negative", "score", "text1", "text2",
                        "query-id", "corpus-id", "label"])  # fmt: skip
CONTENTS = (
    st.binary(max_size=40)
    | st.lists(st.dictionaries(KEYS, VALUES, max_size=5), max_size=4).map(lambda rows: lines(rows).encode())
    | st.lists(st.dictionaries(KEYS, VALUES, max_size=5), max_size=4).map(lambda rows: json.dumps(rows).encode())
    | st.lists(
        st.lists(KEYS | st.sampled_from(["q1", "d1", "0", "1", "0.5", "nan", '"', "a b", ""]), max_size=5), max_size=4
    ).map(lambda rows: tabbed([tuple(row) for row in rows]).encode())
)


@given(st.sampled_from(NAMES), CONTENTS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_content_is_read_or_refused_in_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    folder = tmp_path / "any"
    for known, rows in (
        ("corpus.jsonl", lines(DOCS)),
        ("queries.jsonl", lines(QUERIES)),
        ("qrels/test.tsv", tabbed(JUDGED)),
    ):
        if known.partition(".")[0] != name.partition(".")[0]:
            write(str(folder / known), rows)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    tasks: list[Task] = []
    try:
        tasks = read_tasks(str(folder), "test")
        tasks += read_tasks(str(folder / name), "test")
    except KitError as error:
        check_advice(str(error))
    finally:
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    for task in tasks:
        texts = task.first if isinstance(task, Pairs) else task.queries
        assert all(isinstance(text, str) and text.strip() for text in texts)
