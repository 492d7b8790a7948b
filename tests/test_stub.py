"""Every keyword of the public functions is visible: at run time, in help(), to editors and to a type checker."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Literal

import pytest

import tsdae_kit
from scripts.write_stub import STUB, make_stub
from tsdae_kit.__main__ import COMMANDS
from tsdae_kit.plans.plan import PLANNED_COMMANDS

FUNCTIONS = {
    **{name: command.function for name, command in PLANNED_COMMANDS.items()},
    "report": "write_report", "inspect": "inspect_run", "export": "export_model",
}  # fmt: skip
PYTHON_ONLY = {"prepare": {"texts"}, "finetune": {"pairs"}}
RIGHT = """
from pathlib import Path
from tsdae_kit import __version__, adapt, export_model, fine_tune, inspect_run, prepare_corpus, score_models
from tsdae_kit import write_report

prepared = prepare_corpus(files="corpus.txt", column=["title", "text"], deletion_ratio=1 / 2)
prepared = prepare_corpus(texts=(text for text in ["one", "two"]), near_duplicates=None)
final: Path = adapt(data=prepared, model=Path("base"), batch_size="auto", resume="runs/tsdae/checkpoint-4")
final = adapt(trainer={"weight_decay": 0.1}, eval_data=[final, "data/dev"], epochs=2)
final = fine_tune(pairs=[{"anchor": "a", "positive": "b"}], columns={"anchor": "query"}, output="runs/two")
score: float = score_models(models=[final, "bm25"], data="data/dev")["results"][0]["score"]
page = write_report(runs=[final.parent, "runs/other"]).name.upper()
neighbours = inspect_run(text=("a rash",), nearest=2)[0].neighbours
exported = export_model(format="openvino").name + __version__
"""
WRONG = {
    "adapt(epoch=3)": 'Unexpected keyword argument "epoch" for "adapt"; did you mean "epochs"?',
    "adapt(epochs='two')": 'Argument "epochs" to "adapt" has incompatible type "str"; expected "float"',
    "adapt(precision='fp8')": 'Argument "precision" to "adapt" has incompatible type "Literal[\'fp8\']"',
    "prepare_corpus(texts=[1])": 'List item 0 has incompatible type "int"; expected "str"',
    "prepare_corpus('corpus.txt')": 'Too many positional arguments for "prepare_corpus"',
    "fine_tune(pairs='pairs.csv')": 'Argument "pairs" to "fine_tune" has incompatible type "str"',
    "score_models(models=[3])": 'List item 0 has incompatible type "int"',
    "export_model(format='coreml')": 'Argument "format" to "export_model" has incompatible type',
    "write_report(scores=3)": 'Argument "scores" to "write_report" has incompatible type "int"',
    "inspect_run(searched=None)": 'Argument "searched" to "inspect_run" has incompatible type "None"',
}


def type_check(code: str) -> list[str]:
    """Return mypy's errors in a user's file.

    Only the modules that the signatures name are read, which takes a second; ``test_wheel.py`` reads torch too.
    """
    Path("user.py").write_text(code)
    Path("sentence_transformers.pyi").write_text("class SentenceTransformer: ...")
    package = [STUB, *(STUB.parent / name for name in ("config/python_objects.py", "evaluate.py", "inspection.py"))]
    mypy = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=skip", "--cache-dir", "cache", "--no-pretty"]
    done = subprocess.run(
        [*mypy, "user.py", "sentence_transformers.pyi", *package], capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    return [line for line in done.stdout.splitlines() if line.startswith("user.py") and ": error: " in line]


def test_the_stub_is_the_one_that_the_settings_make() -> None:
    assert STUB.read_text(encoding="utf-8") == make_stub(), "run: python -m scripts.write_stub"


def test_right_calls_pass_a_type_check() -> None:
    assert type_check(RIGHT) == []


def test_wrong_names_and_types_are_errors_of_a_type_check() -> None:
    errors = type_check("from tsdae_kit import *\n" + "\n".join(WRONG))
    assert [line.split(":")[1] for line in errors] == [str(number) for number in range(2, len(WRONG) + 2)]
    for error, expected in zip(errors, WRONG.values(), strict=True):
        assert expected in error


@pytest.mark.parametrize("command", FUNCTIONS)
def test_every_setting_is_a_keyword_with_default_and_help(command: str) -> None:
    function, kind = getattr(tsdae_kit, FUNCTIONS[command]), COMMANDS[command].settings
    parameters = inspect.signature(function).parameters
    assert parameters.keys() - PYTHON_ONLY.get(command, set()) == {entry.name for entry in fields(kind)}
    assert {parameter.kind for parameter in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    for entry in fields(kind):
        assert parameters[entry.name].default == entry.default
        assert f"    {entry.name}: {entry.metadata['help']}" in function.__doc__
    assert "**settings" not in function.__doc__
    assert "Any" not in str(inspect.signature(function))


def test_annotations_are_the_types_that_are_accepted() -> None:
    parameters = inspect.signature(tsdae_kit.prepare_corpus).parameters
    assert parameters["files"].annotation == str | Path | Sequence[str | Path]
    assert parameters["output"].annotation == str | Path
    assert parameters["engine"].annotation == Literal["local", "ray"]
    assert parameters["near_duplicates"].annotation == float | None
    train = inspect.signature(tsdae_kit.adapt).parameters
    assert train["model"].annotation == "str | Path | SentenceTransformer"
    assert train["resume"].annotation == bool | str | Path


def test_the_package_names_its_version_and_its_members() -> None:
    listed = (STUB.parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{tsdae_kit.__version__}"' in listed
    assert {*tsdae_kit.__all__, "__version__"} <= set(dir(tsdae_kit))
    assert not hasattr(tsdae_kit, "no_such_name")


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys, tsdae_kit; print([n for n in sys.modules if n.startswith('tsdae_kit.') or n == 'email'])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
