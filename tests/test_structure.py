"""The plan of the house: imports go one way."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import tsdae_kit

ROOT = Path(tsdae_kit.__file__).parent
LEAVES = {"errors", "options", "settings", "folders", "console", "processes"}
MAY_IMPORT = {
    "errors": set(),
    "options": {"errors"},
    "settings": {"options"},
    "folders": {"errors"},
    "processes": {"errors"},
    "console": {"errors", "processes"},
    "text": LEAVES | {"text"},
    "denoising": LEAVES | {"denoising"},
    "evaluation": LEAVES | {"evaluation", "text"},
    "training": LEAVES | {"training", "denoising", "evaluation", "pages"},
    "pages": LEAVES | {"pages"},
    "prepare": LEAVES | {"text", "pages"},
    "train": LEAVES | {"text", "denoising", "training", "evaluation"},
    "finetune": LEAVES | {"text", "training"},
    "export": LEAVES | {"training"},
    "evaluate": LEAVES | {"evaluation", "training"},
    "report": LEAVES | {"pages"},
    "inspect": LEAVES | {"text", "denoising", "training"},
    "inputs": LEAVES | {"text", "evaluation"},
    "plan": LEAVES | {"pages", "inputs"},
    "schema": LEAVES | {"plan"},
    "__main__": LEAVES | {"plan", "schema"},
    "__init__": None,
}


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_follow_the_plan(path: Path) -> None:
    part = path.relative_to(ROOT).parts[0].removesuffix(".py")
    allowed = MAY_IMPORT[part]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    used = {module.split(".")[1] for module in modules if module.startswith("tsdae_kit.")}
    assert allowed is None or used <= allowed
