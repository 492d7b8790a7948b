"""Makes flags, keyword arguments and YAML keys out of a frozen dataclass, so that each is written once.

A flag, a keyword of the stage's function, a key of its YAML file and a key of the run record are one name: that of
the dataclass's field. The trade-off is a small amount of type inspection here instead of an argument list in every
command. Nothing here imports torch: ``--help`` must answer at once.
"""

from __future__ import annotations

import argparse
import math
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from tsdae_kit.errors import KitError, run_command


class HasProblems(Protocol):
    """A stage's settings: a dataclass whose fields are made by :func:`option`."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def problems(self) -> list[str]:
        """Return every contradiction between the settings, as sentences."""


Settings = TypeVar("Settings", bound=HasProblems)


def option(
    default: Any, help_text: str, *, may_change: bool = False, recorded: bool = True, metavar: str | None = None,
    positional: bool = False,
) -> Any:  # fmt: skip
    """Return a dataclass field that also describes its flag.

    Args:
        default: The one place this default is written.
        help_text: The flag's help.
        may_change: Whether a resumed run may be given another value.
        recorded: Whether the value belongs to the run's record (false for how to start, as ``resume``).
        metavar: What help calls a value (else the last word of the name).
        positional: Whether the value, or of a tuple the values, are given without the flag.
    """
    metadata = {"help": help_text, "may_change": may_change, "recorded": recorded, "metavar": metavar,
                "positional": positional}  # fmt: skip
    return field(default=default, metadata=metadata)


def flag(name: str) -> str:
    """Return a field's flag: ``batch_size`` -> ``--batch-size``."""
    return "--" + name.replace("_", "-")


def make_settings(kind: type[Settings], given: Mapping[str, Any]) -> Settings:
    """Return the settings with defaults filled in.

    Args:
        kind: The stage's dataclass.
        given: Field names to values, as typed values or as the strings of a command line.

    Raises:
        KitError: Naming every unknown name, wrong type and contradiction at once.
    """
    hints = get_type_hints(kind)
    known = [f.name for f in fields(kind)]
    problems = [f"{name!r} is not a setting (there are: {', '.join(known)})" for name in given if name not in hints]
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name in hints:
            try:
                values[name] = _convert(value, hints[name])
            except (TypeError, ValueError):
                problems.append(f"{flag(name)} {value!r} is not {describe(hints[name])}")
    if not problems:
        settings = kind(**values)
        problems = settings.problems()
    if problems:
        raise KitError(". ".join(problems) + ".")
    return settings


def to_record(settings: HasProblems) -> dict[str, Any]:
    """Return the settings that a record of what was done holds."""
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
        if isinstance(value, Mapping):
            return tuple(
                f"{key}={item}" for key, items in value.items()
                for item in (items if isinstance(items, (list, tuple)) else [items])
            )  # fmt: skip
        return tuple(str(item) for item in ([value] if isinstance(value, (str, Path)) else value))
    if value is None or isinstance(value, bool) or hint is bool or (hint is int and isinstance(value, float)):
        raise TypeError(value)
    converted = hint(value)
    if isinstance(converted, float) and not math.isfinite(converted):
        raise ValueError(value)
    return converted


def describe(hint: Any) -> str:
    """Return a type in a user's words: ``int | None`` -> ``a whole number``."""
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    names = {int: "a whole number", float: "a number", bool: "true or false", Path: "a path", str: "text",
             list: "a list", dict: "a mapping"}  # fmt: skip
    hint = get_origin(hint) if get_origin(hint) in (list, dict) else hint
    names |= {kind: " or ".join(map(repr, get_args(kind))) for kind in get_args(hint) if get_origin(kind) is Literal}
    kinds = [kind for kind in get_args(hint) if kind in names] or [hint]
    return " or ".join(names.get(kind, str(kind)) for kind in kinds)


