"""The examples of the README and the guides work as they stand: code runs, commands parse, what is named exists."""

from __future__ import annotations

import re
import shlex
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.tiny import make_sentences
from tsdae_kit.__main__ import COMMANDS, main
from tsdae_kit.config.command_line import parse_arguments
from tsdae_kit.config.conversion import make_settings
from tsdae_kit.config.fields import flag
from tsdae_kit.config.settings import EvaluateSettings, RunSettings, TrainSettings
from tsdae_kit.plans.plan import PLANNED_COMMANDS as PLANNED
from tsdae_kit.plans.plan import run_plan

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
}
KINDS = {name: command.settings for name, command in COMMANDS.items()}
# flags of the command without a stage, of all commands, and of GPL
OTHER_FLAGS = {"--help", "--config", "--dry-run", "--base"}


def blocks(language: str, text: str) -> list[str]:
    """Return the fenced blocks of a language ("" for those without one)."""
    return [body for name, body in re.findall(r"^```(\S*)\n(.*?)^```", text, re.DOTALL | re.M) if name == language]


def commands(text: str) -> Iterator[tuple[str, bool]]:
    """Yield each command of ours, and whether it is whole: in shell blocks and after a prompt, not in the text."""
    lines = "\n".join(blocks("bash", text)).replace("\\\n", " ").splitlines()
    lines += [line[2:] for block in blocks("", text) for line in block.splitlines() if line.startswith("$ ")]
    yield from ((line, True) for line in lines if re.search(r"(^|-m )tsdae(_kit\.| )", line))
    ours = rf"(?:python -m tsdae_kit|tsdae)[ .]|(?:{'|'.join(KINDS)}) "
    spans = re.findall(rf"`((?:{ours})[^`]*)`", text)
    yield from ((span, False) for span in spans if not re.search(r"\.\.\.|\[|\(", span))


def parse(line: str, whole: bool = True) -> Any:
    """Return the settings of a command's line, as its stage would have them; what the text left out is added."""
    words = shlex.split(line, comments=True)
    start = next(i for i, word in enumerate(words) if word.startswith("tsdae") or word in KINDS)
    stage, *given = words[start + (words[start] in ("tsdae", "tsdae_kit")) :]
    stage = stage.removeprefix("tsdae_kit.")
    if stage == "run":
        assert len(given) == 1
        return Namespace(plan=given[0])
    if stage in ("completion", "schema"):
        return main([stage, *(word for word in given if word.isalpha())])
    kind = KINDS[stage]
    if not whole and any(entry.metadata["positional"] for entry in fields(kind)) and "--" in (given or ["--"])[0][:2]:
        given = ["NAME", *given]
    if not whole and kind is EvaluateSettings and "--data" not in given:
        given += ["--data", "DIR"]
    return make_settings(kind, parse_arguments(kind, line, "", given))


@pytest.fixture
def field(tiny_model: Path) -> None:
    """What the examples find: a corpus, pairs, models (a tiny one stands for all of them)."""
    Path("corpus.txt").write_text("\n".join(make_sentences(20)))
    Path("pairs.jsonl").write_text(
        '{"anchor": "a rash", "positive": "red skin"}\n{"anchor": "a fever", "positive": "high temperature"}\n'
    )
    Path("my/evaluation").mkdir(parents=True)
    Path("my/evaluation/pairs_test.tsv").write_text("1\ta rash\tred skin\n0\ta fever\tred skin\n")
    for name in ("all-MiniLM-L6-v2", "bert-base-uncased", "runs/tsdae/final"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).symlink_to(tiny_model)


EXAMPLES = [(name, block) for name, text in GUIDES.items() for block in blocks("python", text)]
SCRIPT = next(block for name, block in EXAMPLES if name == "docs/migrating.md" and "ResumableTrainer(" in block)


@pytest.mark.usefixtures("field")
@pytest.mark.parametrize(
    ("name", "block"), [example for example in EXAMPLES if example[1] != SCRIPT],
    ids=lambda text: text.split("\n")[-2:][0][:40],
)  # fmt: skip
def test_the_python_examples_run(name: str, block: str) -> None:
    if "runs/tsdae/final" not in block:
        Path("runs/tsdae/final").unlink()
        Path("runs/tsdae").rmdir()
    exec(compile(block, name, "exec"), {})


@pytest.mark.usefixtures("field")
def test_the_script_of_ones_own_continues_to_the_same_bits() -> None:
    exec(SCRIPT, {})
    whole = load_file("out/final/model.safetensors")
    Path("out/checkpoint-4").rename("later")
    exec(SCRIPT, {})
    again = load_file("out/final/model.safetensors")
    assert all(tensor.equal(again[name]) for name, tensor in whole.items())


COMMANDS = [
    pytest.param(*command, id=f"{name}: {command[0]}") for name, text in GUIDES.items() for command in commands(text)
]


@pytest.mark.parametrize(("line", "whole"), COMMANDS)
def test_every_command_parses(line: str, whole: bool) -> None:
    settings = parse(line, whole)
    if isinstance(settings, RunSettings) and settings.trainer and "KEY=VALUE" not in settings.trainer:
        from tsdae_kit.training.arguments import training_arguments

        training_arguments(replace(settings, precision="fp32"), "cpu", evaluates=False)  # half precision may be lacking


def test_commands_are_found() -> None:
    assert len(COMMANDS) > 25
    text = (
        "```bash\ntorchrun -m tsdae_kit.train --resume\n```\n```\n$ tsdae run plan.yaml\n```\n`tsdae train --epochs 2`"
    )
    assert [parse(*command) for command in commands(text)] == [
        TrainSettings(resume=True), Namespace(plan="plan.yaml"), TrainSettings(epochs=2.0)
    ]  # fmt: skip


@pytest.mark.parametrize("name", GUIDES)
def test_every_flag_that_is_named_exists(name: str) -> None:
    lines = re.findall(r"`(?:python -m tsdae_kit\.train )?(--[a-z][^`]*)`", GUIDES[name])
    known = {flag(entry.name) for kind in KINDS.values() for entry in fields(kind)}
    named = {word for line in lines for word in re.findall(r"--[a-z-]+", line)}
    assert named <= known | OTHER_FLAGS
    assert len(lines) > 8 or name != "README.md"


@pytest.mark.parametrize("name", GUIDES)
def test_every_script_that_is_named_exists(name: str) -> None:
    named = set(re.findall(r"\bscripts[/.]\w+(?:\.(?:py|sh)\b)?", GUIDES[name]))
    files = {word if "/" in word and "." in word else word.replace(".", "/") + ".py" for word in named}
    assert all((ROOT / file).is_file() for file in files), files


def test_the_plan_is_valid() -> None:
    (plan,) = blocks("yaml", README)
    Path("plan.yaml").write_text(plan)
    for name in ("corpus.txt", "pairs.jsonl", "my/evaluation/pairs_test.tsv"):  # a plan looks for them
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    assert [line.partition(":")[0] for line in run_plan(Path("plan.yaml"), dry_run=True)] == list(PLANNED)


@pytest.mark.parametrize("line", re.findall(r"`(--(?:resume|model .)[^`]*)`", README))
def test_the_ways_to_resume_and_continue_are_valid(line: str) -> None:
    make_settings(TrainSettings, parse_arguments(TrainSettings, "prog", "", line.split()))
