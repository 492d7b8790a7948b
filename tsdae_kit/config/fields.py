"""A setting: one dataclass field that is a flag, a keyword argument, a YAML key and a key of the run record.

Name, type, default and help text are written once, in the field; everything else is derived from it. Nothing here
imports torch: ``--help`` must answer at once.
"""

from __future__ import annotations

import inspect
from dataclasses import Field, field, fields
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, get_args

_PATH_METAVARS = {"FILES", "DIR", "MODEL", "RUN"}  # of text settings whose values are files or folders


class Group(Enum):
    """The heading under which help shows a setting; the order is that of the help."""

    MAIN = "main options"
    NOISE = "noise"
    FILTERS = "filters"
    SCHEDULE = "schedule"
    MODEL = "model and loss"
    SAVING = "saving"
    EVALUATION = "evaluation and logging"
    HARDWARE = "hardware and memory"
    ADVANCED = "advanced"


class Settings(Protocol):
    """The settings of one command: a frozen dataclass whose fields are made by :func:`setting`."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def validate(self) -> list[str]:
        """Return every contradiction between the settings, as sentences."""


def setting(
    default: Any,
    help_text: str,
    group: Group,
    *,
    record: Literal["fixed", "changeable", "left out"] = "fixed",
    metavar: str | None = None,
    positional: bool = False,
) -> Any:
    """Return a dataclass field that also describes its flag.

    Args:
        default: The only place where this default is written.
        help_text: One line for help, editors and the documentation.
        group: Where the help shows it.
        record: The run record holds the value, and a resumed run keeps it (``fixed``) or may change it
            (``changeable``); or the record does not hold it (``left out``), as ``resume``.
        metavar: The name of a value in the help (default: the last word of the setting's name).
        positional: The value is passed without the flag; a tuple takes several.
    """
    metadata = {
        "help": help_text, "group": group, "may_change": record == "changeable", "recorded": record != "left out",
        "metavar": metavar, "positional": positional,
    }  # fmt: skip
    return field(default=default, metadata=metadata)


def ordered_fields(kind: type[Settings]) -> list[Field[Any]]:
    """Return the fields in the order of the help: by group, a command's own before inherited ones."""
    groups, own = list(Group), list(inspect.get_annotations(kind))

    def place(entry: Field[Any]) -> tuple[int, int]:
        return groups.index(entry.metadata["group"]), own.index(entry.name) if entry.name in own else len(own)

    return sorted(fields(kind), key=place)


def flag(name: str) -> str:
    """Return the flag of a setting: ``batch_size`` -> ``--batch-size``."""
    return "--" + name.replace("_", "-")


def metavar(entry: Field[Any]) -> str:
    """Return the name of a value in the help: ``--save-steps STEPS``."""
    return str(entry.metadata["metavar"] or entry.name.split("_")[-1].upper())


def takes_paths(entry: Field[Any], hint: Any) -> bool:
    """Return whether the values are files or folders; of a model, the name of one on the hub is a value too."""
    return Path in (hint, *get_args(hint)) or metavar(entry) in _PATH_METAVARS


def help_with_default(entry: Field[Any]) -> str:
    """Return the help text with the default behind it, where there is one."""
    shown = "" if entry.default in (None, False, ()) else f" [{entry.default}]"
    return f"{entry.metadata['help']}{shown}"
