"""One file for all stages: they meet, what is finished is recognised, and what is stale is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file, save_file

from tests.tiny import make_sentences
from tsdae_kit.__main__ import main
from tsdae_kit.errors import KitError
from tsdae_kit.plans.plan import run_plan


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
    assert run_plan(plan) == FINISHED
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("model.safetensors")} == before


def changed(path: str) -> None:
    """Change a model's folder as another training would."""
    weights = load_file(path)
    save_file({name: tensor + 1 for name, tensor in weights.items()}, path)


def test_a_run_made_from_an_earlier_model_is_refused(tiny_model: Path) -> None:
    """It would be called finished, and the scores would be those of a model that is no more."""
    plan = write_plan(tiny_model)
    run_plan(plan)
    changed("one/final/model.safetensors")
    with pytest.raises(KitError, match="two was made from an earlier version of one/final"):
        run_plan(plan)


def test_scores_are_made_anew_when_a_model_or_the_data_have_changed(tiny_model: Path) -> None:
    plan = write_plan(tiny_model)
    run_plan(plan)
    data = Path("eval/pairs_test.tsv").read_text()
    Path("eval/pairs_test.tsv").write_text(data + data.splitlines()[0] + "\n")
    assert run_plan(plan, dry_run=True)[-1] == "evaluate: to do"
    Path("eval/pairs_test.tsv").write_text(data)
    assert run_plan(plan, dry_run=True)[-1] == "evaluate: finished"
    changed("two/final/model.safetensors")
    assert run_plan(plan, dry_run=True)[-1] == "evaluate: to do"


FINISHED = ["prepare: there, its input is compared", "train: there, with 4 steps", "finetune: there, with 4 steps",
            "evaluate: finished"]  # fmt: skip


def test_no_clock_decides_what_is_up_to_date(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy without its times, another time zone, a page read again: all made a plan refuse its own good run."""
    shutil.copytree(tiny_model, "base")
    plan = write_plan(Path("base"))
    run_plan(plan)
    shutil.copytree(".", "copy", copy_function=shutil.copy)
    monkeypatch.chdir("copy")
    later = time.time() + 3 * 86400
    for path in Path("base").rglob("*"):
        os.utime(path, (later, later))
    os.utime("scores.json", (1, 1))
    Path("one/final/README.md").write_text("Of this model I know more.")
    for zone in ("UTC+11", "UTC-11"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        assert run_plan(plan, dry_run=True) == FINISHED
    monkeypatch.delenv("TZ")
    time.tzset()
    record = json.loads(Path("one/run.json").read_text())
    del record["model_digest"]  # as runs had none once
    Path("one/run.json").write_text(json.dumps(record))
    changed("base/model.safetensors")
    assert run_plan(plan, dry_run=True)[1] == FINISHED[1]


def test_a_plan_from_scratch_is_evaluated(tiny_model: Path) -> None:
    plan = write_plan(tiny_model, train={"model": "scratch", "scratch_size": "tiny"})
    run_plan(plan)
    report = json.loads(Path("scores.json").read_text())
    assert report["settings"]["models"] == ["one/final", "two/final"]
    assert run_plan(plan, dry_run=True)[-1] == "evaluate: finished"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("training: {}", r"a part 'training', which is no stage \(did you mean train\?\); there are: prepare, train"),
        ("fine_tune: {files: a}", r"'fine_tune', which is no stage \(did you mean finetune\?\)"),
        ("fine-tune: {files: a}\nxyz: 1\nevaluate: {dat: a}", "'fine_tune'.*'xyz'.*evaluate: 'dat' is not a setting"),
        ("train: [a]", "the part 'train' holds no settings"),
        ("train: {epoch: 1}\nfinetune: {loss: no}", "train: 'epoch' is not a setting.*finetune: --loss False"),
    ],
)
def test_a_wrong_plan_is_one_line_before_anything_is_done(content: str, message: str) -> None:
    Path("plan.yaml").write_text(content)
    with pytest.raises(KitError, match=message) as raised:
        run_plan(Path("plan.yaml"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("dry_run", [True, False])
def test_the_inputs_of_all_stages_are_looked_for_before_the_first(tiny_model: Path, dry_run: bool) -> None:
    plan = write_plan(
        tiny_model,
        prepare={"files": ["corpus.txt", "texts/*.txt", "-"], "protect": "names.txt"},
        train={"model": "./base", "add_words": "words.txt", "pairs": "labels.csv", "eval_data": ["dev", "eval"]},
        finetune={"files": ["pairs.jsonl", "more.jsonl"], "mine_negatives": "field.txt"},
        evaluate={
            "models": ["one/final", "one/finall", "nobody/nothing", "bm25", "eval"],
            "data": ["eval", "pairs", "x"],
        },
    )
    with pytest.raises(KitError) as raised:
        run_plan(plan, dry_run=dry_run)
    assert str(raised.value) == (
        "prepare: files: texts/*.txt does not exist. prepare: protect: names.txt does not exist. "
        "train: add_words: words.txt does not exist. train: pairs: labels.csv does not exist. "
        "train: eval_data: dev does not exist. train: model: ./base does not exist. "
        "finetune: files: more.jsonl does not exist. finetune: mine_negatives: field.txt does not exist. "
        "evaluate: data: x does not exist. evaluate: models: one/finall does not exist. "
        "evaluate: models: nobody/nothing is neither a folder nor in the hub's cache, and HF_HUB_OFFLINE is set. "
        "evaluate: models: eval holds no model. "
        "Nothing was begun: mend this first."
    )
    assert not Path("pairs").exists()


def test_a_model_that_only_the_hub_can_have_is_not_called_missing(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    plan = write_plan(tiny_model, train={"model": "somebody/something"})
    assert run_plan(plan, dry_run=True)[1] == "train: to do"


def test_a_report_that_fails_costs_a_plan_nothing(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("tsdae_kit.plans.plan.write_run_page", fail)
    assert run_plan(write_plan(tiny_model))[-1] == "evaluate: to do"
    assert "!!! The report could not be written (ZeroDivisionError). The runs and the scores are whole." in caplog.text


def test_a_finished_plan_does_without_the_model_that_it_began_with(tiny_model: Path) -> None:
    shutil.copytree(tiny_model, "base")
    plan = write_plan(Path("./base").resolve())
    run_plan(plan)
    shutil.rmtree("base")
    assert run_plan(plan) == FINISHED


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
