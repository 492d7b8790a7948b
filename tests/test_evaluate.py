"""evaluate: real files in, the scores of the library's own evaluators out, and what is refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import (
    BinaryClassificationEvaluator,
    EmbeddingSimilarityEvaluator,
    InformationRetrievalEvaluator,
    RerankingEvaluator,
)

from tests.tiny import make_sentences
from tsdae_kit import KitError, prepare_corpus, score_models
from tsdae_kit.config.settings import EvaluateSettings
from tsdae_kit.evaluation.loading import read_tasks
from tsdae_kit.evaluation.scoring import Embeddings
from tsdae_kit.evaluation.tasks import Pairs, Retrieval

SENTENCES = make_sentences(80)


def write_lines(path: Path, lines: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))


@pytest.fixture
def data() -> Path:
    """Return a folder with every kind of data, for test and dev; grades are 1, or 0 for a judged bad one."""
    folder = Path("field")
    write_lines(folder / "docs.jsonl", [{"id": f"d{i}", "title": "", "text": t} for i, t in enumerate(SENTENCES[20:])])
    for suffix, first in (("", 0), ("_dev", 10)):
        queries = [{"id": f"q{i}", "text": SENTENCES[first + i]} for i in range(10)]
        write_lines(folder / f"queries{suffix}.jsonl", queries)
        write_lines(folder / f"qrels{suffix}.tsv", [f"q{i}\td{(7 * i + j) % 60}\t{1 if j else 0}" for i in range(10)
                                                    for j in range(4)])  # fmt: skip
        lists = [{"query": SENTENCES[first + i], "positive": SENTENCES[30 + i : 32 + i], "negative": SENTENCES[50:60]}
                 for i in range(10)]  # fmt: skip
        write_lines(folder / f"rerank{suffix}.jsonl", lists)
    pairs = list(zip(SENTENCES[:30], SENTENCES[30:60], strict=True))
    write_lines(folder / "pairs_test.tsv", [f"{i % 2}\t{a}\t{b}" for i, (a, b) in enumerate(pairs)])
    write_lines(folder / "pairs_graded_test.tsv", [f"{i % 5 / 2}\t{a}\t{b}" for i, (a, b) in enumerate(pairs)])
    write_lines(folder / "pairs_dev.tsv", [f"{i % 3}\t{a}\t{b}" for i, (a, b) in enumerate(pairs)])
    return folder


def scores(report: dict[str, Any], model: str) -> dict[tuple[str, str], float]:
    return {(row["task"], row["metric"]): row["score"] for row in report["results"] if row["model"] == model}


def test_scores_are_those_of_the_librarys_evaluators(
    data: Path, tiny_model: Path, load_tiny: Callable[[], SentenceTransformer]
) -> None:
    found = scores(score_models(models=[tiny_model], data=[data], device="cpu"), str(tiny_model))
    model = load_tiny()
    docs = {f"d{i}": text for i, text in enumerate(SENTENCES[20:])}
    relevant = {f"q{i}": {f"d{(7 * i + j) % 60}" for j in range(1, 4)} for i in range(10)}
    known = InformationRetrievalEvaluator(
        {f"q{i}": SENTENCES[i] for i in range(10)}, docs, relevant, map_at_k=[60], precision_recall_at_k=[100],
        write_csv=False,
    )(model)  # fmt: skip
    for own, theirs in (("nDCG@10", "ndcg@10"), ("MRR@10", "mrr@10"), ("recall@100", "recall@100"), ("MAP", "map@60")):
        assert found["field retrieval", own] == pytest.approx(100 * known[f"cosine_{theirs}"], abs=1e-3)
    samples = [json.loads(line) for line in (data / "rerank.jsonl").read_text().splitlines()]
    known = RerankingEvaluator(samples, at_k=10, write_csv=False)(model)
    assert found["field reranking", "MAP"] == pytest.approx(100 * known["map"], abs=1e-3)
    first, second = SENTENCES[:30], SENTENCES[30:60]
    known = BinaryClassificationEvaluator(first, second, [i % 2 for i in range(30)], write_csv=False)(model)
    assert found["field pairs", "AP"] == pytest.approx(100 * known["cosine_ap"], abs=1e-3)
    known = EmbeddingSimilarityEvaluator(first, second, [i % 5 / 2 for i in range(30)], write_csv=False)(model)
    assert found["field pairs graded", "Spearman"] == pytest.approx(100 * known["spearman_cosine"], abs=1e-3)


def make_other(model: SentenceTransformer) -> str:
    """Return a model with other weights: the words' vectors mixed up."""
    with torch.no_grad():
        words = model.transformers_model.get_input_embeddings().weight
        words += 0.5 * torch.randn(words.shape, generator=torch.Generator().manual_seed(0))
    model.save_pretrained("other", create_model_card=False)
    return "other"