def parse_arguments(kind: type[Settings], prog: str, description: str, argv: Sequence[str] | None) -> dict[str, Any]:
    """Return only what was given by hand, from ``--config FILE`` and from flags, flags winning.

    Args:
        kind: The stage's dataclass; each field becomes a flag.
        prog: The command's name, for help and errors.
        description: One sentence, for help.
        argv: The arguments; ``None`` takes the process's own.

    Raises:
        KitError: If the YAML file cannot be read or holds no settings.
    """
    parser = argparse.ArgumentParser(prog=prog, description=description, argument_default=argparse.SUPPRESS)
    add_flags(parser, kind)
    given = vars(parser.parse_args(argv))
    for entry in fields(kind):
        if entry.metadata["positional"] and not given.get(entry.name):
            given.pop(entry.name, None)  # argparse gives an empty list, which would hide the file's
    config = given.pop("config", None)
    return {**(read_config(config) if config else {}), **given}


def make_main(
    name: str, function: Callable[..., object], kind: type[HasProblems], description: str
) -> Callable[..., None]:
    """Return the ``main`` of ``python -m tsdae_kit.NAME``: it calls a stage's function with what was given by hand.

    A name of the standard library is that of no module of ours: there it is ``python -m tsdae_kit NAME``.
    """
    prog = f"python -m tsdae_kit{' ' if name in sys.stdlib_module_names else '.'}{name}"

    def main(argv: Sequence[str] | None = None) -> None:
        run_command(prog, lambda: function(**parse_arguments(kind, prog, description, argv)))

    return main


def add_flags(parser: argparse.ArgumentParser, kind: type[HasProblems]) -> list[argparse.Action]:
    """Give a parser ``--config`` and a flag for each field; return those whose values are files or folders."""
    config = parser.add_argument(
        "--config", type=Path, metavar="FILE", help="a YAML file of these settings; flags win over it"
    )
    hints = get_type_hints(kind)
    actions = {entry.name: _add_flag(parser, entry, hints[entry.name]) for entry in fields(kind)}
    return [config, *(action for name, action in actions.items() if _is_path(action, hints[name]))]


def _is_path(action: argparse.Action, hint: Any) -> bool:
    return Path in (hint, *get_args(hint)) or action.metavar in ("FILES", "DIR", "MODEL")


def _add_flag(parser: argparse.ArgumentParser, entry: Field[Any], hint: Any) -> argparse.Action:
    shown = "" if entry.default in (None, False, ()) else f" [{entry.default}]"
    help_text = (entry.metadata["help"] + shown).replace("%", "%%")
    metavar = entry.metadata["metavar"] or entry.name.split("_")[-1].upper()
    if entry.metadata["positional"]:
        many = "*" if get_origin(hint) is tuple else "?"
        return parser.add_argument(entry.name, nargs=many, metavar=metavar, help=help_text)
    if get_origin(hint) is tuple:
        return parser.add_argument(flag(entry.name), action="extend", nargs="+", metavar=metavar, help=help_text)
    if hint is bool:
        return parser.add_argument(flag(entry.name), action="store_true", help=help_text)
    if bool in get_args(hint):
        return parser.add_argument(flag(entry.name), nargs="?", const=True, metavar="PATH", help=help_text)
    if get_origin(hint) is Literal:
        return parser.add_argument(flag(entry.name), choices=get_args(hint), help=help_text)
    return parser.add_argument(flag(entry.name), metavar=metavar, help=help_text)


def read_config(path: Path) -> dict[str, Any]:
    """Return a YAML file's mapping, with the keys spelled as settings are.

    Raises:
        KitError: If the file cannot be read or holds no mapping.
    """
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = str(error).replace("\n", " ")
        raise KitError(f"The settings file {path} cannot be read ({reason}). Give a YAML file of settings.") from error
    if not isinstance(loaded, dict):
        raise KitError(f"The settings file {path} holds no settings. Write lines such as 'epochs: 2'.")
    return {str(key).replace("-", "_"): value for key, value in loaded.items()}
