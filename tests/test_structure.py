"""The plan of the house: imports go one way."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import tsdae_kit

ROOT = Path(tsdae_kit.__file__).parent
LEAVES = {"errors", "extras", "framework_output", "filesystem", "distributed", "console", "config"}
MAY_IMPORT = {
    "errors": set(),
    "extras": {"errors"},
    "filesystem": {"errors"},
    "distributed": {"errors", "distributed_backend"},
    "distributed_backend": set(),
    "framework_output": set(),
    "console": {"errors", "distributed"},
    "run_folder": LEAVES,
    "config": LEAVES,
    "plans": LEAVES | {"models", "run_folder", "evaluation", "reporting"},
    "corpus": LEAVES | {"models", "reporting"},
    "labelled": LEAVES | {"corpus"},
    "models": LEAVES | {"run_folder"},
    "tsdae": LEAVES | {"models"},
    "evaluation": LEAVES | {"corpus", "labelled", "models", "run_folder"},
    "reporting": LEAVES | {"run_folder"},
    "training": LEAVES | {"corpus", "labelled", "models", "tsdae", "evaluation", "reporting", "run_folder"},
    "prepare": LEAVES | {"corpus"},
    "train": LEAVES | {"models", "training"},
    "finetune": LEAVES | {"models", "training"},
    "export": LEAVES | {"models"},
    "evaluate": LEAVES | {"evaluation", "models"},
    "report": LEAVES | {"reporting"},
    "inspection": LEAVES | {"training"},
    "__main__": LEAVES | {"plans"},
    "__init__": None,
}
MAY_IMPORT_MODULES = {"config": ("corpus.defaults",)}  # a leaf: the defaults of the corpus classes


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_plan(path: Path) -> None:
    part = path.relative_to(ROOT).parts[0].removesuffix(".py")
    allowed = MAY_IMPORT[part]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    names = {f"{node.module}.{alias.name}" for node in imports for alias in node.names}
    modules = {name.removeprefix("tsdae_kit.") for name in names if name.startswith("tsdae_kit.")}
    leaves = tuple(f"{module}." for module in MAY_IMPORT_MODULES.get(part, ()))
    used = {module.split(".")[0] for module in modules if not f"{module}.".startswith(leaves)}
    assert allowed is None or used - {part} <= allowed


def test_no_imports_go_round_in_a_circle() -> None:
    modules = {path.relative_to(ROOT.parent).with_suffix("").as_posix().replace("/", "."): path
               for path in ROOT.rglob("*.py")}  # fmt: skip
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        found = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                 if isinstance(node, ast.ImportFrom) and node.module]  # fmt: skip
        targets = {target for node in found for alias in node.names
                   for target in (f"{node.module}.{alias.name}", f"{node.module}")}  # fmt: skip
        graph[name] = targets & modules.keys()
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_imports_inside_functions_are_few_and_each_has_a_reason() -> None:
    """The lazy boundary is the commands' own modules: ``--help`` must not wait for torch."""
    lines = set()
    for path in ROOT.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
        inside = [node for function in functions for node in ast.walk(function)
                  if isinstance(node, ast.Import | ast.ImportFrom)]  # fmt: skip
        lines |= {(path.name, source.splitlines()[node.lineno - 1], node.lineno) for node in inside}
    assert len(lines) <= 15
    files = {name for name, line, _ in lines if "#" in line}
    assert {name for name, _, _ in lines} == files


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_hides_one_of_the_standard_library(path: Path) -> None:
    """An editor runs a file with its folder first in Python's path: our inspect.py was then Python's own."""
    assert path.stem not in sys.stdlib_module_names


EACH_AS_A_SCRIPT = """
import sys
sys.path[0] = sys.argv[1].rpartition("/")[0]
import runpy
from pathlib import Path
for path in map(Path, sys.argv[1:]):
    sys.path[0] = str(path.parent)
    sys.argv = [str(path), "--help"]
    try:
        runpy.run_path(str(path), run_name="__main__")
    except SystemExit as ended:
        if ended.code:
            raise
"""


@pytest.mark.slow
def test_each_file_can_be_run_as_a_script() -> None:
    """In one process, which imports torch once; each with its own folder first in the path."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT.parent)}
    files = sorted(map(str, ROOT.rglob("*.py")), key=lambda name: (name.count("/"), name))
    command = [sys.executable, "-c", EACH_AS_A_SCRIPT, *files]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage: python -m tsdae_kit inspect" in done.stdout
