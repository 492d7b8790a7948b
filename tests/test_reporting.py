"""--report-to: the metrics reach TensorBoard, in one curve."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch.utils.tensorboard
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.test_resume import interrupted_after
from tests.tiny import make_sentences
from tsdae_kit import adapt


@pytest.fixture
def given(tiny_model: Path, tiny_data: Path) -> dict[str, Any]:
    Path("field").mkdir()
    texts = make_sentences(20)
    lines = [f"{i % 5}\t{texts[i]}\t{texts[10 + i]}\n" for i in range(10)]
    Path("field/pairs_dev.tsv").write_text("".join(lines))
    return {
        "model": str(tiny_model), "data": tiny_data, "output": Path("run"), "eval_data": ["field"], "batch_size": 8,
        "max_steps": 6, "save_steps": 4, "eval_steps": 3, "logging_steps": 1, "device": "cpu",
        "report_to": "tensorboard",
    }  # fmt: skip


def read_events(folder: str) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(folder).Reload()
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}


def test_tensorboard_has_one_curve_of_a_run_that_was_interrupted(given: dict[str, Any]) -> None:
    """Step 5 is done twice: it was reported before the run was killed, but not saved."""
    with interrupted_after(6):
        adapt(**given)
    adapt(**given, resume=True)
    assert len(list(Path("run/tensorboard").iterdir())) == 2
    curves = read_events("run/tensorboard")
    entries = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    for name, key in (("train/loss", "loss"), ("eval/loss", "eval_loss"), ("eval/score", "eval_score")):
        expected = [(entry["step"], entry[key]) for entry in entries if key in entry]
        assert curves[name] == [(step, pytest.approx(value)) for step, value in expected]
    assert [step for step, _ in curves["train/loss"]] == [1, 2, 3, 4, 5, 6]
    assert [step for step, _ in curves["eval/score"]] == [0, 3, 6]


def test_a_full_disk_under_tensorboard_does_not_end_the_run(
    given: dict[str, Any], monkeypatch: pytest.MonkeyPatch, messages: Callable[[], str]
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch.utils.tensorboard.SummaryWriter, "add_scalar", refuse)
    assert adapt(**given).is_dir()
    assert "!!! run/tensorboard could not be written: No space left on device." in messages()
