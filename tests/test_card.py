"""The card of a final model says how it was made, and nothing of the machine that made it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from sentence_transformers import SentenceTransformer
from yaml import YAMLError

from tests.tiny import make_sentences
from tsdae_kit import adapt, fine_tune
from tsdae_kit.config.settings import TrainSettings
from tsdae_kit.reporting.model_card import TITLE, complete_card

SHORT = {"batch_size": 8, "max_steps": 4, "save_steps": 4, "eval_steps": 2, "device": "cpu", "precision": "fp32"}


@pytest.fixture
def adapted(tiny_model: Path, tiny_data: Path) -> Path:
    Path("field").mkdir()
    texts = make_sentences(20)
    lines = [f"{i % 5}\t{texts[i]}\t{texts[10 + i]}\n" for i in range(10)]
    Path("field/pairs_dev.tsv").write_text("".join(lines))
    return adapt(model=str(tiny_model), data=tiny_data, output=Path("one").resolve(), eval_data=["field"], **SHORT)


def facts_of(final: Path) -> dict[str, str]:
    section = (final / "README.md").read_text().partition(TITLE)[2].partition("\n## ")[0]
    return dict(line[2:].split(": ", 1) for line in section.split("\n") if line.startswith("- "))


def test_the_card_has_data_recipe_losses_and_scores(adapted: Path, tmp_path: Path) -> None:
    facts = facts_of(adapted)
    assert facts["corpus"] == "180 sentences to train on, 20 held out, 0 dropped"
    assert facts["noise"] == "delete; deletion ratio 0.6; words: auto"
    assert facts["steps"] == "4, of 8 rows each"
    assert (facts["base model"], facts["decoder"], facts["precision"]) == ("model", "CrossAttentionDecoder", "fp32")
    assert (facts["seed"], facts["learning rate"], facts["decoder warmup steps"]) == ("42", "2e-05", "0")
    entries = [json.loads(line) for line in Path("one/metrics.jsonl").read_text().splitlines()]
    losses = [entry["eval_loss"] for entry in entries if "eval_loss" in entry]
    assert facts["held-out loss, first and last"] == f"{losses[0]:.4f}, {losses[-1]:.4f}"
    assert f"base model {entries[0]['eval_score']:.2f}" in facts["score (field Spearman)"]
    card = ModelCard.load(adapted / "README.md")
    assert {"tsdae", "sentence-transformers"} <= set(card.data.tags)
    assert "arxiv.org/abs/2104.06979" in card.content
    assert str(tmp_path) not in card.content  # where the run is


def test_stage_two_names_its_files_without_folders_and_tells_of_stage_one(adapted: Path) -> None:
    Path("secret").mkdir()
    lines = [json.dumps({"anchor": text, "positive": text[:-1]}) + "\n" for text in make_sentences(16)]
    Path("secret/pairs.jsonl").write_text("".join(lines))
    final = fine_tune(files=["secret/pairs.jsonl"], model=str(adapted), output="two", **SHORT)
    facts, text = facts_of(final), (final / "README.md").read_text()
    assert facts["pairs.jsonl"] == "16 rows; anchor = anchor, positive = positive; objective multiple-negatives"
    assert "secret" not in text
    assert text.count(TITLE) == 1
    before, _, after = text.partition("### The model it began with")
    assert "- base model: one\n" in before
    assert "180 sentences to train on" in after
    SentenceTransformer(str(final), device="cpu").save_pretrained("again")  # which keeps the card
    assert TITLE in Path("again/README.md").read_text()


RECORD: dict[str, Any] = {
    "about": {"base model": "some/model"},
    "goals": {"field AP": "0"},
    "processes": 2,
    "versions": {"torch": "2", "threads": "1"},
}


def test_a_run_without_a_gain_says_that_its_model_is_the_base_model() -> None:
    Path("run").mkdir()
    Path("run/metrics.jsonl").write_text('{"step": 0, "eval_score": 71.0}\n{"step": 9, "eval_score": 70.0}\n')
    settings = TrainSettings(model="some/model", output=Path("run"), batch_size=4)
    complete_card(Path("run"), settings, RECORD, 9, 0)
    facts = facts_of(Path("run"))
    assert facts["base model"] == "some/model"
    assert facts["steps"] == "9, of 8 rows each"
    assert facts["this model"] == "the base model as it was: no step scored above it"
    assert facts["score (field AP)"] == "base model 71.00"
    assert facts["versions"] == "torch 2"


def test_a_base_models_card_in_another_encoding_is_no_fault(tiny_model: Path, tiny_data: Path) -> None:
    shutil.copytree(tiny_model, "base")
    Path("base/README.md").write_bytes(b"\xff\xfe caf\xe9")
    final = adapt(model="base", data=tiny_data, output="run", max_steps=2, batch_size=8, device="cpu")
    assert TITLE in (final / "README.md").read_text()


@pytest.mark.parametrize("fault", [ValueError("odd"), YAMLError("mapping values are not allowed here")])
def test_a_card_that_cannot_be_completed_costs_no_model(
    tiny_model: Path, tiny_data: Path, fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base model's own card is copied where no step beat it, and may be anything."""

    def fail(*_: Any, **__: Any) -> None:
        raise fault

    monkeypatch.setattr("tsdae_kit.training.runner.complete_card", fail)
    final = adapt(model=str(tiny_model), data=tiny_data, output="run", max_steps=2, batch_size=8, device="cpu")
    assert (final / "model.safetensors").exists()


def test_a_base_models_folder_is_not_named_even_when_it_is_gone(tiny_model: Path, tiny_data: Path) -> None:
    Path("secret").mkdir()
    shutil.copytree(tiny_model, "secret/base")
    given = {"model": "secret/base", "data": tiny_data, "output": "run", "batch_size": 8, "device": "cpu"}
    adapt(**given, max_steps=2)
    shutil.rmtree("secret")
    final = adapt(output="run", resume=True, max_steps=3)
    assert "secret" not in (final / "README.md").read_text()
