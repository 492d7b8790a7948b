"""Python objects as inputs, before the libraries are imported: placeholders of rows, names of models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from tsdae_kit.errors import KitError


class DatasetLike(Protocol):
    """A ``datasets.Dataset``: that library ships no types."""

    @property
    def column_names(self) -> list[str]:
        """The names of the columns."""

    def with_format(self, type: str, /) -> object:
        """Return the same rows as other types."""


def with_placeholder(settings: Mapping[str, object], rows: object, keyword: str) -> dict[str, object]:
    """Return the settings with ``files`` set to the keyword's name, if rows were passed by it.

    Args:
        settings: Explicit settings.
        rows: The value of the keyword, or ``None``.
        keyword: The keyword that takes Python objects instead of ``files``.

    Raises:
        KitError: If ``files`` were passed too.
    """
    if rows is None:
        return dict(settings)
    if settings.get("files"):
        raise KitError(f"files and {keyword} are both given. Pass one of them.")
    if isinstance(rows, str | Path):
        raise KitError(f"{keyword} is {str(rows)!r:.60}, a single text. Pass a list; or files=, to read a file.")
    if isinstance(rows, Mapping):
        raise KitError(
            f"{keyword} is a {type(rows).__name__} ({', '.join(map(str, rows)):.60}). Pass one of its values."
        )
    return {**settings, "files": [keyword]}


def name_models(models: object) -> tuple[object, dict[str, object]]:
    """Return models with a unique name in place of each model object, and the objects by these names.

    An object is called by the base model on its card, or ``model 2`` by its place.

    Args:
        models: One name, path or model object, or several.
    """
    if _is_model(models):
        models = [models]
    if isinstance(models, str | Path) or not isinstance(models, Iterable):
        return models, {}
    listed, objects = list(models), {}
    for place, model in enumerate(listed):
        if _is_model(model):
            name = model.model_card_data.base_model
            if not name or name in map(str, listed) or Path(name).exists():  # a path stands for what is there
                name = f"model {place + 1}"
            listed[place], objects[name] = name, model
    return listed, objects


def _is_model(value: Any) -> bool:
    return hasattr(value, "encode") and hasattr(value, "model_card_data")
