"""The parts of a loss stand by name beside it, and add up to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch import nn
from transformers import TrainerCallback

from tests.test_finetune import pairs, write
from tests.test_loss import make_batch
from tests.test_processes import TWO, codes, start_two
from tests.test_resume import interrupted_after
from tests.test_trainer import arguments
from tests.tiny import SHORT, make_sentences, rest_slow
from tsdae_kit import ResumableTrainer, TSDAELoss, adapt
from tsdae_kit.reporting.run_page import make_run_page
from tsdae_kit.reporting.run_report import read_run
from tsdae_kit.training.loss_components import LossComponents
from tsdae_kit.training.progress import _show_components
from tsdae_kit.tsdae.regularization import Regularization

Load = Callable[[], SentenceTransformer]
NAMES = {"loss_reconstruction", "loss_contrastive", "loss_drift", "loss_pairs"}


def entries(run: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [entry for entry in found if "loss" in entry]


def assert_they_add_up(found: list[dict[str, Any]], names: set[str]) -> None:
    for entry in found:
        parts = {name: value for name, value in entry.items() if name.startswith("loss_")}
        assert sum(parts.values()) == pytest.approx(entry["loss"], rel=1e-5), entry
    assert {name for entry in found for name in entry if name.startswith("loss_")} == names


def test_they_are_the_terms_that_each_part_computes_alone(load_tiny: Load) -> None:
    model, base = load_tiny().eval(), load_tiny().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    ranking = MultipleNegativesRankingLoss(model)
    loss = TSDAELoss(model, pair_loss=ranking, regularization=Regularization(0.5, 3.0, base))
    texts = make_sentences(24)
    others = [model.preprocess(part) for part in (texts[8:16], texts[16:])]
    loss.training = True  # enables the regularization, without dropout
    value = loss([*make_batch(model), *(dict(part) for part in others)])
    parts = {name: float(part) for name, part in loss.components.items()}
    assert sum(parts.values()) == pytest.approx(float(value.detach()), rel=1e-6)
    noisy, clean = make_batch(model)
    assert not any(part.requires_grad for part in loss.components.values())
    with torch.no_grad():
        embedding = model(dict(noisy))["sentence_embedding"]
        loss.training = False
        alone = {
            "contrastive": Regularization(0.5, 0.0, base)(model, embedding, clean),
            "drift": Regularization(0.0, 3.0, base)(model, embedding, clean),
            "pairs": ranking([dict(part) for part in others], None),
            "reconstruction": loss([noisy, clean]),
        }
    assert parts == pytest.approx({name: float(value) for name, value in alone.items()}, rel=1e-5)


@pytest.mark.parametrize(
    "given", rest_slow({"batch_size": 4, "gradient_accumulation_steps": 2}, {}, {"logging_steps": 4})
)
def test_in_a_run_they_add_up_to_the_loss_in_each_line(
    given: dict[str, Any], tiny_model: Path, tiny_data: Path, messages: Callable[[], str]
) -> None:
    """Also in a line that spans the end of the warm-up, and where the last step of an epoch is a short one."""
    file = write("pairs.jsonl", pairs())
    adapt(**SHORT | given, model=str(tiny_model), data=tiny_data, output="run", pairs=file)
    found = entries(Path("run"))
    assert_they_add_up(found, NAMES)
    assert "loss_contrastive" not in found[0]  # the warm-up
    page = make_run_page(read_run(Path("run")))
    assert all(f"&#9632;</span>&nbsp;{name.removeprefix('loss_')}" in page for name in NAMES)


@pytest.mark.slow
def test_a_line_that_spans_a_resume_holds_the_means_of_the_steps_since(tiny_model: Path, tiny_data: Path) -> None:
    given = {"model": str(tiny_model), "data": tiny_data, **SHORT}
    adapt(**given, output="each")
    with interrupted_after(14):  # behind the checkpoint of step 12
        adapt(**given | {"logging_steps": 10}, output="run")
    adapt(resume=True, output="run", logging_steps=10)
    found = {entry["step"]: entry for entry in entries(Path("run"))}
    each = {entry["step"]: entry for entry in entries(Path("each"))}
    assert_they_add_up(list(found.values()), NAMES - {"loss_pairs"})
    for name in NAMES - {"loss_pairs"}:
        mean = sum(each[step][name] for step in range(13, 21)) / 8
        assert found[20][name] == pytest.approx(mean, rel=1e-5)


def test_of_several_processes_they_are_the_mean(tiny_model: Path, tiny_data: Path, tmp_path: Path) -> None:
    given = {**TWO, "max_steps": 8, "data": tiny_data, "model": str(tiny_model), "output": tmp_path / "run"}
    assert codes(start_two(given, tmp_path / "digests")) == [0, 0]
    assert_they_add_up(entries(tmp_path / "run"), NAMES - {"loss_pairs"})


def test_a_loss_that_is_no_number_counts_as_the_mean_so_far() -> None:
    """As the trainer counts it in the loss, else the parts would not add up to it."""
    parts = LossComponents()
    parts.begin(10)
    nan, ok = torch.tensor(float("nan")), torch.tensor(True)
    parts.add({"a": torch.tensor(4.0)}, 1, ok, 10)
    parts.add({"a": nan}, 1, ~ok, 11)
    assert parts.take(12, lambda sums: sums) == {"loss_a": 3.0}  # (4 + 4 / 2) / 2
    assert parts.take(13, lambda sums: sums) == {}


class TwoTerms(nn.Module):
    """As some of the library's losses, which return a dictionary."""

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: Any, labels: Any = None) -> dict[str, torch.Tensor]:
        value = self.model(next(iter(features)))["sentence_embedding"].square().mean()
        return {"first": value, "second": 2 * value}


class Keep(TrainerCallback):
    def __init__(self) -> None:
        self.logs: list[dict[str, float]] = []

    def on_log(self, *args: Any, logs: dict[str, float], **kwargs: Any) -> None:
        self.logs.append(logs)


def test_the_librarys_losses_with_parts_of_their_own_are_logged_as_the_library_does(load_tiny: Load) -> None:
    rows = Dataset.from_dict({"a": make_sentences(16)})
    logs = []
    for kind in (SentenceTransformerTrainer, ResumableTrainer):
        model, keep = load_tiny().eval(), Keep()
        given = {"args": arguments(max_steps=2), "train_dataset": rows, "callbacks": [keep]}
        kind(model=model, loss=TwoTerms(model), **given).train()
        logs.append([{name: log.get(name) for name in ("first", "second")} for log in keep.logs if "loss" in log])
    assert logs[0] == logs[1]
    assert all(log["first"] for log in logs[0])


def test_they_stand_in_the_line_where_there_is_room() -> None:
    logs = {"loss": 3.5, "loss_reconstruction": 3.25, "loss_drift": 0.25}
    shown = " (reconstruction 3.25, drift 0.25)"
    assert _show_components(logs, len(shown)) == shown
    assert _show_components(logs, len(shown) - 1) == ""
    assert _show_components({"loss": 3.5, "loss_reconstruction": 3.5}, 100) == ""
