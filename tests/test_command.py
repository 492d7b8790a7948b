"""The command ``tsdae``: what a shell completes of it, and the schema by which an editor checks a plan."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from tsdae_kit.__main__ import main

README = Path(__file__).parents[1] / "README.md"
COMPLETE = """
source completion.bash
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
$(complete -p tsdae | sed 's/.*-F \\([^ ]*\\).*/\\1/') && echo "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("tsdae comp", "completion"),
        ("tsdae train --dec", "--decoder --decoder-learning-rate --decoder-warmup-steps"),
        ("tsdae train --decoder ", "auto cross-attention prefix"),
        ("tsdae train --add-words cor", "corpus.txt"),
        ("tsdae prepare --output out cor", "corpus.txt"),
        ("tsdae evaluate cor", "corpus.txt"),
        ("tsdae run cor", "corpus.txt"),
        ("tsdae train --seed cor", ""),
    ],
)
def test_bash_completes(typed: str, offered: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["completion", "bash"])
    Path("completion.bash").write_text(capsys.readouterr().out)
    Path("corpus.txt").touch()
    done = subprocess.run(
        ["bash", "-c", COMPLETE, "bash", *typed.split(" ")], capture_output=True, text=True, check=True
    )
    assert (done.stdout.strip(), done.stderr) == (offered, "")


def test_the_script_for_zsh_knows_the_values(capsys: pytest.CaptureFixture[str]) -> None:
    main(["completion", "zsh"])
    script = capsys.readouterr().out
    assert script.startswith("#compdef tsdae")
    assert ":decoder:(auto cross-attention prefix)" in script


@pytest.fixture
def schema(capsys: pytest.CaptureFixture[str]) -> Draft202012Validator:
    main(["schema"])
    printed = json.loads(capsys.readouterr().out)
    Draft202012Validator.check_schema(printed)
    return Draft202012Validator(printed)


@pytest.mark.parametrize(
    "plan",
    [
        re.findall(r"```yaml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)[0],
        "train:",  # all defaults
        "train: {max-steps: 2, batch_size: auto, max_length: null, learning-rate: 1.0e-5, resume: true}",
        "train: {trainer: {weight_decay: 0.1}, eval_data: one/folder}",
        "finetune: {files: pairs.jsonl, output: runs/two}",
    ],
)
def test_a_good_plan_fits_the_schema(schema: Draft202012Validator, plan: str) -> None:
    assert not list(schema.iter_errors(yaml.safe_load(plan)))


@pytest.mark.parametrize(
    ("plan", "place", "message"),
    [
        ("training: {}", "", "'training' was unexpected"),
        ("train: {epoch: 1}", "train", "'epoch' does not match"),
        ("train: {max_steps: many}", "train/max_steps", "'many' is not valid"),
        ("train: {max-steps: 1.5}", "train/max-steps", "1.5 is not valid"),
        ("train: {decoder: suffix}", "train/decoder", "'suffix' is not one of ['auto', 'cross-attention', 'prefix']"),
        ("train: {require_gain: 1}", "train/require_gain", "1 is not of type 'boolean'"),
        ("finetune: {loss: no}", "finetune/loss", "False is not one of"),
        ("prepare: [corpus.txt]", "prepare", "is not of type 'object', 'null'"),
    ],
)
def test_a_mistake_in_a_plan_is_found_at_its_place(
    schema: Draft202012Validator, plan: str, place: str, message: str
) -> None:
    (error,) = schema.iter_errors(yaml.safe_load(plan))
    assert "/".join(map(str, error.path)) == place
    assert message in error.message


def test_the_schema_shows_defaults_and_help(schema: Draft202012Validator) -> None:
    shown = schema.schema["properties"]["train"]["properties"]["output"]
    assert shown == {"description": "the run's folder", "type": "string", "default": "runs/tsdae"}
