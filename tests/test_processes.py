"""Several processes are one run: the same weights in all of them, and the ones that a single process gets."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from transformers import TrainerCallback

from tests.test_plan import FINISHED, write_plan
from tests.tiny import SHORT, _run, assert_equal_to_the_bit, fork_server, last_step, make_sentences, weights
from tsdae_kit import KitError, distributed, train
from tsdae_kit.__main__ import main
from tsdae_kit.training import runner
from tsdae_kit.training.batch_samplers import ShardedBatchSampler
from tsdae_kit.training.trainer import loss_state_dict
from tsdae_kit.tsdae.regularization import Regularization

TWO = {**SHORT, "batch_size": 4, "device": "cpu"}


class Fingerprints(TrainerCallback):
    """Writes a digest of every weight of encoder and decoder after each step."""

    def __init__(self, loss: Any, path: Path) -> None:
        self.loss, self.path = loss, path

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        state = loss_state_dict(self.loss, torch.nn.Module())
        digest = hashlib.sha256(b"".join(t.numpy().tobytes() for t in state.values())).hexdigest()
        with self.path.open("a") as stream:
            stream.write(digest + "\n")


def rank(given: dict[str, Any], number: int, port: int, digests: Path) -> None:
    os.environ.update(RANK=str(number), LOCAL_RANK=str(number), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2",
                      MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))  # fmt: skip
    make = runner._make_trainer

    def make_and_watch(*args: Any) -> Any:
        trainer = make(*args)
        trainer.add_callback(Fingerprints(trainer.loss, digests / str(number)))
        return trainer

    runner._make_trainer = make_and_watch
    _run(given, 0.0)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def start_two(given: dict[str, Any], digests: Path) -> list[Any]:
    digests.mkdir(exist_ok=True)
    port = free_port()
    both = [fork_server().Process(target=rank, args=(given, number, port, digests)) for number in (0, 1)]
    for process in both:
        process.start()
    return both


def command(argv: list[str], number: int, port: int, shown: Path) -> None:
    """Run a command as one process of two."""
    os.environ.update(RANK=str(number), LOCAL_RANK=str(number), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2",
                      MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))  # fmt: skip
    os.dup2(os.open(shown, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    main(argv)


def start_commands(first: list[str], second: list[str], shown: Path) -> list[Any]:
    port = free_port()
    both = [
        fork_server().Process(target=command, args=(argv, i, port, shown)) for i, argv in enumerate((first, second))
    ]
    for process in both:
        process.start()
    return both


def codes(both: list[Any]) -> list[int]:
    for process in both:
        process.join(120)
    return [process.exitcode for process in both]


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """The tiny model without dropout, whose random numbers are each process's own."""
    folder = tmp_path_factory.mktemp("still") / "model"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, still: Path, tiny_data: Path) -> Path:
    folder = tmp_path_factory.mktemp("two")
    given = {**TWO, "data": tiny_data, "model": str(still), "output": folder / "run"}
    assert codes(start_two(given, folder / "digests")) == [0, 0]
    return folder


def test_after_every_step_all_processes_hold_the_same_weights(two: Path) -> None:
    first, second = ((two / "digests" / number).read_text().split() for number in "01")
    assert first == second
    assert len(set(first)) == SHORT["max_steps"]


def test_two_processes_follow_one_with_the_double_batch(
    two: Path, still: Path, tiny_data: Path, tmp_path: Path
) -> None:
    train.adapt(**SHORT, device="cpu", data=tiny_data, model=str(still), output=tmp_path / "one")
    one, both = weights(tmp_path / "one"), weights(two / "run")
    assert one.keys() == both.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(both[name], tensor, rtol=1e-3, atol=2e-5, msg=name)


@pytest.mark.slow
def test_two_processes_with_a_prefix_decoder_follow_one_too(still: Path, tiny_data: Path, tmp_path: Path) -> None:
    given = {"data": tiny_data, "model": str(still), "decoder": "prefix", "device": "cpu"}
    assert codes(start_two({**TWO, **given, "output": tmp_path / "two"}, tmp_path / "digests")) == [0, 0]
    first, second = ((tmp_path / "digests" / number).read_text().split() for number in "01")
    assert first == second
    train.adapt(**SHORT, **given, output=tmp_path / "one")
    one, both = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, tensor in one.items():
        torch.testing.assert_close(both[name], tensor, rtol=1e-3, atol=2e-5, msg=name)


