"""train --eval-data: the best step becomes the final model, also in a run that was killed, and also if it is step 0."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from tests.test_resume import interrupted_after
from tests.tiny import SHORT, STEPS, assert_equal_to_the_bit, make_sentences, rest_slow
from tsdae_kit import KitError, adapt, fine_tune, prepare_corpus, score_models, train
from tsdae_kit.errors import NoGain
from tsdae_kit.evaluation.validation_sets import read_validation_set
from tsdae_kit.run_folder import RunFolder
from tsdae_kit.training.model_selection import ModelSelection

pytestmark = pytest.mark.usefixtures("no_report")

Scripted = Callable[..., None]
TUNE = {"batch_size": 8, "max_steps": 10, "eval_steps": 5, "save_steps": 4, "logging_steps": 1, "device": "cpu"}


@pytest.fixture
def field() -> str:
    """Return a folder of pairs; its dev part has other scores than its test part."""
    folder = Path("field")
    folder.mkdir()
    texts = make_sentences(60)
    for split, size in (("test", 5), ("dev", 4)):
        lines = [f"{i % size}\t{texts[i]}\t{texts[30 + i]}\n" for i in range(30)]
        (folder / f"pairs_{split}.tsv").write_text("".join(lines))
    return "field"


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    """Return what makes the encoder's successive states (known by their weights) score as given."""

    def script(*scores: float) -> None:
        left, known = list(scores), {}

        def score(goal: object, encoder: SentenceTransformer, batch_size: int) -> float:
            key = float(sum(p.double().abs().sum() for p in encoder.parameters()))
            if key not in known:
                known[key] = left.pop(0)
            return known[key]

        monkeypatch.setattr("tsdae_kit.training.model_selection.score_validation_set", score)

    return script


def scores_of(run: Path) -> dict[int, float]:
    entries = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    scores = [(entry["step"], entry["eval_score"]) for entry in entries if "eval_score" in entry]
    assert len(dict(scores)) == len(scores)  # each evaluation once, also of a run that was interrupted
    return dict(scores)


def same_weights(first: Path, second: Path, base: Path | None = None) -> bool:
    """Return whether two models are equal; if there is a base, whether the first is the mean of the other two."""
    a, b = load_file(first / "model.safetensors"), load_file(second / "model.safetensors")
    other = load_file((base or second) / "model.safetensors")
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name].lerp(other[name], 0.5)) for name in a)


@pytest.fixture
def given(tiny_model: Path, tiny_data: Path, field: str) -> dict[str, Any]:
    return {**SHORT, "model": str(tiny_model), "data": tiny_data, "eval_data": [field], "device": "cpu"}


def test_scores_are_those_of_evaluate_and_scoring_changes_no_bit(given: dict[str, Any], tiny_model: Path) -> None:
    adapt(**given, output="run")
    scores = scores_of(Path("run"))
    assert list(scores) == [0, 10, 20, STEPS]
    best = json.loads(Path("run/run.json").read_text())["best_step"]
    assert best
    for step, model in ((0, tiny_model), (best, Path("run/final"))):
        report = score_models(models=[model], data=["field"], split="dev", device="cpu")
        assert scores[step] == pytest.approx(report["results"][0]["score"], abs=1e-3)
    adapt(**{**given, "eval_data": ()}, output="plain")
    assert_equal_to_the_bit(Path("run"), Path("plain"))


@pytest.mark.parametrize(
    ("scores", "best"),
    rest_slow(((50, 60, 55, 40), 10), ((50, 49, 51, 51), 20), ((1, 2, 3, 4), STEPS), ((60, 59, 60, 40), 0)),
)
def test_the_best_step_becomes_the_final_model(
    given: dict[str, Any], scripted: Scripted, tiny_model: Path, scores: tuple[float, ...], best: int
) -> None:
    """Step 10 is none at which a checkpoint would be saved (every fourth is), and others come after it."""
    scripted(*scores)
    final = adapt(**given, output="run")
    assert tuple(scores_of(Path("run")).values()) == scores
    assert same_weights(final, Path(f"run/checkpoint-{best}") if best else tiny_model, tiny_model)
    assert SentenceTransformer(str(final), device="cpu").max_seq_length == 64
    assert json.loads(Path("run/run.json").read_text())["best_step"] == best


