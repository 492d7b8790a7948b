"""Keyword arguments from settings: a command's function shows each with its type, default and help.

``inspect.signature``, ``help()`` and notebooks read what is set here. Editors and mypy read ``tsdae_kit/__init__.pyi``,
which ``python -m scripts.write_stub`` writes from the same signatures.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any, ForwardRef, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from tsdae_kit.config.fields import Settings, help_with_default, metavar, ordered_fields, takes_paths

Function = TypeVar("Function", bound=Callable[..., object])
_PLACEHOLDER = re.compile(r"(?m)^( *)\*\*settings: .*$")


def keywords_of(kind: type[Settings], **objects: str) -> Callable[[Function], Function]:
    """Return a decorator that replaces ``**settings`` by the settings, in the signature and in the docstring.

    Args:
        kind: The command's dataclass.
        **objects: By setting, a type of Python objects that the function accepts too: ``model="SentenceTransformer"``.
    """

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)
        own = [entry for entry in signature.parameters.values() if entry.kind is not inspect.Parameter.VAR_KEYWORD]
        hints, entries = get_type_hints(kind), ordered_fields(kind)
        parameters = [
            inspect.Parameter(
                entry.name, inspect.Parameter.KEYWORD_ONLY, default=entry.default,
                annotation=_annotation(entry, hints[entry.name], objects.get(entry.name)),
            ) for entry in entries
        ]  # fmt: skip
        vars(function)["__signature__"] = signature.replace(parameters=[*own, *parameters])
        lines = [f"{entry.name}: {help_with_default(entry)}." for entry in entries]
        function.__doc__ = _PLACEHOLDER.sub(lambda found: "\n".join(found[1] + line for line in lines),
                                            function.__doc__ or "")  # fmt: skip
        return function

    return decorate


def _annotation(entry: Field[Any], hint: Any, objects: str | None) -> Any:
    """Return the type of the values that the keyword accepts; as text, if it names a type that is slow to import."""
    item: Any = str | Path if takes_paths(entry, hint) else str
    if objects:
        item = Union[item, ForwardRef(objects)]  # noqa: UP007  # the operator does not take it before Python 3.11
    if get_origin(hint) is tuple:
        accepted = item | Sequence[item]
        if "=" in metavar(entry):
            accepted |= Mapping[str, object]
    elif hint is str:
        accepted = item
    else:
        kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
        accepted = reduce(or_, [str | Path if kind is Path else kind for kind in kinds])
    return show_type(accepted) if objects else accepted


def show_type(hint: Any) -> str:
    """Return an annotation as it is written in source code, the same on every version of Python."""
    if isinstance(hint, str):
        return hint
    if isinstance(hint, ForwardRef):
        return hint.__forward_arg__
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " | ".join(map(show_type, arguments))
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    if origin:
        return f"{origin.__name__}[{', '.join(map(show_type, arguments))}]"
    return "None" if hint is type(None) else str(hint.__name__)
