"""What stands both in the training text and in the evaluation data is counted and said, by all commands."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tiny import make_sentences
from tsdae_kit import adapt, fine_tune, prepare_corpus, score_models
from tsdae_kit.corpus.prepared_folder import prepared_texts
from tsdae_kit.evaluation.overlap import Overlap, count_overlap
from tsdae_kit.evaluation.tasks import Pairs, Retrieval

SENTENCES = make_sentences(130)
SHORT = {"max_steps": 1, "batch_size": 4, "precision": "fp32", "device": "cpu", "eval_steps": 1}


def count(texts: list[str], corpus: list[str]) -> int:
    task = Retrieval("field retrieval", tuple(texts), ("a",), ({0: 1},) * len(texts))
    (overlap,) = count_overlap([task], [corpus, ["another batch"]])
    assert overlap.task is task
    assert overlap.total == len(texts)
    return overlap.count


def test_texts_are_the_same_whatever_their_case_and_white_space() -> None:
    corpus = ["The doctor treats a rash.", "One patient sleeps well.", "größer als früher"]
    assert count(["the  doctor treats\na rash.", "GRÖSSER als früher", "The doctor"], corpus) == 2


def test_a_text_whose_sentences_are_all_there_is_there() -> None:
    """As ``prepare --split sentences`` leaves a corpus; sentences that are too short it drops."""
    corpus = ["The doctor treats a rash.", "One patient sleeps well."]
    both, half = "Yes! The doctor treats a rash. One patient sleeps well.", "The doctor treats a rash. Then he sleeps."
    assert count([both, half], corpus) == 1
    assert count(["Yes. No.", ""], corpus) == 0


def test_documents_are_not_compared() -> None:
    write_corpus(SENTENCES)
    task = Retrieval("a", ("never seen before",), tuple(SENTENCES), ({0: 1},))
    assert [overlap.count for overlap in count_overlap([task], prepared_texts(Path("prepared")))] == [0]


def write_corpus(sentences: list[str]) -> None:
    Path("corpus.txt").write_text("\n".join(sentences) + "\n")
    prepare_corpus(files=["corpus.txt"], output="prepared")


def write_field() -> None:
    """Write ten queries, of which four are among the first hundred sentences, and six pairs with three such texts."""
    Path("field").mkdir()
    queries = SENTENCES[96:106]
    for name, texts in (("queries", queries), ("docs", SENTENCES[:50])):
        rows = [{"id": str(i), "text": f"{text.upper()} "} for i, text in enumerate(texts)]
        Path(f"field/{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("field/qrels.tsv").write_text("".join(f"{i}\t{i}\t1\n" for i in range(10)))
    pairs = [f"{i % 2}\t{SENTENCES[97 + i]}\t{SENTENCES[110 + i]}\n" for i in range(6)]
    Path("field/pairs_test.tsv").write_text("".join(pairs))


LINE = "!!! 4 of 10 queries of field retrieval and 3 of 12 texts of field pairs are in the training text"


def test_every_command_says_what_of_the_evaluation_data_was_trained_on(
    tiny_model: Path, messages: Callable[[], str], caplog: pytest.LogCaptureFixture
) -> None:
    write_field()
    write_corpus(SENTENCES[:100])
    adapt(data="prepared", model=tiny_model, output="one", eval_data=["field"], decoder_warmup_steps=0, **SHORT)
    retrieval = LINE.partition(" and")[0] + " are in the training text"  # retrieval alone steers a run
    assert f"{retrieval} (prepared): scores on them are optimistic." in messages()
    caplog.clear()

    pairs = [{"anchor": SENTENCES[i], "positive": SENTENCES[i + 1]} for i in range(102, 112, 2)]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    fine_tune(files=["pairs.jsonl"], model="one/final", output="two", eval_data=["field"], **SHORT)
    assert "!!! 4 of 10 queries of field retrieval are in the training text (pairs.jsonl): scores" in messages()
    assert "prepared" not in messages()
    caplog.clear()

    score_models(models=[tiny_model, "one/final", "two/final"], data=["field"], device="cpu")
    assert messages().count("!!!") == 2
    assert f"{LINE} (prepared): scores on them are optimistic." in messages()
    assert "4 of 10 queries of field retrieval and 3 of 12 texts of field pairs are" in messages()
    assert "(pairs.jsonl)" in messages()
    caplog.clear()

    shutil.rmtree("prepared")
    write_corpus(SENTENCES[:120])
    score_models(models=["one/final", "one/base"], data=["field"], device="cpu")
    assert "!!!" not in messages()
    assert "prepared is missing or has changed since the training" in messages()


def test_labelled_pairs_beside_the_text_are_compared(tiny_model: Path, messages: Callable[[], str]) -> None:
    write_field()
    write_corpus(SENTENCES[:50])
    Path("pairs.tsv").write_text("anchor\tpositive\n" + "".join(f"{SENTENCES[i]}\tx {i}\n" for i in range(96, 99)))
    adapt(data="prepared", model=tiny_model, output="one", eval_data=["field"], decoder_warmup_steps=0,
          pairs="pairs.tsv", **SHORT)  # fmt: skip
    assert "!!! 3 of 10 queries of field retrieval are in the training text (pairs.tsv): scores" in messages()
    score_models(models=["one/final"], data=["field"], device="cpu")
    assert messages().count("(pairs.tsv): scores on them") == 2


def test_texts_of_pairs_are_counted_on_both_sides() -> None:
    task = Pairs("p", ("one patient", "two"), ("some pain", "one patient"), (0.0, 1.0))
    assert count_overlap([task], [["One patient", 5, None]]) == [Overlap(task, 2, 4)]
