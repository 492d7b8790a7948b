"""Imports the packages that are not always installed: the extras of ``pyproject.toml``."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from tsdae_kit.errors import KitError


def require_extra(extra: str, needed_by: str, *packages: str) -> None:
    """Check that an extra's packages are installed.

    Args:
        extra: The extra's name, for the install command.
        needed_by: What needs it, as the user calls it: ``--lora-rank``.
        packages: The packages of the extra that are used.

    Raises:
        KitError: Naming the missing packages and the command that installs them.
    """
    if missing := [name for name in packages if not find_spec(name)]:
        plural = "s" if len(missing) > 1 else ""
        raise KitError(
            f"{needed_by} needs the package{plural} {' and '.join(missing)}. Install: pip install 'tsdae_kit[{extra}]'."
        )


def import_extra(module: str, extra: str, needed_by: str) -> Any:
    """Return a module of an optional package (``peft``, ``ray.data``).

    Args:
        module: The module's dotted name.
        extra: As in :func:`require_extra`.
        needed_by: As in :func:`require_extra`.

    Raises:
        KitError: If the package is not installed.
    """
    require_extra(extra, needed_by, module.partition(".")[0])
    return import_module(module)
