"""Python objects as inputs: texts and labelled rows become temporary files, models get names. Needs no torch.

All rules of reading hold for the temporary files: JSON Lines of texts and mappings, Parquet of a ``datasets.Dataset``.
The bytes are the same on every call, so that the same texts have the same fingerprint.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol, TypeGuard, cast

from tsdae_kit.config.settings import PrepareSettings
from tsdae_kit.console import quiet_frameworks
from tsdae_kit.errors import KitError


class DatasetLike(Protocol):
    """A ``datasets.Dataset``: that library ships no types."""

    @property
    def column_names(self) -> list[str]:
        """The names of the columns."""

    def to_parquet(self, path_or_buf: str, /) -> int:
        """Write the rows as Parquet."""


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


@contextmanager
def texts_as_file(texts: Iterable[str] | DatasetLike | None, settings: PrepareSettings) -> Iterator[PrepareSettings]:
    """Yield the settings with the texts as a temporary file in ``files``; unchanged without texts."""
    if texts is None:
        yield settings
        return
    rows = texts if _is_dataset(texts) else _text_rows(cast("Iterable[object]", texts))
    with _as_file(rows, "texts", settings.encoding) as path:
        yield replace(settings, files=(str(path),))


@contextmanager
def pairs_as_file(
    pairs: Sequence[Mapping[str, object]] | DatasetLike | None, settings: Mapping[str, object]
) -> Iterator[dict[str, object]]:
    """Yield explicit settings of ``fine_tune`` with the labelled rows as a temporary file in ``files``.

    Raises:
        KitError: If ``files`` were passed too, or a row is none.
    """
    explicit = with_placeholder(settings, pairs, "pairs")
    if pairs is None:
        yield explicit
        return
    rows = pairs if _is_dataset(pairs) else _labelled_rows(cast("Iterable[object]", pairs))
    with _as_file(rows, "pairs", str(explicit.get("encoding", "utf-8"))) as path:
        yield {**explicit, "files": [path]}


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


def _is_dataset(rows: object) -> TypeGuard[DatasetLike]:
    return hasattr(rows, "column_names") and hasattr(rows, "to_parquet")


def _text_rows(texts: Iterable[object]) -> Iterator[Mapping[str, object]]:
    for number, text in enumerate(texts, start=1):
        if not isinstance(text, str | None):
            raise KitError(f"texts, item {number}: it is a {type(text).__name__}, not a text. Pass an iterable of str.")
        yield {"text": text}


def _labelled_rows(pairs: Iterable[object]) -> Iterator[Mapping[str, object]]:
    for number, row in enumerate(pairs, start=1):
        if not isinstance(row, Mapping):
            raise KitError(
                f"pairs, item {number}: it is a {type(row).__name__}, not a mapping. "
                "Pass rows as {'anchor': ..., 'positive': ...}."
            )
        yield row


@contextmanager
def _as_file(rows: DatasetLike | Iterable[Mapping[str, object]], name: str, encoding: str) -> Iterator[Path]:
    with TemporaryDirectory(prefix="tsdae_kit-") as folder:
        if _is_dataset(rows):
            path = Path(folder, f"{name}.parquet")
            with quiet_frameworks():
                rows.to_parquet(str(path))
        else:
            path = Path(folder, f"{name}.jsonl")
            lines = (
                json.dumps(dict(row), default=_plain) + "\n" for row in cast("Iterable[Mapping[str, object]]", rows)
            )
            with path.open("w", encoding=encoding) as stream:
                stream.writelines(lines)
        yield path


def _plain(value: Any) -> object:
    """Return a number of numpy or torch as Python's own; anything else as text."""
    return value.item() if hasattr(value, "item") else str(value)