@pytest.mark.parametrize(
    ("best", "interruptions"), rest_slow((10, [11, 22]), (10, [10]), (10, [25]), (20, [3, 9, 26]), (0, [11, 22]))
)
def test_a_killed_run_chooses_the_same_step(
    given: dict[str, Any], scripted: Scripted, best: int, interruptions: list[int]
) -> None:
    scripted(*(60 if step == best else 50 for step in (0, 10, 20, STEPS)))
    adapt(**given, output="whole")
    for step in interruptions:
        with interrupted_after(step):
            adapt(**given, output="run", resume=True)
    final = adapt(**given, output="run", resume=True)
    assert scores_of(Path("run")) == scores_of(Path("whole"))
    assert same_weights(final, Path("whole/final"))
    assert_equal_to_the_bit(Path("run"), Path("whole"))
    assert json.loads(Path("run/run.json").read_text())["best_step"] == best


def test_a_score_that_only_the_metrics_or_only_the_checkpoint_holds_is_remembered(
    given: dict[str, Any], scripted: Scripted
) -> None:
    """A kill can fall between the two; here each in turn is lost altogether."""
    scripted(50, 60, 55, 54)
    with interrupted_after(14):
        adapt(**given, output="run")
    metrics, state = Path("run/metrics.jsonl"), Path("run/checkpoint-12/trainer_state.json")
    for lost in (metrics, state):
        kept = lost.read_text()
        content = {} if lost == metrics else {**json.loads(kept), "best_metric": None, "best_global_step": None}
        lost.write_text(json.dumps(content) if content else "")
        selection = ModelSelection([], 8, 64)
        selection.restore(RunFolder(Path("run")), state.parent)
        assert (selection.best, selection.scores[10]) == (10, 60)
        lost.write_text(kept)


