"""Settings: one field is a flag, a keyword and a YAML key; mistakes are reported together and at once."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from tsdae_kit.errors import KitError
from tsdae_kit.options import flag, make_settings, parse_arguments
from tsdae_kit.settings import EvaluateSettings, PrepareSettings, TrainSettings
from tsdae_kit.training.arguments import training_arguments


def parse(*argv: str) -> TrainSettings:
    return make_settings(TrainSettings, parse_arguments(TrainSettings, "prog", "", argv))


@pytest.mark.parametrize("kind", [PrepareSettings, TrainSettings, EvaluateSettings])
def test_every_setting_has_a_flag_with_help(kind: type, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(kind, "prog", "", ["--help"])
    shown = capsys.readouterr().out
    assert all(flag(f.name) in shown or f.metadata["positional"] for f in fields(kind))


def test_flags_win_over_the_yaml_file_and_both_over_the_defaults() -> None:
    Path("plan.yaml").write_text("batch-size: 8\nepochs: 2\nmodel: somewhere\ntrainer: {weight_decay: 0.1}\n")
    settings = parse("--config", "plan.yaml", "--batch-size", "16", "--trainer", "lr_scheduler_type=cosine")
    assert (settings.batch_size, settings.epochs, settings.model) == (16, 2.0, "somewhere")
    assert settings.trainer == ("lr_scheduler_type=cosine",)
    assert make_settings(TrainSettings, {"trainer": {"weight_decay": 0.1}}).trainer == ("weight_decay=0.1",)
    assert settings.seed == TrainSettings().seed


@pytest.mark.parametrize(
    ("text", "value"), [("tf32=false", False), ("weight_decay=1e-3", 1e-3), ("run_name=mend", "mend")]
)
def test_a_trainer_field_has_the_type_that_its_text_says(text: str, value: object) -> None:
    """``false`` once arrived as a text, which is true."""
    arguments = training_arguments(TrainSettings(trainer=(text,)), "cpu", evaluates=False)
    assert getattr(arguments, text.partition("=")[0]) == value


def test_several_values_are_given_at_once_or_one_by_one() -> None:
    given = parse_arguments(EvaluateSettings, "prog", "", ["a", "b", "--data", "x", "y", "--data", "z"])
    assert given == {"models": ["a", "b"], "data": ["x", "y", "z"]}
    Path("plan.yaml").write_text("models: [a]\ndata: x\n")
    settings = make_settings(EvaluateSettings, parse_arguments(EvaluateSettings, "prog", "", ["--config", "plan.yaml"]))
    assert (settings.models, settings.data) == (("a",), ("x",))


def test_resume_takes_a_path_or_none() -> None:
    assert parse().resume is False
    assert parse("--resume").resume is True
    assert parse("--resume", "runs/tsdae/checkpoint-7").resume == Path("runs/tsdae/checkpoint-7")


def test_all_problems_are_reported_together() -> None:
    with pytest.raises(KitError) as raised:
        make_settings(TrainSettings, {"batch_size": "many", "precision": "fp8", "epoch": 3})
    assert all(
        part in str(raised.value) for part in ("--batch-size 'many'", "--precision 'fp8'", "'epoch' is not a setting")
    )
    with pytest.raises(KitError) as raised:
        make_settings(TrainSettings, {"batch_size": 0, "workers": -1, "resume": True, "overwrite": True})
    assert all(part in str(raised.value) for part in ("--batch-size 0", "--workers -1", "--overwrite contradict"))


@pytest.mark.parametrize("content", ["- a list", "key: [unclosed", ""])
def test_a_yaml_file_without_settings_is_one_line(content: str) -> None:
    Path("plan.yaml").write_text(content)
    with pytest.raises(KitError, match=r"plan\.yaml") as raised:
        parse("--config", "plan.yaml")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("command", ["prepare", "train", "finetune", "evaluate", "report", "inspection"])
def test_help_answers_before_anything_heavy_is_imported(command: str) -> None:
    """``import sentence_transformers`` takes several seconds."""
    code = (
        f"import sys, tsdae_kit.{command} as c\n"
        "try: c.main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'torch', 'transformers', 'datasets', 'numpy', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0
