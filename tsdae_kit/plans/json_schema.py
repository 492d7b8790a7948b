"""The JSON schema of a plan, for editors that complete and check ``plan.yaml``; derived from the settings."""

from __future__ import annotations

import types
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from tsdae_kit.config.fields import Settings
from tsdae_kit.plans.plan import PLANNED_COMMANDS

_JSON_TYPES = {int: "integer", float: "number", bool: "boolean", str: "string", Path: "string", type(None): "null"}


def plan_schema() -> dict[str, Any]:
    """Return the schema (draft 2020-12): a part for each command, of that command's settings."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A plan of tsdae_kit",
        "type": "object",
        "properties": {name: _part_schema(name, command.settings) for name, command in PLANNED_COMMANDS.items()},
        "additionalProperties": False,
    }


def _part_schema(name: str, kind: type[Settings]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    properties = {}
    for entry in fields(kind):
        default = str(entry.default) if isinstance(entry.default, Path) else entry.default
        properties[entry.name] = {"description": entry.metadata["help"], **_value_schema(hints[entry.name])}
        properties[entry.name] |= {} if default in (None, ()) else {"default": default}
    # Also with dashes, as flags are spelled; as a pattern, because an editor would offer each property twice.
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


def _value_schema(hint: Any) -> dict[str, Any]:
    """Return the schema of the values of a type, as :func:`tsdae_kit.config.conversion.make_settings` takes them."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_value_schema(kind) for kind in arguments]}
    if origin is tuple:  # one text, several, or a mapping (of --trainer)
        return {"type": ["string", "array", "object"], "items": {"type": "string"}}
    return {"type": _JSON_TYPES[hint]}