def contrast_of_a_share(still: Path, number: int | None, port: int, into: Path) -> None:
    """Write the gradients of a batch's contrast with the encoder's own clean embeddings, or of a share of it."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    texts, rows = make_sentences(5), slice(number, None, 1 if number is None else 2)
    encoder = SentenceTransformer(str(still), device="cpu").train()
    noisy, clean = (encoder.preprocess(part[rows]) for part in ([text[:20] for text in texts], texts))
    if number is not None:
        torch.distributed.init_process_group("gloo", rank=number, world_size=2)
    Regularization(0.5)(encoder, encoder(noisy)["sentence_embedding"], clean).backward()
    save_file({name: p.grad for name, p in encoder.named_parameters() if p.grad is not None}, into)
    if number is not None:
        torch.distributed.destroy_process_group()


def test_the_contrast_of_two_processes_has_the_gradients_of_one_with_all_rows(still: Path, tmp_path: Path) -> None:
    """Of five rows, three are in one process and two in the other; the wrapper takes the mean."""
    port = free_port()
    files = [tmp_path / str(number) for number in (0, 1)]
    both = [
        fork_server().Process(target=contrast_of_a_share, args=(still, i, port, file)) for i, file in enumerate(files)
    ]
    for process in both:
        process.start()
    contrast_of_a_share(still, None, port, tmp_path / "one")
    assert codes(both) == [0, 0]
    one, *shares = (load_file(path) for path in (tmp_path / "one", *files))
    for name, gradient in one.items():
        torch.testing.assert_close((shares[0][name] + shares[1][name]) / 2, gradient, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.slow
def test_killed_processes_resume_to_the_bit_and_another_number_is_refused(
    two: Path, still: Path, tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {**TWO, "data": tiny_data, "model": str(still), "output": tmp_path / "run"}
    both = start_two(given, tmp_path / "digests")
    while last_step(tmp_path / "run") < 10:
        time.sleep(0.01)
    for process in both:
        os.kill(process.pid, signal.SIGKILL)
    assert codes(both) == [-9, -9]
    with pytest.raises(KitError, match="started by 2 processes, and now there are 1"):
        train.adapt(output=tmp_path / "run", resume=True)
    assert codes(start_two({"output": tmp_path / "run", "resume": True}, tmp_path / "again")) == [0, 0]
    assert_equal_to_the_bit(two / "run", tmp_path / "run")


def test_a_signal_to_one_process_stops_all_at_the_same_step(still: Path, tiny_data: Path, tmp_path: Path) -> None:
    given = {**TWO, "max_steps": 2000, "data": tiny_data, "model": str(still), "output": tmp_path / "run"}
    both = start_two(given, tmp_path / "digests")
    while last_step(tmp_path / "run") < 5:
        time.sleep(0.01)
    os.kill(both[1].pid, signal.SIGTERM)
    assert codes(both) == [75, 75]
    first, second = ((tmp_path / "digests" / number).read_text().split() for number in "01")
    assert first == second


def test_shares_of_a_batch_are_all_of_it_and_none_is_empty() -> None:
    class Batches:
        batch_size, drop_last = 6, False

        def __len__(self) -> int:
            return 3

        def __iter__(self) -> Any:
            return iter([[5, 3, 1, 0, 2, 4], [6, 7, 8], [9]])

    shares = [list(ShardedBatchSampler(Batches(), number, 3)) for number in range(3)]
    assert shares == [[[5, 0], [6], [9]], [[3, 2], [7], [9]], [[1, 4], [8], [9]]]


LAUNCHED = """
import os
from pathlib import Path
from tsdae_kit.plans.plan import run_plan
Path(os.environ["RANK"]).write_text(str(run_plan(Path("plan.yaml")) + run_plan(Path("plan.yaml"), dry_run=True)))
"""


@pytest.mark.slow
def test_all_stages_of_a_plan_run_in_the_processes_of_one_launch(tiny_model: Path) -> None:
    """The second stage met the destroyed group of the first; what one process can do, one process does."""
    plan = write_plan(tiny_model)
    run = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    Path("launched.py").write_text(LAUNCHED)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run([*launcher, "launched.py"], env=run, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    todo = ["prepare: to do", "train: to do", "finetune: to do", "evaluate: to do"]
    assert Path("0").read_text() == Path("1").read_text() == str(todo + FINISHED)
    assert done.stdout.count("texts read") == done.stdout.count("Scored in") == 1
    assert json.loads(Path("two/run.json").read_text())["processes"] == 2
    assert plan.exists()


def test_a_command_that_one_process_refuses_ends_all_with_its_code_and_one_line(tmp_path: Path) -> None:
    argv, shown = ["prepare", "nowhere.txt", "--output", str(tmp_path / "out")], tmp_path / "shown"
    assert codes(start_commands(argv, argv, shown)) == [2, 2]
    assert shown.read_text() == "python -m tsdae_kit.prepare: There is no file nowhere.txt. Name files of texts.\n"


def test_processes_that_do_different_work_are_refused_and_do_not_wait_for_each_other(tmp_path: Path) -> None:
    both = start_commands(["prepare", "a.txt"], ["report", "run"], tmp_path / "shown")
    assert codes(both) == [2, 2]
    assert (tmp_path / "shown").read_text().count("do different work (prepare and report)") == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"RANK": None, "MASTER_ADDR": None}, "WORLD_SIZE is 2, and no launcher has set RANK, MASTER_ADDR"),
        ({"WORLD_SIZE": "many"}, "WORLD_SIZE is 'many', which is no number of a launcher"),
        ({"WORLD_SIZE": "-2"}, "WORLD_SIZE is '-2'"),
        ({"LOCAL_WORLD_SIZE": "0"}, "LOCAL_WORLD_SIZE is '0'"),
        ({"RANK": "2"}, "RANK is 2, and WORLD_SIZE is 2"),
        (
            {"WORLD_SIZE": None, "PMI_SIZE": "4"},
            "PMI_SIZE is 4, and no launcher has set WORLD_SIZE. Start.* unset PMI_SIZE",
        ),
    ],
)
def test_a_schedulers_environment_without_a_launcher_is_one_line(
    changes: dict[str, str | None], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waited for ever for the others, or ended in a KeyError."""
    whole = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    for name, value in (whole | changes).items():
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    with pytest.raises(KitError, match=message) as raised:
        train.adapt()
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("size", ["", "1"])
def test_one_process_needs_no_launcher(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", size)
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")  # of whatever
    assert (distributed.rank(), distributed.world_size(), distributed.local_world_size()) == (0, 1, 1)
