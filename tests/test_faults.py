"""What happens when: signals, full disks, folders that vanish, changed libraries."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.trainer_pt_utils import safe_globals

from tests.test_checkpoints import DAMAGES
from tests.tiny import SHORT, STEPS, assert_equal_to_the_bit, finish, last_step, make_sentences, rest_slow, send, start
from tsdae_kit import KitError, adapt, export_model, prepare_corpus, score_models, write_report
from tsdae_kit.errors import RunStopped, first_line, run_command, warn_on_error
from tsdae_kit.filesystem import atomic_file, folder_lock, write_json
from tsdae_kit.plans.plan import run_plan
from tsdae_kit.run_folder import RunFolder, checkpoint_step
from tsdae_kit.training import checkpoints
from tsdae_kit.training import trainer as trainer_module
from tsdae_kit.training.checkpoints import verify_checkpoint
from tsdae_kit.training.progress import Progress
from tsdae_kit.training.trainer import ResumableTrainer


@pytest.fixture
def given(tiny_model: Path, tiny_data: Path) -> dict[str, Any]:
    return {"model": str(tiny_model), "data": tiny_data, "output": Path("run").resolve(), "resume": True, **SHORT}


def at_step(patch: pytest.MonkeyPatch, step: int, action: Any) -> None:
    """Do something to the run from outside, in the middle of it."""
    on_step_begin = Progress.on_step_begin

    def act(self: Progress, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == step:
            action()
        on_step_begin(self, args, state, control, **kwargs)

    patch.setattr(Progress, "on_step_begin", act)


@pytest.mark.parametrize("number", rest_slow(signal.SIGTERM, signal.SIGINT, signal.SIGUSR1))
@pytest.mark.parametrize("workers", [0, 2])
def test_a_signal_ends_the_run_whole_with_code_75(
    number: signal.Signals, workers: int, given: dict[str, Any], uninterrupted: Path
) -> None:
    process = start({**given, "save_steps": 1000, "workers": workers})
    while last_step(Path("run")) < 8:
        time.sleep(0.002)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) >= workers
    for child in children * 2:  # schedulers and terminals signal the whole group; workers are needed to the end
        with suppress(ProcessLookupError):
            os.kill(int(child), number)
    send(process, number)
    process.join()
    assert process.exitcode == 75
    (saved,) = RunFolder(Path("run")).checkpoints()
    assert 8 <= checkpoint_step(saved) < STEPS
    finish(start(given))
    assert_equal_to_the_bit(uninterrupted, Path("run"))


def test_a_second_signal_stops_at_once_and_leaves_no_half_checkpoint(
    given: dict[str, Any], uninterrupted: Path
) -> None:
    process = start({**given, "save_steps": 9}, slow_save=10.0)
    while not Path("run/.checkpoint-9.partial/manifest.json").exists():
        time.sleep(0.002)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGTERM)
    time.sleep(0.1)
    assert process.is_alive()
    send(process, signal.SIGTERM)
    process.join()
    assert process.exitcode == -signal.SIGTERM
    assert RunFolder(Path("run")).checkpoints() == []
    finish(start(given))
    assert_equal_to_the_bit(uninterrupted, Path("run"))


def test_a_signal_without_a_terminal_to_say_it_on_ends_the_run_whole(
    given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the session that began it, and its pipes, are gone."""

    def gone(file: int, text: bytes) -> int:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    with monkeypatch.context() as patch:
        at_step(patch, 6, lambda: os.kill(os.getpid(), signal.SIGTERM))
        patch.setattr(os, "write", gone)
        with pytest.raises(RunStopped, match="Stopped by SIGTERM after step 7"):
            adapt(**given)
    assert RunFolder(Path("run")).checkpoints()[0].name == "checkpoint-7"


