"""Settings: one field is a flag, a keyword and a YAML key; mistakes are reported together and at once."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformerTrainingArguments

from tsdae_kit.config.command_line import parse_arguments
from tsdae_kit.config.conversion import make_settings
from tsdae_kit.config.fields import flag
from tsdae_kit.config.settings import EvaluateSettings, PrepareSettings, TrainSettings
from tsdae_kit.errors import KitError
from tsdae_kit.training.arguments import REFUSED, TAKEN, training_arguments


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
    ("text", "value"),
    [
        ("tf32=false", False), ("full_determinism=No", False), ("weight_decay=1e-3", 1e-3),
        ("weight_decay=1", 1.0), ("run_name=mend", "mend"), ("run_name=2024-01-01", "2024-01-01"),
        ("run_name=123", "123"), ("run_name=1e3", "1e3"), ("run_name=true", "true"), ("run_name=[a", "[a"),
        ("run_name={a: b}", "{a: b}"), ("run_name=a=b", "a=b"), ("run_name=null", "null"), ("project=007", "007"),
        ("torch_empty_cache_steps=5", 5), ("torch_empty_cache_steps=none", None),
        ("trackio_static_space_id=false", False), ("trackio_static_space_id=me/space", "me/space"),
        ("optim_target_modules=all-linear", "all-linear"), ("optim_target_modules=[a, b]", ["a", "b"]),
        ("prompts={noisy: 'a: '}", {"noisy": "a: "}), ("learning_rate_mapping={encoder: 1e-3}", {"encoder": 1e-3}),
        ("warmup_steps=0.1", 0.1), ("warmup_steps=3", 3.0),
        ("lr_scheduler_kwargs={num_cycles: 0.5}", {"num_cycles": 0.5}), ("optim_args=eps=1", "eps=1"),
    ],
)  # fmt: skip
def test_a_trainer_field_has_the_type_of_its_annotation(text: str, value: object) -> None:
    """``false`` once arrived as a text, which is true; a run called 2024-01-01 as a date."""
    settings = TrainSettings(trainer=(text, "lr_scheduler_type=cosine"))
    arguments = training_arguments(settings, "cpu", evaluates=False)
    got = getattr(arguments, text.partition("=")[0])
    assert (got, type(got)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("weight_decay=nan", "a number"), ("weight_decay=true", "a number"),
        ("torch_empty_cache_steps=5.5", "a whole number"),
        ("full_determinism=maybe", "true or false"), ("full_determinism=1", "true or false"),
    ],
)  # fmt: skip
def test_a_trainer_field_of_another_type_is_refused(text: str, kind: str) -> None:
    key, _, value = text.partition("=")
    with pytest.raises(KitError, match=re.escape(f"--trainer {key} takes {kind}, not {value!r}.")):
        training_arguments(TrainSettings(trainer=(text, "lr_scheduler_type=cosine")), "cpu", evaluates=False)


def test_every_trainer_field_is_taken_or_refused_with_what_does_it_instead() -> None:
    """Where this fails, a version of the library has brought a field: try it, and put it into one of the two."""
    installed = {f.name for f in fields(SentenceTransformerTrainingArguments) if f.init}
    assert installed <= TAKEN | REFUSED.keys()
    newer = {"activation_checkpointing", "activation_checkpointing_kwargs"}  # than the oldest version allowed
    assert (TAKEN | REFUSED.keys()) - installed in (set(), newer)
    assert not TAKEN & REFUSED.keys()
    for name, advice in REFUSED.items():
        with pytest.raises(KitError, match=f"^--trainer {name} is not taken: {re.escape(advice)}") as raised:
            training_arguments(TrainSettings(trainer=(f"{name}=1",)), "cpu", evaluates=False)
        named = re.findall(r"(?<!\w)--[a-z-]+", str(raised.value))
        stages = (TrainSettings, PrepareSettings)
        assert all(word in ("--trainer", *(flag(f.name) for s in stages for f in fields(s))) for word in named)


def test_what_the_run_sets_itself_is_refused() -> None:
    shown = training_arguments(TrainSettings(), "cpu", evaluates=True)
    library = SentenceTransformerTrainingArguments("x")
    ours = {f.name for f in fields(shown) if f.init and getattr(shown, f.name) != getattr(library, f.name)}
    assert ours - REFUSED.keys() == {"batch_sampler"}


def test_rates_by_name_stand_beside_the_decoder_s() -> None:
    settings = TrainSettings(trainer=("learning_rate_mapping={encoder: 0.1}",))
    defaults = {"learning_rate_mapping": {"decoder": 0.2}}
    arguments = training_arguments(settings, "cpu", evaluates=False, task_defaults=defaults)
    assert arguments.learning_rate_mapping == {"decoder": 0.2, "encoder": 0.1}


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


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--batchsize", "3"], "unrecognized arguments: --batchsize 3 (did you mean --batch-size?)"),
        (["--saves=3", "--dropout", "1"], "unrecognized arguments: --saves=3 --dropout 1 (did you mean --save-steps?)"),
        (["--dropout", "0.1"], "unrecognized arguments: --dropout 0.1\n"),
    ],
)
def test_an_unknown_flag_is_refused_with_its_nearest(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(*argv)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_an_unknown_setting_is_refused_with_its_nearest_or_with_all() -> None:
    with pytest.raises(KitError, match=r"^'epoch' is not a setting \(did you mean epochs\?\)\.$"):
        make_settings(TrainSettings, {"epoch": 3})
    with pytest.raises(KitError, match=r"^'dropout' is not a setting \(there are: encoding, .*, pairs\)\.$"):
        make_settings(TrainSettings, {"dropout": 0.1})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", 8.0), ("batch_size", "8.0"), ("batch_size", True), ("epochs", True), ("epochs", "nan"),
        ("epochs", None), ("require_gain", 1), ("require_gain", "yes"), ("resume", 1), ("model", None),
        ("precision", "fp8"), ("columns", None),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_refused(name: str, value: object) -> None:
    with pytest.raises(KitError, match=f"^{flag(name)} {re.escape(repr(value))} is not "):
        make_settings(TrainSettings, {name: value})


def test_paths_and_texts_are_taken_as_one_or_several() -> None:
    for files in ("a.txt", Path("a.txt"), ["a.txt"], ("a.txt",), [Path("a.txt")]):
        assert make_settings(PrepareSettings, {"files": files, "output": "out"}).files == ("a.txt",)
    assert make_settings(PrepareSettings, {"files": "a", "output": "out"}).output == Path("out")


def test_the_help_begins_with_what_most_runs_need(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    with pytest.raises(SystemExit):
        parse("--help")
    usage, first, *others = capsys.readouterr().out.split("\n\n")
    assert usage == "usage: prog [options]"
    heading, *lines = first.splitlines()
    assert heading == "main options:"
    flags = ["--model", "--data", "--batch-size", "--output", "--epochs", "--eval-data", "--resume", "--config", "-h,"]
    assert [line.split()[0] for line in lines] == flags
    headings = [group.splitlines()[0] for group in others]
    assert headings == ["schedule:", "model and loss:", "saving:", "evaluation and logging:", "hardware and memory:",
                        "advanced:"]  # fmt: skip


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
