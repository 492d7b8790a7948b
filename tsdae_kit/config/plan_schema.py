"""The JSON schema of a plan, by which an editor completes and checks ``plan.yaml``: made from the settings."""

from __future__ import annotations

import types
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from tsdae_kit.config.command_line import HasProblems
from tsdae_kit.config.plan import STAGES

_TYPES = {int: "integer", float: "number", bool: "boolean", str: "string", Path: "string", type(None): "null"}


def plan_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12): a part for each stage, of that stage's settings."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A plan of tsdae_kit",
        "type": "object",
        "properties": {name: _part(name, kind) for name, (kind, _) in STAGES.items()},
        "additionalProperties": False,
    }


def _part(name: str, kind: type[HasProblems]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    properties = {}
    for entry in fields(kind):
        default = {} if entry.default in (None, ()) else {"default": _plain(entry.default)}
        properties[entry.name] = {"description": entry.metadata["help"], **_values(hints[entry.name]), **default}
    # Also with dashes, as flags are spelled; not offered by an editor, which would show each twice.
    dashed = {
        f"^{key.replace('_', '-')}$": {"$ref": f"#/properties/{name}/properties/{key}"}
        for key in properties if "_" in key
    }  # fmt: skip
    return {
        "type": ["object", "null"],
        "properties": properties,
        "patternProperties": dashed,
        "additionalProperties": False,
    }


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _values(hint: Any) -> dict[str, Any]:
    """Return what a setting of this type may be: what ``options`` takes, spelled as JSON's types."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_values(kind) for kind in arguments]}
    if origin is tuple:  # one text, several, or (of --trainer) a mapping
        return {"type": ["string", "array", "object"], "items": {"type": "string"}}
    return {"type": _TYPES[hint]}