def test_a_signal_during_a_save_adds_no_step(
    given: dict[str, Any], uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checksums = checkpoints.write_checksums

    def interrupted_write(folder: Path, run_id: str) -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        write_checksums(folder, run_id)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write_checksums", interrupted_write)
        with pytest.raises(RunStopped, match=f"Stopped by SIGUSR1 after step 4 of {STEPS}"):
            adapt(**given)
    assert [path.name for path in RunFolder(Path("run")).checkpoints()] == ["checkpoint-4"]
    adapt(**given)
    assert_equal_to_the_bit(uninterrupted, Path("run"))


def test_a_signal_breaks_an_evaluation_off_which_is_then_done_on_resume(
    given: dict[str, Any], uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prediction_step = ResumableTrainer.prediction_step

    def interrupted(self: ResumableTrainer, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 10:
            os.kill(os.getpid(), signal.SIGTERM)
        return prediction_step(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(ResumableTrainer, "prediction_step", interrupted)
        with pytest.raises(RunStopped, match="after step 10"):
            adapt(**given)
    adapt(**given)
    assert_equal_to_the_bit(uninterrupted, Path("run"))
    metrics, expected = (
        [{k: m[k] for k in ("step", "loss", "eval_loss") if k in m} for m in map(json.loads, lines)]
        for lines in ((run / "metrics.jsonl").read_text().splitlines() for run in (Path("run"), uninterrupted))
    )
    assert metrics == expected


def test_a_stopped_run_is_one_line_and_code_75(capsys: pytest.CaptureFixture[str]) -> None:
    def stopped() -> None:
        raise RunStopped("Stopped by SIGTERM.")

    with pytest.raises(SystemExit) as ended:
        run_command("prog", stopped)
    assert ended.value.code == 75
    assert capsys.readouterr().err == "prog: Stopped by SIGTERM.\n"


def test_every_file_of_a_checkpoint_in_turn_damaged_is_noticed(uninterrupted: Path) -> None:
    whole = uninterrupted / f"checkpoint-{STEPS}"
    run_id = json.loads((uninterrupted / "run.json").read_text())["id"]
    assert verify_checkpoint(whole, run_id) is None
    files = [path.relative_to(whole) for path in whole.rglob("*") if path.is_file()]
    assert len(files) > 10
    for name in files:
        for damage in DAMAGES:
            shutil.copytree(whole, "copy")
            damage(Path("copy") / name)
            assert verify_checkpoint(Path("copy"), run_id) is not None, (name, damage)
            shutil.rmtree("copy")


def test_nothing_of_a_checkpoint_needs_a_pickle_that_runs_code(uninterrupted: Path) -> None:
    checkpoint = uninterrupted / f"checkpoint-{STEPS}"
    pickles = [*checkpoint.rglob("*.pt"), *checkpoint.rglob("*.pth")]
    assert {path.name for path in pickles} == {"optimizer.pt", "scheduler.pt", "rng_state.pth"}
    with safe_globals():  # numpy's random state, as transformers itself loads it
        for path in pickles:
            torch.load(path, weights_only=True)
    assert {p.suffix for p in checkpoint.rglob("*") if p.is_file()} == {".json", ".safetensors", ".pt", ".pth"}


def test_the_optimizers_state_of_shared_weights_is_stored_once(uninterrupted: Path) -> None:
    checkpoint = uninterrupted / f"checkpoint-{STEPS}"
    state = torch.load(checkpoint / "optimizer.pt", weights_only=True)["state"]
    moments = sum(s["exp_avg"].numel() for s in state.values())
    weights = sum((checkpoint / name).stat().st_size / 4 for name in ("model.safetensors", "loss.safetensors"))
    assert moments < weights


@pytest.mark.parametrize(
    "error",
    rest_slow(
        OSError(errno.ENOSPC, "No space left on device"), RuntimeError("PytorchStreamWriter failed writing file")
    ),
)
def test_a_save_that_fails_leaves_nothing_and_the_run_goes_on(
    error: Exception, given: dict[str, Any], uninterrupted: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    save_file = trainer_module.save_file

    def full(tensors: Any, path: Path) -> None:
        if "checkpoint-8" in str(path):
            path.write_bytes(b"the first part")
            raise error
        save_file(tensors, path)

    monkeypatch.setattr(trainer_module, "save_file", full)
    adapt(**{**given, "save_total_limit": 10})
    assert "The checkpoint of step 8 could not be saved" in caplog.text
    assert [checkpoint_step(p) for p in RunFolder(Path("run")).checkpoints()] == [27, 24, 20, 16, 12, 4]
    assert_equal_to_the_bit(uninterrupted, Path("run"))
    with pytest.raises(KitError, match=r"step 8 could not be saved in .*Make room, then --resume"):
        adapt(**{**given, "output": "strict", "on_save_error": "stop"})
    assert [checkpoint_step(p) for p in RunFolder(Path("strict")).checkpoints()] == [4]
    assert not list(Path("strict").glob(".*.partial"))


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk for four checkpoints of the tiny model."""
    place = Path("disk").resolve()
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_disk_that_fills_up_costs_no_saved_step(
    small_disk: Path, given: dict[str, Any], uninterrupted: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    run = small_disk / "run"
    with monkeypatch.context() as patch:
        at_step(patch, 10, lambda: (small_disk / "others").write_bytes(bytes(shutil.disk_usage(small_disk).free)))
        with pytest.raises(KitError, match=r"final could not be written \(.*No space left"):
            adapt(**{**given, "output": run})
    assert "could not be saved" in caplog.text
    assert RunFolder(run).checkpoints()[0].name == "checkpoint-8"
    (small_disk / "others").unlink()
    adapt(**{**given, "output": run})
    assert_equal_to_the_bit(uninterrupted, run)


def test_a_disk_that_is_too_small_is_refused_before_the_first_step(
    given: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100_000))
    with pytest.raises(KitError, match=r"needs \d MB at least .* 0 MB are free"):
        adapt(**given)
    assert not Path("run").exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    adapt(**given)
    assert "The disk may fill up" in caplog.text


def test_a_folder_that_vanishes_does_not_cost_the_model(
    given: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        at_step(patch, 6, lambda: shutil.rmtree("run"))
        final = adapt(**given)
    assert "is gone; was it moved or deleted?" in caplog.text
    assert (final / "model.safetensors").is_file()


@pytest.mark.slow
def test_a_folder_that_is_moved_under_the_run_is_resumed_at_its_new_place(
    given: dict[str, Any], uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        at_step(patch, 14, lambda: Path("run").rename("moved"))
        adapt(**given)
    adapt(**{**given, "output": "moved"})
    assert_equal_to_the_bit(uninterrupted, Path("moved"))


def test_other_libraries_than_at_the_start_are_said(
    given: dict[str, Any], uninterrupted: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(uninterrupted, "run")
    record = json.loads(Path("run/run.json").read_text())
    record["versions"]["torch"] = "1.0"
    Path("run/run.json").write_text(json.dumps(record))
    adapt(**{**given, "max_steps": STEPS + 1})
    assert "The run was started with torch 1.0, now " in caplog.text


def test_killed_between_the_last_checkpoint_and_the_final_model_it_takes_no_further_step(
    given: dict[str, Any], uninterrupted: Path
) -> None:
    shutil.copytree(uninterrupted, "run")
    before = Path("run/final/model.safetensors").read_bytes()
    shutil.rmtree("run/final")
    adapt(**given)
    assert Path("run/final/model.safetensors").read_bytes() == before
    assert_equal_to_the_bit(uninterrupted, Path("run"))


@pytest.mark.parametrize("key", ["id", "settings", "data", "max_length", "processes", "versions"])
@pytest.mark.parametrize("value", [None, ["of another kind"]])
def test_a_record_without_a_part_is_one_line_before_any_training(tmp_path: Path, key: str, value: object) -> None:
    """Without this, the missing length of the model showed only after the last step."""
    whole = {"id": "a", "settings": {}, "data": "b", "max_length": 64, "processes": 1, "versions": {}}
    damaged = {name: part for name, part in whole.items() if name != key} | ({key: value} if value else {})
    (tmp_path / "run.json").write_text(json.dumps(damaged))
    with pytest.raises(KitError, match=rf"run\.json is damaged .*{key}") as raised:
        adapt(output=tmp_path, resume=True)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (
            "training.runner.show_duration",
            "The closing table could not be shown (ZeroDivisionError). The model is whole.",
        ),
        (
            "training.measurements.write_run_page",
            "The report could not be written (ZeroDivisionError). The model is whole.",
        ),
        (
            "training.measurements._measure",
            "The report could not be written (ZeroDivisionError). The model is whole.",
        ),
        (
            "training.measurements.find_nearest_neighbours",
            "What the model makes of texts after the run cannot be in the report (ZeroDi",
        ),
        (
            "training.runner.complete_card",
            "The model's card does not say how it was adapted (ZeroDivisionError). The model is w",
        ),
    ],
)
def test_what_is_shown_of_a_finished_run_can_fail_without_costing_the_model(
    place: str, said: str, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By an error that none of these raises itself, and that has no text."""

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(f"tsdae_kit.{place}", fail)
    final = adapt(**{**given, "max_steps": 2, "decoder_warmup_steps": 1})
    assert (final / "model.safetensors").is_file()
    assert f"!!! {said}" in caplog.text


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "[Errno 28] No space left on device"),
        (ValueError("\n  It is wrong.  \nIn detail: ..."), "It is wrong"),
        (MemoryError(), "MemoryError"),
        (RuntimeError(" \n"), "RuntimeError"),
        (ValueError("..."), "ValueError"),
    ],
)
def test_every_error_has_a_first_line(error: Exception, line: str) -> None:
    assert first_line(error) == line


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RunStopped("Stopped."), SystemExit(2)])
def test_what_ends_a_command_is_no_warning(error: BaseException) -> None:
    with pytest.raises(type(error)), warn_on_error("The report could not be written", "The model is whole."):
        raise error