def test_models_stand_side_by_side_in_table_and_file(
    data: Path, tiny_model: Path, load_tiny: Callable[[], SentenceTransformer], caplog: pytest.LogCaptureFixture
) -> None:
    other = make_other(load_tiny())
    models = [str(tiny_model), other, "bm25"]
    report = score_models(models=models, data=[data], output="deep/scores.json", device="cpu")
    written = json.loads(Path("deep/scores.json").read_text())
    assert written["settings"]["models"] == models
    assert written["versions"]["sentence-transformers"]
    assert len(written["results"]) == len(report["results"]) == (4 + 1 + 1 + 1) * 2 + 4 + 2  # and two averages
    for row in written["results"]:
        if row["model"] == other:
            low, high = row["interval"]
            assert low <= row["difference"] <= high
            assert row["verdict"] == ("better" if low > 0 else "worse" if high < 0 else "no difference shown")
        elif row["model"] == str(tiny_model):
            assert "difference" not in row
    means = [row for row in written["results"] if row["task"] == "average"]
    own = scores(report, other)
    mains = [own["field retrieval", "nDCG@10"], own["field reranking", "MAP"], own["field pairs", "AP"],
             own["field pairs graded", "Spearman"]]  # fmt: skip
    assert means[1]["score"] == pytest.approx(np.mean(mains))
    for words in ("field retrieval: 10 queries, 60 documents", "reference", "95 % interval", "average"):
        assert words in caplog.text


def test_a_model_with_itself_shows_no_difference(data: Path, tiny_model: Path) -> None:
    Path("again").symlink_to(tiny_model)
    report = score_models(models=[tiny_model, "again"], data=[data], device="cpu")
    rows = [row for row in report["results"] if row["model"] == "again"]
    assert {row["difference"] for row in rows} == {0}
    assert {row["verdict"] for row in rows} == {"no difference shown"}


def test_the_dev_split_takes_the_dev_files(data: Path) -> None:
    retrieval, reranking, pairs = read_tasks(str(data), "dev")
    assert isinstance(retrieval, Retrieval)
    assert retrieval.queries == tuple(SENTENCES[10:20])
    assert reranking.queries == retrieval.queries  # type: ignore[union-attr]
    assert isinstance(pairs, Pairs)
    assert set(pairs.gold) == {0, 1, 2}


def test_a_decided_version_replaces_its_file(data: Path) -> None:
    write_lines(data / "pairs_test_decided.tsv", ["1\ta\tb", "0\tc\td"])
    names = [task.name for task in read_tasks(str(data), "test")]
    assert names == ["field retrieval", "field reranking", "field pairs graded", "field pairs decided"]


def test_bm25_ranks_by_rare_words_in_any_script() -> None:
    docs = ["the cat sat", "the dog sat", "the dog ran", "猫は走る", "犬は走る"]
    write_lines(Path("f/docs.jsonl"), [{"id": i, "text": text} for i, text in enumerate(docs)])
    write_lines(Path("f/queries.jsonl"), [{"id": 0, "text": "the cat sat ran"}, {"id": 1, "text": "猫"}])
    write_lines(Path("f/qrels.tsv"), ["0\t0\t2", "0\t2\t1", "1\t3\t1"])
    found = scores(score_models(models=["bm25"], data=["f"]), "bm25")
    assert found["f retrieval", "nDCG@10"] == pytest.approx(100)


