"""One file for all stages: they meet, what is finished is recognised, and what is stale is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.tiny import make_sentences
from tsdae_kit.__main__ import main
from tsdae_kit.errors import KitError
from tsdae_kit.plan import run_plan


def write_plan(model: Path, **changes: dict[str, object]) -> Path:
    Path("corpus.txt").write_text("\n".join(make_sentences(60)))
    texts = make_sentences(40)
    Path("pairs.jsonl").write_text("".join(json.dumps({"anchor": t, "positive": t[:-1]}) + "\n" for t in texts))
    Path("eval").mkdir(exist_ok=True)
    Path("eval/pairs_test.tsv").write_text("".join(f"{i % 2}\t{t}\t{texts[0]}\n" for i, t in enumerate(texts)))
    short = {"max-steps": 4, "batch-size": 4, "device": "cpu", "precision": "fp32"}
    plan = {
        "evaluate": {"data": "eval", "device": "cpu"},
        "prepare": {"files": ["corpus.txt"], "output": "pairs"},
        "train": {"model": str(model), "output": "one", **short},
        "finetune": {"files": ["pairs.jsonl"], "output": "two", **short},
    }
    for stage, change in changes.items():
        plan[stage] |= change
    Path("plan.yaml").write_text(yaml.safe_dump(plan))
    return Path("plan.yaml")


def test_the_stages_read_what_the_ones_before_them_wrote_and_are_done_once(tiny_model: Path) -> None:
    plan = write_plan(tiny_model)
    assert run_plan(plan, dry_run=True) == ["prepare: to do", "train: to do", "finetune: to do", "evaluate: to do"]
    assert not Path("pairs").exists()
    run_plan(plan)
    record = json.loads(Path("two/run.json").read_text())
    assert record["settings"]["model"] == "one/final"
    scored = json.loads(Path("scores.json").read_text())["settings"]["models"]
    assert scored == [str(tiny_model), "one/final", "two/final"]
    for run in ("one", "two"):  # the end is one report
        page = Path(run, "report.html").read_text()
        assert "one/final</td>" in page.partition("Before and after")[2]
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("model.safetensors")}
    assert run_plan(plan) == [
        "prepare: there, its input is compared", "train: there, with 4 steps", "finetune: there, with 4 steps",
        "evaluate: finished",
    ]  # fmt: skip
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("model.safetensors")} == before


def test_a_run_made_from_an_earlier_model_is_refused(tiny_model: Path) -> None:
    """It would be called finished, and the scores would be those of a model that is no more."""
    plan = write_plan(tiny_model)
    run_plan(plan)
    later = time.time() + 60
    os.utime("one/final/modules.json", (later, later))
    with pytest.raises(KitError, match="two was made from an earlier version of one/final"):
        run_plan(plan)


def test_scores_are_made_anew_when_a_model_has_changed(tiny_model: Path) -> None:
    plan = write_plan(tiny_model)
    run_plan(plan)
    later = time.time() + 60
    os.utime("two/final/model.safetensors", (later, later))
    assert run_plan(plan, dry_run=True)[-1] == "evaluate: to do"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("training: {}", "a part 'training', which is no stage. There are: prepare, train"),
        ("train: [a]", "the part 'train' holds no settings"),
        ("train: {epoch: 1}\nfinetune: {loss: no}", "train: 'epoch' is not a setting.*finetune: --loss False"),
    ],
)
def test_a_wrong_plan_is_one_line_before_anything_is_done(content: str, message: str) -> None:
    Path("plan.yaml").write_text(content)
    with pytest.raises(KitError, match=message) as raised:
        run_plan(Path("plan.yaml"))
    assert "\n" not in str(raised.value)


def test_the_command_has_the_stages_and_its_help_is_quick(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", "--data", "nowhere"])
    assert ended.value.code == 2
    assert "nowhere does not exist" in capsys.readouterr().err
    code = (
        "import sys; from tsdae_kit.__main__ import main\ntry: main(['--help'])\nfinally: print('torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert all(word in shown for word in ("prepare", "train", "finetune", "evaluate", "run"))
    assert shown.endswith("False\n")