def test_a_file_that_could_not_be_written_leaves_the_old_one_alone(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_file(path) as temporary:
        temporary.write_text("half of the n")
        raise KeyboardInterrupt
    assert {entry.name: entry.read_text() for entry in tmp_path.iterdir()} == {"scores.json": "old"}


def test_what_a_killed_process_left_of_a_file_is_deleted_by_the_next_run(given: dict[str, Any]) -> None:
    Path("run").mkdir()
    Path("run/.metrics.jsonl.partial").write_text("half")
    adapt(**{**given, "max_steps": 2, "decoder_warmup_steps": 1})
    assert not list(Path("run").glob(".*"))


@pytest.mark.parametrize("command", ["prepare", "evaluate", "report", "report of several", "export", "train", "run"])
def test_a_place_that_cannot_be_written_is_noticed_before_the_work(
    command: str, tiny_model: Path, uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A place below a file: no permission bits hold for root. What comes first in the work would fail here."""
    Path("file").touch()
    place, model = Path("file/folder/out"), str(tiny_model)
    for work in ("corpus.preparation.content_digest", "evaluation.model_comparison._read_task_groups",
                 "models.onnx_export.load_encoder", "reporting.pages.read_run",
                 "training.tsdae_task.load_prepared"):  # fmt: skip
        monkeypatch.setattr(f"tsdae_kit.{work}", lambda *_, **__: pytest.fail("the work was begun"))
    Path("corpus.txt").write_text("A sentence to be read.\n")
    Path("plan.yaml").write_text(
        f"prepare: {{files: corpus.txt}}\nevaluate: {{models: {model}, data: ., output: {place}}}"
    )
    runs = [uninterrupted, Path("other")]
    commands: dict[str, Callable[[], object]] = {
        "prepare": lambda: prepare_corpus(files=["corpus.txt"], output=place),
        "evaluate": lambda: score_models(models=[model], data=["corpus.txt"], output=place),
        "report": lambda: write_report(runs=[place]),
        "report of several": lambda: write_report(runs=runs, output=place),
        "export": lambda: export_model(model=model, output=place),
        "train": lambda: adapt(model=model, output=place),
        "run": lambda: run_plan(Path("plan.yaml")),
    }
    with pytest.raises(KitError, match=r"(file/folder/out|file/folder).* cannot be written \(.*Not a directory"):
        commands[command]()
    assert sorted(path.name for path in Path().iterdir()) == ["corpus.txt", "file", "plan.yaml"]


def test_a_name_that_is_no_utf_8_costs_nothing(given: dict[str, Any], tmp_path: Path) -> None:
    name = os.fsdecode(b"corpus\xff.txt")
    Path(name).write_text("\n".join(make_sentences(40)))
    prepare_corpus(files=[name], output="out")
    assert json.loads((Path("out") / "manifest.json").read_text())["train"] == 36
    write_json(Path("a.json"), {"files": [name, "naïve \\u"]})
    assert json.loads(Path("a.json").read_text(encoding="utf-8")) == {"files": [name, "naïve \\u"]}
    with pytest.raises(KitError, match="cannot be written"):
        prepare_corpus(files=[name], output=os.fsdecode(b"out\xff"))


def test_a_second_run_in_a_thread_of_the_same_process_is_refused_and_costs_the_first_nothing(
    given: dict[str, Any], uninterrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both would draw from the same random numbers; a notebook's cell beside a thread does this."""
    refused: list[str] = []

    def second() -> None:
        for output in ("run", "other"):
            with pytest.raises(KitError) as raised:
                adapt(**{**given, "output": Path(output).resolve()})
            refused.append(str(raised.value))

    def in_a_thread() -> None:
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()

    with monkeypatch.context() as patch:
        at_step(patch, 6, in_a_thread)
        adapt(**given)
    assert "Another run is going on in" in refused[0]
    assert "Another run trains in a thread of this process" in refused[1]
    assert_equal_to_the_bit(uninterrupted, Path("run"))
    adapt(**{**given, "output": Path("other").resolve(), "max_steps": 2, "decoder_warmup_steps": 1})


TRY = """
import sys
from pathlib import Path
from tsdae_kit.filesystem import folder_lock
with folder_lock(Path("folder"), wait=False) as got:
    sys.exit(0 if got else 3)
"""


def is_free() -> bool:
    """Return whether another process gets the lock."""
    return subprocess.run([sys.executable, "-c", TRY], check=False).returncode == 0


def test_the_lock_holds_inside_one_process_and_leaving_a_second_does_not_free_the_first() -> None:
    """A process that closes a file has lost its locks on it, also those that another thread took."""

    def wait() -> bool:
        with folder_lock(Path("folder"), wait=True) as got:
            return got

    with ThreadPoolExecutor() as pool:
        with folder_lock(Path("folder"), wait=False) as first:
            assert first
            with folder_lock(Path("folder"), wait=False) as second:
                assert not second
            waiting = pool.submit(wait)
            assert not is_free()
            assert not waiting.done()
        assert waiting.result(10)
    assert is_free()


@pytest.mark.parametrize("number", rest_slow(signal.SIGTERM, signal.SIGINT, signal.SIGUSR1))
@pytest.mark.parametrize("place", ["training.runner.choose_device", "training.runner._write_final"])
def test_a_signal_while_a_model_is_loaded_or_written_ends_the_run_in_the_same_way(
    place: str, number: signal.Signals, given: dict[str, Any], uninterrupted: Path
) -> None:
    before = signal.getsignal(number)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"tsdae_kit.{place}", lambda *_: os.kill(os.getpid(), number))
        with pytest.raises(RunStopped, match=f"Stopped by {number.name}, outside of training"):
            adapt(**given)
    assert not Path(given["output"], "final").exists()
    assert signal.getsignal(number) == before
    adapt(**given)
    assert_equal_to_the_bit(Path(given["output"]), uninterrupted)
