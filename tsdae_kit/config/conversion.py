"""Settings from explicit values: command-line strings, YAML values and Python objects become the field types.

pydantic was measured for this (2.14): about a third of 32 probed values were accepted or refused differently (``1.0``
and ``true`` as whole numbers, ``1`` as a truth value, one text for a list), so that most types needed a validator of
their own, for 0.13 s more before each command.
"""

from __future__ import annotations

import math
import types
from collections.abc import Iterable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from tsdae_kit.config.fields import Settings, flag
from tsdae_kit.errors import KitError

AnySettings = TypeVar("AnySettings", bound=Settings)


def make_settings(kind: type[AnySettings], explicit: Mapping[str, object]) -> AnySettings:
    """Return the settings with defaults filled in.

    Args:
        kind: The command's dataclass.
        explicit: Values by setting, typed or as the strings of a command line.

    Raises:
        KitError: Naming every unknown setting, wrong type and contradiction at once.
    """
    hints = get_type_hints(kind)
    known = [entry.name for entry in fields(kind)]
    problems = [f"{name!r} is not a setting ({_suggest(name, known)})" for name in explicit if name not in hints]
    values: dict[str, Any] = {}
    for name, value in explicit.items():
        if name in hints:
            try:
                values[name] = _convert(value, hints[name])
            except (TypeError, ValueError):
                problems.append(f"{flag(name)} {value!r} is not {describe_type(hints[name])}")
    if not problems:
        settings = kind(**values)
        problems = settings.validate()
    if problems:
        raise KitError(". ".join(problems) + ".")
    return settings


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is closest to a mistyped one, if one is close."""
    return next(iter(get_close_matches(name, list(known), n=1)), None)


def _suggest(name: str, known: list[str]) -> str:
    near = nearest(name, known)
    return f"did you mean {near}?" if near else f"there are: {', '.join(known)}"


def to_record(settings: Settings) -> dict[str, Any]:
    """Return the settings that belong into a record."""
    return {entry.name: getattr(settings, entry.name) for entry in fields(settings) if entry.metadata["recorded"]}


def _convert(value: Any, hint: Any) -> Any:
    """Return ``value`` as the type ``hint``; ValueError or TypeError where it is not one."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if type(value) in arguments and isinstance(value, (bool, type(None))):
            return value
        if any(value in get_args(kind) for kind in arguments):  # a word that stands for a value
            return value
        return _convert(value, next(kind for kind in arguments if kind not in (type(None), bool)))
    if origin is Literal and value not in arguments:
        raise ValueError(value)
    if origin is Literal or (hint is bool and isinstance(value, bool)):
        return value
    if origin is tuple:
        return _convert_to_tuple(value)
    if value is None or isinstance(value, bool) or hint is bool or (hint is int and isinstance(value, float)):
        raise TypeError(value)
    converted = hint(value)
    if isinstance(converted, float) and not math.isfinite(converted):
        raise ValueError(value)
    return converted


def _convert_to_tuple(value: Any) -> tuple[str, ...]:
    """Return the texts of one text or path, of several, or of a mapping as ``KEY=VALUE``."""
    if isinstance(value, Mapping):
        return tuple(
            f"{key}={item}" for key, items in value.items()
            for item in (items if isinstance(items, (list, tuple)) else [items])
        )  # fmt: skip
    return tuple(str(item) for item in ([value] if isinstance(value, (str, Path)) else value))


def describe_type(hint: Any) -> str:
    """Return a type in a user's words: ``int | None`` -> ``a whole number``."""
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    names = {int: "a whole number", float: "a number", bool: "true or false", Path: "a path", str: "text",
             list: "a list", dict: "a mapping"}  # fmt: skip
    hint = get_origin(hint) if get_origin(hint) in (list, dict) else hint
    names |= {kind: " or ".join(map(repr, get_args(kind))) for kind in get_args(hint) if get_origin(kind) is Literal}
    kinds = [kind for kind in get_args(hint) if kind in names] or [hint]
    return " or ".join(names.get(kind, str(kind)) for kind in kinds)
