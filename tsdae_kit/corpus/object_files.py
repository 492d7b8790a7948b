"""Python objects as files: texts and labelled rows become temporary files, so that all rules of reading hold.

Texts and mappings become JSON Lines, a ``datasets.Dataset`` becomes Parquet. The bytes are the same on every call, so
that the same texts have the same fingerprint.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any, TypeGuard, cast

from pyarrow import parquet

from tsdae_kit.config.python_objects import DatasetLike, with_placeholder
from tsdae_kit.config.settings.preparation import PrepareSettings
from tsdae_kit.errors import KitError

_ROWS = 10_000  # of a batch
_PREFIX = "tsdae_kit-"  # of the temporary folders


@contextmanager
def texts_as_file(texts: Iterable[str] | DatasetLike | None, settings: PrepareSettings) -> Iterator[PrepareSettings]:
    """Yield the settings with the texts as a temporary file in ``files``; unchanged without texts.

    Raises:
        KitError: If one is no text.
    """
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
        KitError: If ``files`` were passed too, or a row is no mapping.
    """
    explicit = with_placeholder(settings, pairs, "pairs")
    if pairs is None:
        yield explicit
        return
    rows = pairs if _is_dataset(pairs) else _labelled_rows(cast("Iterable[object]", pairs))
    with _as_file(rows, "pairs", str(explicit.get("encoding", PrepareSettings.encoding))) as path:
        yield {**explicit, "files": [path]}


def is_object_file(path: Path) -> bool:
    """Return whether a path is that of a temporary file of Python objects, which is gone after the call."""
    return path.parent.name.startswith(_PREFIX) and path.parent.parent == Path(gettempdir())


def _is_dataset(rows: object) -> TypeGuard[DatasetLike]:
    return hasattr(rows, "column_names") and hasattr(rows, "with_format")


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
def _as_file(rows: DatasetLike | Iterator[Mapping[str, object]], name: str, encoding: str) -> Iterator[Path]:
    with TemporaryDirectory(prefix=_PREFIX) as folder:
        if _is_dataset(rows):
            path = Path(folder, f"{name}.parquet")
            _write_parquet(rows.with_format("arrow"), path)
        else:
            path = Path(folder, f"{name}.jsonl")
            mappings = cast("Iterator[Mapping[str, object]]", rows)
            with path.open("w", encoding=encoding) as stream:
                stream.writelines(json.dumps(dict(row), default=_plain) + "\n" for row in mappings)
        yield path


def _write_parquet(tables: Any, path: Path) -> None:
    """Write a dataset of Arrow tables; its own ``to_parquet`` shows a progress bar."""
    with parquet.ParquetWriter(path, tables[:0].schema) as writer:
        for table in tables.iter(_ROWS):
            writer.write_table(table)


def _plain(value: Any) -> object:
    """Return a number of numpy or torch as Python's own; anything else as text."""
    return value.item() if hasattr(value, "item") else str(value)
