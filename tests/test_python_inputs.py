"""Python objects as inputs are read by the rules of files, and the same objects mean the same work."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from tests.tiny import make_sentences
from tsdae_kit import adapt, fine_tune, load_prepared, prepare_corpus, score_models
from tsdae_kit.config.python_objects import name_models
from tsdae_kit.errors import KitError
from tsdae_kit.prepare import main as prepare_main

SHORT: dict[str, Any] = {"max_steps": 2, "batch_size": 4, "device": "cpu", "precision": "fp32"}
PAIRS = [{"anchor": text, "positive": text[:-1]} for text in make_sentences(16)]


def prepared_rows(folder: Path) -> list[str]:
    corpus = load_prepared(folder)
    return sorted([*corpus.train["clean"], *corpus.held_out["clean"]])


def test_texts_give_the_data_of_a_file_with_the_same_texts() -> None:
    texts = make_sentences(40)
    Path("corpus.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    from_file = prepare_corpus(files="corpus.jsonl", output="from_file")
    from_texts = prepare_corpus(texts=texts, output="from_texts")
    manifests = [json.loads((folder / "manifest.json").read_text()) for folder in (from_file, from_texts)]
    assert manifests[0]["fingerprint"] == manifests[1]["fingerprint"]
    assert load_prepared(from_file).train[:] == load_prepared(from_texts).train[:]


def test_the_same_texts_are_recognised_however_they_arrive(messages: Callable[[], str]) -> None:
    texts = make_sentences(20)
    prepare_corpus(texts=texts)
    prepare_corpus(texts=iter(texts))
    assert "already holds this corpus" in messages()
    with pytest.raises(KitError, match="holds other data"):
        prepare_corpus(texts=texts[:-1])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp500"])
def test_an_encoding_of_files_does_not_concern_texts(encoding: str) -> None:
    texts = [f"Zwölf Ärzte sehen 😀 {number} mal nach." for number in range(12)]
    assert prepared_rows(prepare_corpus(texts=texts, encoding=encoding)) == sorted(texts)


def test_a_dataset_is_read_by_the_rules_of_columns(messages: Callable[[], str]) -> None:
    texts = make_sentences(20)
    data = Dataset.from_dict({"title": ["On health"] * 20, "text": texts, "body": texts[::-1], "size": range(20)})
    folder = prepare_corpus(texts=data, output="titled", split="paragraphs", min_chars=5)
    assert prepared_rows(folder) == sorted(["On health", *texts])
    assert prepared_rows(prepare_corpus(texts=data, column="body", output="body")) == sorted(texts)
    prepare_corpus(texts=data.select(range(20)), column="body", output="body")
    assert "already holds this corpus" in messages()
    with pytest.raises(KitError, match=r"no column 'words' \(there are: title, text, body, size\)"):
        prepare_corpus(texts=data, column="words", output="words")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "^no input given: name a text file, a folder or a glob.$"),
        ({"texts": []}, "^No sentence is left|is empty"),
        ({"texts": ["a"], "files": "corpus.txt"}, "^files and texts are both given. Pass one of them.$"),
        ({"texts": "corpus.txt"}, "^texts is 'corpus.txt', a single text. Pass a list; or files=, to read a file.$"),
        ({"texts": Path("corpus.txt")}, "^texts is 'corpus.txt', a single text"),
        ({"texts": ["a rash", 3]}, "^texts, item 2: it is a int, not a text. Pass an iterable of str.$"),
        ({"texts": DatasetDict({"train": Dataset.from_dict({"text": ["a"]})})}, r"^texts is a DatasetDict \(train\)"),
        ({"texts": ["a rash"], "epochs": 2}, "^'epochs' is not a setting"),
    ],
)
def test_wrong_texts_are_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(KitError, match=message):
        prepare_corpus(**given)
    assert not Path("data").exists()


def test_settings_are_validated_before_texts_are_consumed() -> None:
    def texts() -> Iterator[str]:
        pytest.fail("the texts were consumed")
        yield ""

    with pytest.raises(KitError, match=r"--deletion-ratio 2\.0"):
        prepare_corpus(texts=texts(), deletion_ratio=2)


@pytest.mark.parametrize("as_dataset", [False, True])
def test_pairs_train_as_the_same_rows_of_a_file(tiny_model: Path, as_dataset: bool) -> None:
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PAIRS))
    from_file = fine_tune(files="pairs.jsonl", model=tiny_model, output="from_file", **SHORT)
    pairs: Any = Dataset.from_list(PAIRS) if as_dataset else PAIRS
    from_rows = fine_tune(pairs=pairs, model=tiny_model, output="from_rows", **SHORT)
    expected = load_file(from_file / "model.safetensors")
    assert all(tensor.equal(expected[name]) for name, tensor in load_file(from_rows / "model.safetensors").items())


def test_a_run_on_pairs_is_resumed_with_the_same_pairs(tiny_model: Path) -> None:
    rows = [{**row, "score": np.float32(number / 16)} for number, row in enumerate(PAIRS)]
    fine_tune(pairs=rows, model=tiny_model, output="run", **SHORT)
    fine_tune(pairs=rows, output="run", resume=True, max_steps=3)
    assert json.loads(Path("run/run.json").read_text())["finished_step"] == 3
    with pytest.raises(KitError, match="Pass the run's own data"):
        fine_tune(pairs=rows[:-1], output="run", resume=True)
    with pytest.raises(KitError, match=r"^The run was started on Python objects \(pairs=\.\.\.\)\. Pass them again"):
        fine_tune(output="run", resume=True)


def test_a_settings_file_holds_no_python_objects(capsys: pytest.CaptureFixture[str]) -> None:
    Path("settings.yaml").write_text("texts: [one text of some length, another text of some length]\n")
    with pytest.raises(SystemExit) as ended:
        prepare_main(["--config", "settings.yaml"])
    assert ended.value.code == 2
    assert "'texts' is not a setting" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pairs": PAIRS, "files": ["a.csv"]}, "^files and pairs are both given"),
        ({"pairs": [("a", "b")]}, "^pairs, item 1: it is a tuple, not a mapping"),
        ({"pairs": PAIRS[0]}, r"^pairs is a dict \(anchor, positive\)"),
        ({}, "^no labelled pairs given"),
    ],
)
def test_wrong_pairs_are_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(KitError, match=message):
        fine_tune(**given)


def test_a_model_object_trains_as_its_folder_does_and_is_resumed(
    load_tiny: Callable[[], SentenceTransformer], tiny_model: Path, tiny_data: Path
) -> None:
    model = load_tiny()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    from_object = adapt(model=model, data=tiny_data, output="runs/object", **SHORT)
    from_folder = adapt(model=tiny_model, data=tiny_data, output="runs/folder", **SHORT)
    expected = load_file(from_folder / "model.safetensors")
    assert all(tensor.equal(expected[name]) for name, tensor in load_file(from_object / "model.safetensors").items())
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())
    assert json.loads(Path("runs/object/run.json").read_text())["settings"]["model"] == "runs/object-base"
    adapt(model=load_tiny(), data=tiny_data, output="runs/object", resume=True, max_steps=3)
    assert json.loads(Path("runs/object/run.json").read_text())["finished_step"] == 3


def test_another_model_object_for_the_same_output_is_refused(
    load_tiny: Callable[[], SentenceTransformer], tiny_data: Path
) -> None:
    model = load_tiny()
    adapt(model=model, data=tiny_data, output="run", **SHORT)
    with torch.no_grad():
        next(model.parameters()).add_(1)
    with pytest.raises(
        KitError, match=r"^run-base holds another model than the one passed\. To continue its run, pass"
    ):
        adapt(model=model, data=tiny_data, output="run", resume=True)
    adapt(model=model, data=tiny_data, output="run", overwrite=True, **SHORT | {"max_steps": 2})
    with pytest.raises(KitError, match="nowhere does not exist"):
        adapt(model=model, data="nowhere", output="other")
    with pytest.raises(KitError, match="'epoch' is not a setting"):
        adapt(model=model, data=tiny_data, output="other", epoch=1)  # type: ignore[call-arg]
    assert not Path("other-base").exists()
    with pytest.raises(KitError, match=r"^The model is a Linear\. Pass a SentenceTransformer, a folder"):
        adapt(model=torch.nn.Linear(1, 1), data=tiny_data)  # type: ignore[arg-type]


def test_model_objects_are_scored_as_their_folders_are(
    load_tiny: Callable[[], SentenceTransformer], tiny_model: Path
) -> None:
    pairs = zip(make_sentences(30), make_sentences(31)[1:], strict=True)
    Path("pairs_test.tsv").write_text("".join(f"{i % 2}\t{a}\t{b}\n" for i, (a, b) in enumerate(pairs)))
    model = load_tiny()
    report = score_models(models=[model, tiny_model], data="pairs_test.tsv", device="cpu")
    scores = {row["model"]: row["score"] for row in report["results"]}
    assert scores == {"model 1": scores[str(tiny_model)], str(tiny_model): scores[str(tiny_model)]}
    assert report["settings"]["models"] == ("model 1", str(tiny_model))
    assert list(report["digests"]) == [str(tiny_model), "pairs_test.tsv"]
    assert len(score_models(models=model, data=["pairs_test.tsv"], output="one.json")["results"]) == len(scores) // 2


def test_names_of_model_objects_are_unique(load_tiny: Callable[[], SentenceTransformer]) -> None:
    first, second, third = load_tiny(), load_tiny(), load_tiny()
    for model in (first, second, third):
        model.model_card_data.base_model = "all-MiniLM-L6-v2"
    Path("folder").mkdir()
    third.model_card_data.base_model = "folder"
    names, objects = name_models(["bm25", first, second, third])
    assert names == ["bm25", "all-MiniLM-L6-v2", "model 3", "model 4"]
    assert list(objects.values()) == [first, second, third]
    assert name_models(("a", Path("b"))) == (["a", Path("b")], {})
    assert name_models("a") == ("a", {})
