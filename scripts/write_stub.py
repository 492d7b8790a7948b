"""Writes ``tsdae_kit/__init__.pyi``, the types of the public names: ``python -m scripts.write_stub``.

The package imports its names on first use, and a command's keywords are made from its settings: editors and mypy see
neither. The stub spells out both. ``tests/test_stub.py`` compares it with what this script makes.
"""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import tsdae_kit
from tsdae_kit.config.keywords import show_type

STUB = Path(tsdae_kit.__file__).with_suffix(".pyi")
HEADER = "# Written by python -m scripts.write_stub from the settings: edit those."
TYPES = {  # that the signatures name, besides public names
    "DatasetLike": "tsdae_kit.config.python_objects",
    "Iterable": "collections.abc",
    "Literal": "typing",
    "Mapping": "collections.abc",
    "Path": "pathlib",
    "SentenceTransformer": "sentence_transformers",
    "Sequence": "collections.abc",
}


def make_stub() -> str:
    """Return the stub, formatted."""
    functions, exports = [], []
    for name in tsdae_kit.__all__:
        public = getattr(tsdae_kit, name)
        if hasattr(public, "__signature__"):
            functions.append(make_function(public))
        else:
            exports.append(f"from {public.__module__} import {name} as {name}")
    body = "\n\n".join(functions)
    words = {word for function in functions for word in names_in(function)}
    imports = [f"from {module} import {name}" for name, module in TYPES.items() if name in words]
    names = "".join(f"    {name!r},\n" for name in tsdae_kit.__all__)
    text = "\n".join([HEADER, *imports, *exports, "", f"__all__ = [\n{names}]", "__version__: str", "", body, ""])
    return format_code(text)


def make_function(function: Any) -> str:
    """Return a function's signature and docstring as source code."""
    signature = inspect.signature(function)
    parameters = [
        f"    {entry.name}: {show_type(entry.annotation)} = {show_default(entry.default)},\n"
        for entry in signature.parameters.values()
    ]
    docstring = textwrap.indent(f'"""{inspect.cleandoc(function.__doc__)}\n"""', "    ")
    returned = show_type(signature.return_annotation)
    return f"def {function.__name__}(\n    *,\n{''.join(parameters)}) -> {returned}:\n{docstring}\n"


def show_default(value: object) -> str:
    """Return a default as source code; of a path, its text."""
    return repr(str(value) if isinstance(value, Path) else value)


def names_in(code: str) -> set[str]:
    """Return the names that the code uses, apart from its docstring."""
    return {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}


def format_code(text: str) -> str:
    """Return the code as the project formats and sorts it."""
    ruff = [sys.executable, "-m", "ruff"]
    name = ["--stdin-filename", str(STUB), "-"]
    for command in ([*ruff, "check", "--select", "I,RUF022", "--fix-only", "--quiet", *name], [*ruff, "format", *name]):
        text = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
    return re.sub(r"(?m)[ \t]+$", "", text)


if __name__ == "__main__":
    STUB.write_text(make_stub(), encoding="utf-8")
