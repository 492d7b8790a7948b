"""Resuming: a run that was interrupted, however often, ends in the same bits as one that was not."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import SHORT, STEPS, assert_equal_to_the_bit, finish, last_step, rest_slow, send, start
from tsdae_kit import KitError, adapt
from tsdae_kit.corpus.noise_transform import NoiseTransform
from tsdae_kit.reporting.run_report import read_run
from tsdae_kit.run_folder import RunFolder, checkpoint_step
from tsdae_kit.training.progress import Progress

pytestmark = pytest.mark.usefixtures("no_report")


class Interrupted(BaseException):
    """Stands for a kill inside one process."""


@contextmanager
def interrupted_after(step: int) -> Iterator[None]:
    def stop(self: Progress, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == step:
            raise Interrupted

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(Progress, "on_step_end", stop)
        yield


@pytest.mark.parametrize(
    ("case", "settings", "interruptions"),
    rest_slow(
        ("within an epoch", {}, [6, 14]),
        ("in the decoder's warm-up", {}, [4]),
        ("across epochs and at the border", {"save_steps": 23}, [25]),
        ("two workers", {"workers": 2}, [9]),
        ("gradient accumulation", {"batch_size": 4, "gradient_accumulation_steps": 2}, [9, 24]),
        ("schedule with a decay", {"trainer": {"lr_scheduler_type": "cosine", "warmup_steps": 3}}, [9]),
        ("bf16", {"precision": "bf16"}, [9]),
    ),
)
def test_an_interrupted_run_ends_in_the_same_bits(
    case: str, settings: dict[str, Any], interruptions: list[int], tiny_model: Path, tiny_data: Path,
    uninterrupted: Path,
) -> None:  # fmt: skip
    given = {"model": str(tiny_model), "data": tiny_data, **SHORT, **settings}
    changes_no_bit = settings.keys() <= {"save_steps", "workers"}
    whole = uninterrupted if changes_no_bit else adapt(output="whole", **given).parent
    for step in interruptions:
        with interrupted_after(step):
            adapt(output="broken", resume=True, **given)
    adapt(output="broken", resume=True)
    assert_equal_to_the_bit(whole, Path("broken"))


def test_a_run_that_was_begun_under_the_old_names_of_settings_goes_on_to_the_bit(
    tiny_model: Path, tiny_data: Path, uninterrupted: Path
) -> None:
    with interrupted_after(14):
        adapt(output="broken", model=str(tiny_model), data=tiny_data, **SHORT)
    record = json.loads(Path("broken/run.json").read_text())
    old = {
        "contrastive_weight": "contrast",
        "drift_penalty": "anchor",
        "base_weight": "base_share",
        "pairs": "with_pairs",
    }
    record["settings"] = {old.get(name, name): value for name, value in record["settings"].items()}
    record["settings"]["trainer"] = ["prompts={beside_anchor: a}"]
    del record["task"]
    Path("broken/run.json").write_text(json.dumps(record))
    metrics = Path("broken/metrics.jsonl").read_text()
    Path("broken/metrics.jsonl").write_text(metrics.replace("loss_contrastive", "loss_contrast"))
    assert RunFolder(Path("broken")).read_record()["settings"]["trainer"] == ["prompts={pair_anchor: a}"]  # type: ignore[index]
    record["settings"]["trainer"] = []
    Path("broken/run.json").write_text(json.dumps(record))
    assert read_run(Path("broken")).record["settings"]["drift_penalty"] == record["settings"]["anchor"]
    adapt(output="broken", resume=True)
    assert_equal_to_the_bit(uninterrupted, Path("broken"))
    record = json.loads(Path("broken/run.json").read_text())
    assert record["task"] == "tsdae"
    assert not record["settings"].keys() & set(old.values())
    assert 'loss_contrast"' not in Path("broken/metrics.jsonl").read_text()


@pytest.mark.slow
def test_noise_and_decoder_really_matter_to_this_comparison(
    tiny_model: Path, tiny_data: Path, uninterrupted: Path
) -> None:
    """The comparison can fail: another seed, and a resume that forgets the decoder, are both seen."""
    given = {"model": str(tiny_model), "data": tiny_data, **SHORT}
    adapt(output="other", seed=1, **given)
    with pytest.raises(AssertionError, match="encoder"):
        assert_equal_to_the_bit(uninterrupted, Path("other"))
    with interrupted_after(14):
        adapt(output="forgetful", **given)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tsdae_kit.training.trainer.load_loss_state_dict", lambda *_: None)
        adapt(output="forgetful", resume=True)
    with pytest.raises(AssertionError, match="encoder"):
        assert_equal_to_the_bit(uninterrupted, Path("forgetful"))


@pytest.mark.slow
@pytest.mark.timeout(900)  # it starts thirteen times: some ten seconds on a core of its own
@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_killed_at_random_moments_ends_in_the_same_bits(
    workers: int, tiny_model: Path, tiny_data: Path, uninterrupted: Path
) -> None:
    """SIGKILL, ten times and more, also in the middle of a save; nothing is done by the dying process."""
    given = {"model": str(tiny_model), "data": tiny_data, "output": Path("run").resolve(), "resume": True}
    given |= SHORT | {"workers": workers, "save_steps": 2}
    moment = random.Random(workers)
    for kill in range(12):
        process = start(given)
        goal = min(STEPS - 1, 2 * kill + moment.randrange(3))
        while last_step(Path("run")) < goal and process.is_alive():
            time.sleep(0.002)
        time.sleep(moment.uniform(0, 0.12))  # a step takes some 10 ms, a save some 50
        send(process, signal.SIGKILL)
    finish(start(given))
    assert_equal_to_the_bit(uninterrupted, Path("run"))
    steps = [
        json.loads(line)["step"] for line in Path("run/metrics.jsonl").read_text().splitlines() if '"loss"' in line
    ]
    assert steps == list(range(1, STEPS + 1))
    assert not list(Path("run").glob(".*.partial"))


def test_a_longer_run_by_resuming_is_the_longer_run(tiny_model: Path, tiny_data: Path, uninterrupted: Path) -> None:
    given = {"model": str(tiny_model), "data": tiny_data, **SHORT, "decoder_warmup_steps": STEPS // 5}
    adapt(output="run", **{**given, "max_steps": 13})
    adapt(output="run", resume=True, max_steps=STEPS)
    assert_equal_to_the_bit(uninterrupted, Path("run"))


def test_how_often_is_evaluated_saved_and_logged_does_not_change_the_run(
    tiny_model: Path, tiny_data: Path, uninterrupted: Path
) -> None:
    given = {"model": str(tiny_model), "data": tiny_data, **SHORT}
    adapt(output="run", **{**given, "eval_steps": 3, "logging_steps": 7, "save_steps": 5, "max_steps": 11,
                           "decoder_warmup_steps": STEPS // 5})  # fmt: skip
    Path("run/.checkpoint-99.partial").mkdir()  # as a killed process leaves it
    adapt(output="run", resume=True, eval_steps=100, save_steps=9, save_total_limit=4, max_steps=STEPS)
    assert_equal_to_the_bit(uninterrupted, Path("run"))
    assert [checkpoint_step(path) for path in RunFolder(Path("run")).checkpoints()] == [27, 18, 11, 10]
    assert not Path("run/.checkpoint-99.partial").exists()


def test_each_epoch_trains_on_noise_of_its_own(tiny_model: Path, tiny_data: Path, uninterrupted: Path) -> None:
    """With the noise of the first epoch in all, the first epoch is the same, bit by bit, and the second is not."""
    given = {"model": str(tiny_model), "data": tiny_data, **SHORT, "save_steps": 23}
    adapt(output="fresh", **given)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NoiseTransform, "set_epoch", lambda *_: None)
        adapt(output="fixed", **given)
    assert_equal_to_the_bit(Path("fresh"), Path("fixed"), step=23)
    with pytest.raises(AssertionError, match="encoder"):
        assert_equal_to_the_bit(Path("fresh"), Path("fixed"))


def test_a_run_recorded_without_fixed_noise_continues_and_one_with_it_is_refused(
    tiny_model: Path, tiny_data: Path, uninterrupted: Path
) -> None:
    """Records of version 0.1 hold the setting ``fixed_noise``, which is gone."""
    with interrupted_after(14):
        adapt(output="run", model=str(tiny_model), data=tiny_data, **SHORT)
    record = json.loads(Path("run/run.json").read_text())
    record["settings"]["fixed_noise"] = True
    Path("run/run.json").write_text(json.dumps(record))
    with pytest.raises(KitError, match=r"run of another stage or version \(fixed_noise\)\. Choose another --output"):
        adapt(output="run", resume=True)
    record["settings"]["fixed_noise"] = False
    Path("run/run.json").write_text(json.dumps(record))
    adapt(output="run", resume=True)
    assert_equal_to_the_bit(uninterrupted, Path("run"))


def test_a_run_folder_can_be_moved_and_resumed_there(tiny_model: Path, tiny_data: Path, uninterrupted: Path) -> None:
    with interrupted_after(14):
        adapt(output="here", model=str(tiny_model), data=tiny_data, **SHORT)
    Path("here").rename("there")
    adapt(output="there", resume=True)
    assert_equal_to_the_bit(uninterrupted, Path("there"))


def test_a_checkpoint_can_be_named(tiny_model: Path, tiny_data: Path, uninterrupted: Path) -> None:
    with interrupted_after(14):
        adapt(output="run", model=str(tiny_model), data=tiny_data, **SHORT)
    adapt(resume=Path("run/checkpoint-8"))
    assert_equal_to_the_bit(uninterrupted, Path("run"))
    with pytest.raises(KitError, match="There is no checkpoint folder run/checkpoint-99"):
        adapt(resume=Path("run/checkpoint-99"))
    with pytest.raises(KitError, match="checkpoint-27 is beyond the 6 steps asked for"):
        adapt(resume=Path("run/checkpoint-27"), max_steps=6)
    shutil.copytree("run/checkpoint-27", "copy")
    with pytest.raises(KitError, match="its name is not checkpoint-STEP"):
        adapt(resume=Path("copy"), output="run")
    with Path("run/metrics.jsonl").open("a") as stream:
        stream.write('{"step": 3, "lo{"step": 4}\n')  # as a full disk leaves it
    shutil.rmtree("run/final")
    adapt(resume=Path("run"))  # a run's folder means its newest
    assert Path("run/final").is_dir()


def test_a_damaged_newest_checkpoint_costs_only_its_own_steps(
    tiny_model: Path, tiny_data: Path, uninterrupted: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with interrupted_after(14):
        adapt(output="run", model=str(tiny_model), data=tiny_data, **SHORT)
    Path("run/checkpoint-12/optimizer.pt").unlink()
    adapt(output="run", resume=True)
    assert "Skipping checkpoint-12: optimizer.pt is missing" in caplog.text
    assert "Continuing from run/checkpoint-8" in caplog.text
    assert_equal_to_the_bit(uninterrupted, Path("run"))