def test_bm25_without_its_library_is_one_line(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(KitError, match=r"bm25 needs the package bm25s\. .*pip install 'tsdae_kit\[bm25\]'"):
        score_models(models=["bm25"], data=[data])


def test_a_prepared_folder_is_refused_because_it_holds_no_labels() -> None:
    write_lines(Path("corpus.txt"), make_sentences(30))
    prepare_corpus(files=["corpus.txt"], output="prepared")
    expected = r"^prepared holds no labelled data for split test \(it holds: .*\)\. Name a folder that holds queries"
    with pytest.raises(KitError, match=expected + r"\.jsonl with docs.jsonl and qrels.tsv, .*; pairs_test.tsv\.$"):
        score_models(models=["never loaded"], data=["prepared"])


def test_a_corpus_is_refused_because_it_holds_no_labels() -> None:
    write_lines(Path("corpus.txt"), make_sentences(30))
    expected = r"^corpus.txt holds no labelled data: .*Name a file of pairs \(score, text1, text2\), or a folder that"
    with pytest.raises(KitError, match=expected + r" holds queries.jsonl with .*; rerank.jsonl; pairs_test.tsv\.$"):
        score_models(models=["never loaded"], data=["corpus.txt"])


def test_each_text_is_encoded_once_and_prompts_are_used(load_tiny: Callable[[], SentenceTransformer]) -> None:
    model = load_tiny()
    model.prompts = {"query": "the doctor ", "document": ""}
    embeddings = Embeddings(model, "tiny", 8)
    before = embeddings(["sleep", "fever", "sleep"], "query")
    assert torch.equal(before[0], before[2])
    assert torch.allclose(
        before[0], model.encode("the doctor sleep", convert_to_tensor=True, normalize_embeddings=True)
    )
    plain = embeddings(["sleep"], "document")
    assert not torch.allclose(plain[0], before[0])
    model.encode = model.encode_query = model.encode_document = None
    assert torch.equal(embeddings(["fever", "sleep"], "query"), before[[1, 0]])


def test_a_model_of_nans_is_refused(data: Path, load_tiny: Callable[[], SentenceTransformer]) -> None:
    model = load_tiny()
    with torch.no_grad():
        model.transformers_model.get_input_embeddings().weight.fill_(float("nan"))
    model.save_pretrained("broken", create_model_card=False)
    with pytest.raises(KitError, match="The embeddings of broken hold NaN or infinity"):
        score_models(models=["broken"], data=[data], device="cpu")


@pytest.mark.parametrize(
    ("file", "line", "expected"),
    [
        ("qrels.tsv", "q1\td7\t3", "qrels.tsv, line 41: the document 'd7' has the grade 3 for the query 'q1', and 0"),
        ("qrels.tsv", "q1\td1\tinf", "qrels.tsv, line 41: the grade 'inf' is not a number"),
        ("qrels.tsv", "q1\td1\tgood", "qrels.tsv, line 41: the grade 'good'"),
        ("qrels.tsv", "q1 d1 1", "qrels.tsv, line 41: 1 fields where the first line has 3"),
        ("docs.jsonl", '{"id": "d1", "text": "again"}', "docs.jsonl, line 61: the id 'd1' already has another text"),
        ("docs.jsonl", '{"id": "d77", "body": "x"}', r"docs.jsonl, line 61: text missing \(columns: id, body\)"),
        ("queries.jsonl", "{", "queries.jsonl, line 11: no JSON"),
        ("rerank.jsonl", '{"query": "a", "positive": "b", "negative": []}', "rerank.jsonl, line 11: positive and"),
        ("pairs_test.tsv", "high\ta\tb", "pairs_test.tsv, line 31: the score 'high'"),
        ("pairs_test.tsv", "nan\ta\tb", "pairs_test.tsv, line 31: the score 'nan'"),
    ],
)
def test_a_mistake_in_a_file_is_one_line_that_names_the_place(data: Path, file: str, line: str, expected: str) -> None:
    with (data / file).open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(KitError, match=expected) as raised:
        read_tasks(str(data), "test")
    assert "\n" not in str(raised.value)


def test_a_folder_without_data_says_what_it_holds() -> None:
    write_lines(Path("f/corpus.txt"), SENTENCES)
    write_lines(Path("f/pairs_train.tsv"), ["1\ta\tb"])
    with pytest.raises(KitError, match=r"holds: corpus.txt, pairs_train.tsv.*Name a folder that holds queries.jsonl"):
        read_tasks("f", "test")
    with pytest.raises(KitError, match="does not exist"):
        read_tasks("g", "test")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"models": [], "data": ["d"]}, "no model given"),
        ({"models": ["m"]}, "no data given"),
        ({"models": ["m", "m"], "data": ["d"]}, "m is named twice"),
        ({"models": ["m"], "data": ["d"], "output": "."}, "is a folder"),
        ({"models": ["m"], "data": ["d"], "split": "train"}, "one of test, dev"),
        ({"models": ["m"], "data": ["d"], "batch_size": 0}, "--batch-size 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(given: dict[str, Any], expected: str) -> None:
    with pytest.raises(KitError, match=expected):
        score_models(**given)


def test_two_folders_of_one_name_are_refused(data: Path) -> None:
    Path("other").mkdir()
    data.rename("other/field")
    Path("field").symlink_to("other/field")
    with pytest.raises(KitError, match="'field retrieval'"):
        score_models(models=["bm25"], data=["field", "other/field"])
    assert not EvaluateSettings.output.exists()


def test_tables_that_fail_cost_no_scores(
    data: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("tsdae_kit.evaluation.model_comparison.format_summary_table", fail)
    report = score_models(models=[tiny_model], data=[data], device="cpu")
    assert json.loads(Path("scores.json").read_text())["results"] == report["results"]
    assert "!!! The tables could not be shown (ZeroDivisionError). The scores are written: scores.json." in caplog.text