def test_a_damaged_best_checkpoint_gives_way_to_the_next_best(
    given: dict[str, Any], scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    scripted(40, 60, 55, 50)
    with interrupted_after(26):
        adapt(**given, output="run", save_total_limit=9)
    Path("run/checkpoint-10/model.safetensors").write_bytes(b"")
    final = adapt(**given, output="run", resume=True)
    assert same_weights(final, Path("run/checkpoint-20"), Path("run/base"))
    assert "checkpoint-10 scored 60.00" in caplog.text


def test_without_a_gain_the_run_says_so_and_can_exit_with_1(
    given: dict[str, Any], scripted: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    scripted(60, 50, 50, 50)
    adapt(**given, output="run")
    assert "No step scored above the base model" in caplog.text
    caplog.clear()
    with pytest.raises(NoGain, match="No step"):  # the finished run is asked again
        adapt(**given, output="run", resume=True, require_gain=True)
    flags = ["--resume", "--output", "run", "--require-gain"]
    with pytest.raises(SystemExit) as ended:
        train.main(flags)
    assert ended.value.code == 1


def test_other_evaluation_data_than_the_runs_is_refused(given: dict[str, Any]) -> None:
    with interrupted_after(9):
        adapt(**given, output="run")
    with Path("field/pairs_dev.tsv").open("a") as stream:
        stream.write("3\tone\tmore\n")
    with pytest.raises(KitError, match="field Spearman changed since"):
        adapt(**given, output="run", resume=True)


def test_the_dev_part_is_taken_where_there_is_one_and_else_a_warning_said(
    given: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert read_validation_set("field").split == "dev"
    Path("field/pairs_dev.tsv").unlink()
    assert read_validation_set("field").split == "test"
    adapt(**given, output="run")
    assert "no dev part" in caplog.text


def test_texts_are_scored_at_the_base_models_length(load_tiny: Callable[[], SentenceTransformer], field: str) -> None:
    encoder = load_tiny()
    selection = ModelSelection([read_validation_set(field)], 8, 64)
    expected = selection.measure(encoder)
    encoder.max_seq_length = 4
    encoder.train()
    assert selection.measure(encoder) == expected
    assert encoder.max_seq_length == 4
    assert encoder.training


def test_mistakes_are_refused_before_anything_is_written(given: dict[str, Any]) -> None:
    with pytest.raises(KitError, match="--require-gain needs data"):
        adapt(**{**given, "eval_data": ()}, output="run", require_gain=True)
    with pytest.raises(KitError, match="--patience needs data"):
        adapt(**{**given, "eval_data": ()}, output="run", patience=2)
    with pytest.raises(KitError, match="nowhere does not exist"):
        adapt(**{**given, "eval_data": ["nowhere"]}, output="run")
    assert not Path("run").exists()


def test_without_held_out_pairs_the_run_is_scored_all_the_same(given: dict[str, Any], scripted: Scripted) -> None:
    Path("c.txt").write_text("\n".join(make_sentences(180)))
    prepare_corpus(files=["c.txt"], output="none", held_out=0)
    scripted(50, 60, 55, 54)
    adapt(**{**given, "data": "none"}, output="run")
    assert scores_of(Path("run")) == {0: 50, 10: 60, 20: 55, STEPS: 54}
    assert json.loads(Path("run/run.json").read_text())["best_step"] == 10


@pytest.mark.parametrize("interruptions", rest_slow([11, 22], []))
def test_patience_ends_the_run_and_a_killed_one_at_the_same_step(
    given: dict[str, Any], scripted: Scripted, interruptions: list[int], messages: Callable[[], str]
) -> None:
    scripted(50, 60, 55, 54, 53, 52)
    given |= {
        "max_steps": 60,
        "decoder_warmup_steps": 0,
        "eval_steps": 10,
        "save_steps": 10,
        "patience": 2,
        "output": "run",
        "resume": True,
    }
    for step in interruptions:
        with interrupted_after(step):
            adapt(**given)
    final = adapt(**given)
    assert scores_of(Path("run")) == {0: 50, 10: 60, 20: 55, 30: 54}
    assert same_weights(final, Path("run/checkpoint-10"), Path("run/base"))
    assert "Stopped early, after step 30 of 60: 2 evaluations without a better score." in messages()
    adapt(**given)
    assert "This run is finished" in messages()
    shutil.rmtree("run/final")
    adapt(**given)  # writes it again, without a step
    adapt(**given | {"max_steps": 80})  # its patience is still at an end
    assert list(scores_of(Path("run"))) == [0, 10, 20, 30]
    adapt(**given | {"max_steps": 80, "patience": 3})
    assert list(scores_of(Path("run"))) == [0, 10, 20, 30, 40]


@pytest.mark.parametrize("interruptions", [[], [7]])
def test_stage_two_is_steered_too(tiny_model: Path, field: str, scripted: Scripted, interruptions: list[int]) -> None:
    Path("pairs.jsonl").write_text(
        "".join(json.dumps({"anchor": text, "positive": text[::-1]}) + "\n" for text in make_sentences(80))
    )
    scripted(50, 60, 55)
    given = {**TUNE, "model": str(tiny_model), "files": ["pairs.jsonl"], "output": "run", "eval_data": [field]}
    for step in interruptions:
        with interrupted_after(step):
            fine_tune(**given, resume=True)
    final = fine_tune(**given, resume=True)
    assert scores_of(Path("run")) == {0: 50, 5: 60, 10: 55}
    assert same_weights(final, Path("run/checkpoint-5"))
    assert "eval_loss" not in Path("run/metrics.jsonl").read_text()
