"""Command lines from settings: flags in groups, ``--config FILE`` of the same settings, flags winning."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

from tsdae_kit.config.conversion import make_settings, nearest
from tsdae_kit.config.fields import (
    Group,
    Settings,
    flag,
    help_with_default,
    metavar,
    ordered_fields,
    takes_paths,
)
from tsdae_kit.errors import KitError, run_command


def parse_arguments(kind: type[Settings], prog: str, description: str, argv: Sequence[str] | None) -> dict[str, object]:
    """Return only what was passed explicitly, by ``--config FILE`` and by flags, flags winning.

    Args:
        kind: The command's dataclass; each field becomes a flag.
        prog: The command's name, for help and errors.
        description: One sentence, for help.
        argv: The arguments; ``None`` takes the process's own.

    Raises:
        KitError: If the YAML file cannot be read or holds no settings.
    """
    values = "".join(f"[{metavar(entry)} ...] " for entry in fields(kind) if entry.metadata["positional"])
    parser = argparse.ArgumentParser(
        prog=prog, description=description, usage=f"%(prog)s {values}[options]", argument_default=argparse.SUPPRESS,
        formatter_class=partial(argparse.HelpFormatter, max_help_position=30), add_help=False,
    )  # fmt: skip
    add_flags(parser, kind)
    known, unknown = parser.parse_known_args(argv)
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{_suggest_flags(unknown, kind)}")
    explicit = vars(known)
    for entry in fields(kind):
        if entry.metadata["positional"] and not explicit.get(entry.name):
            explicit.pop(entry.name, None)  # argparse adds an empty list, which would hide the file's
    config = explicit.pop("config", None)
    return {**(read_config(config) if config else {}), **explicit}


def _suggest_flags(unknown: Sequence[str], kind: type[Settings]) -> str:
    names = [entry.name for entry in fields(kind)]
    words = [word[2:].partition("=")[0].replace("-", "_") for word in unknown if word.startswith("--")]
    near = [flag(name) for word in words if (name := nearest(word, names))]
    return f" (did you mean {', '.join(near)}?)" if near else ""


def make_main(
    name: str, function: Callable[..., object], kind: type[Settings], description: str
) -> Callable[..., None]:
    """Return the ``main`` of ``python -m tsdae_kit.NAME``: it calls a command's function with the explicit settings.

    Where the standard library has a module of that name, ours has another, and it is ``python -m tsdae_kit NAME``.
    """
    prog = f"python -m tsdae_kit{' ' if name in sys.stdlib_module_names else '.'}{name}"

    def run(argv: Sequence[str] | None) -> None:
        explicit = parse_arguments(kind, prog, description, argv)
        if explicit.keys() - kind.__dataclass_fields__.keys():  # a keyword of the function may be none of a file
            make_settings(kind, explicit)  # raises, naming all mistakes
        function(**explicit)

    def main(argv: Sequence[str] | None = None) -> None:
        run_command(prog, lambda: run(argv))

    return main


def add_flags(parser: argparse.ArgumentParser, kind: type[Settings]) -> list[argparse.Action]:
    """Add ``--config``, ``--help`` and a flag for each field to a parser; return those that take files or folders."""
    hints = get_type_hints(kind)
    path_actions = []
    shown = ordered_fields(kind)
    for group in dict.fromkeys([Group.MAIN, *(entry.metadata["group"] for entry in shown)]):
        section = parser.add_argument_group(group.value)
        for entry in shown:
            if entry.metadata["group"] is group:
                action = _add_flag(section, entry, hints[entry.name])
                path_actions += [action] * takes_paths(entry, hints[entry.name])
        if group is Group.MAIN:
            path_actions.append(
                section.add_argument(
                    "--config", type=Path, metavar="FILE", help="YAML file of these settings; flags win over it"
                )
            )
            if not parser.add_help:
                section.add_argument("-h", "--help", action="help", help="show this help")
    return path_actions


def _add_flag(section: Any, entry: Field[Any], hint: Any) -> argparse.Action:
    options: dict[str, Any] = {"metavar": metavar(entry), "help": help_with_default(entry).replace("%", "%%")}
    name = flag(entry.name)
    if entry.metadata["positional"]:
        name, options["nargs"] = entry.name, "*" if get_origin(hint) is tuple else "?"
    elif get_origin(hint) is tuple:
        options |= {"action": "extend", "nargs": "+"}
    elif hint is bool:
        options["action"] = "store_true"
        del options["metavar"]
    elif bool in get_args(hint):
        options |= {"nargs": "?", "const": True, "metavar": "PATH"}
    elif get_origin(hint) is Literal:
        options["choices"] = get_args(hint)
        del options["metavar"]
    action: argparse.Action = section.add_argument(name, **options)
    return action


def read_config(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file, with the keys spelled as settings are.

    Raises:
        KitError: If the file cannot be read or holds no mapping.
    """
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = str(error).replace("\n", " ")
        raise KitError(f"The settings file {path} cannot be read ({reason}). Pass a YAML file of settings.") from error
    if not isinstance(loaded, dict):
        raise KitError(f"The settings file {path} holds no settings. Write lines such as 'epochs: 2'.")
    return with_underscores(loaded)


def with_underscores(values: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a mapping with its keys spelled as settings: ``batch-size`` -> ``batch_size``."""
    return {str(key).replace("-", "_"): value for key, value in values.items()}
