"""Loads a prepared folder for training, with the library ``datasets``. The folder may come from anyone."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, load_from_disk

from tsdae_kit.corpus.noise import Noise
from tsdae_kit.corpus.prepared_folder import DATASET_DICT, DATASET_STATE, SPLITS, prepared_texts, read_manifest
from tsdae_kit.corpus.words import SPLITTERS
from tsdae_kit.errors import KitError, first_line

_COLUMNS = ["noisy", "clean"]


@dataclass(frozen=True)
class PreparedCorpus:
    """A prepared corpus, loaded for training.

    Attributes:
        train: Pairs to train on, columns ``noisy`` and ``clean`` (the column ``document`` stays on the disk:
            the trainer would take it for a third text).
        held_out: Pairs that training never sees; may be empty.
        noise: Draws the noise of later epochs.
        manifest: Settings, counts and the fingerprint of input and settings.
        folder: The folder that ``prepare`` wrote.
    """

    train: Dataset
    held_out: Dataset
    noise: Noise
    manifest: dict[str, Any]
    folder: Path

    @property
    def fingerprint(self) -> str:
        """A digest of the input's bytes and the settings."""
        return str(self.manifest["fingerprint"])

    @property
    def size(self) -> int:
        """The number of pairs to train on."""
        return len(self.train)

    @property
    def held_out_size(self) -> int:
        """The number of pairs to evaluate on."""
        return len(self.held_out)

    def texts(self) -> Iterator[tuple[str, Iterable[Iterable[object]]]]:
        """Yield the folder with its clean sentences, in batches."""
        yield str(self.folder), prepared_texts(self.folder)


def load_prepared(folder: Path, noise: str | None = None) -> PreparedCorpus:
    """Return the prepared data set in ``folder``.

    Its manifest can choose among the kit's own noise operations only: a custom noise function is imported only if the
    caller names it again.

    Args:
        folder: What ``prepare`` wrote, with either engine.
        noise: The value of ``prepare --noise``; needed if that names a function, and compared in any case.

    Raises:
        KitError: If the folder is missing, damaged, or was not written by ``prepare``; if its noise differs from
            ``noise``, or is a function that the caller does not name.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        problem = "is no prepared data set" if folder.exists() else "does not exist"
        raise KitError(
            f"The data folder {folder} {problem}. Make one: python -m tsdae_kit.prepare corpus.txt --output {folder}"
        )
    try:
        recorded = _read_noise(manifest["noise"])
        _check_noise(folder, recorded, noise)
        train, held_out = _load_splits(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
        raise KitError(
            f"The data folder {folder} is damaged ({first_line(error)}). Prepare it again with --overwrite."
        ) from error
    return PreparedCorpus(train, held_out, recorded, manifest, folder)


def _read_noise(recorded: dict[str, Any]) -> Noise:
    """Return the noise of a manifest; nothing is imported.

    Raises:
        ValueError: If a field is not as ``prepare`` writes it.
    """
    defaults = {entry.name: entry.default for entry in fields(Noise)}
    values: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in recorded.items()}
    for name, value in values.items():
        default = defaults.get(name)
        has_type = type(value) is type(default) or (type(value) is int and isinstance(default, float))
        if not has_type or (isinstance(value, tuple) and not all(isinstance(word, str) for word in value)):
            raise ValueError(f"its noise has {name} {value!r:.60}")
    noise = Noise(**values)
    if not 0 <= noise.deletion_ratio < 1 or noise.words not in SPLITTERS:
        raise ValueError(f"its noise has deletion_ratio {noise.deletion_ratio} and words {noise.words!r}")
    return noise


def _check_noise(folder: Path, noise: Noise, named: str | None) -> None:
    """Refuse noise that differs from what the caller named, and functions not named; import those that were."""
    if named != noise.kinds and noise.functions:
        raise KitError(
            f"{folder} was made noisy by {', '.join(noise.functions)}, and code that data names is not run. "
            f"If it is yours, name it again: --noise {shlex.quote(noise.kinds)}."
        )
    if named not in (None, noise.kinds):
        raise KitError(f"--noise is {named}, but {folder} was prepared with {noise.kinds}. Leave --noise out.")
    try:
        _ = noise.steps
    except KitError as error:
        if noise.functions:
            raise
        raise ValueError(f"its noise has kinds {noise.kinds!r}") from error


def _load_splits(folder: Path) -> tuple[Dataset, Dataset]:
    """Return the pairs to train on and those held out.

    Raises:
        ValueError: If the folder's files name a file outside of it.
        TypeError: If a column is no text: values of other types could be files or addresses, read as the rows are.
    """
    splits: dict[str, Any]
    if (folder / DATASET_DICT).exists():
        _check_paths(folder)
        splits = load_from_disk(str(folder))
    else:  # shards of the engine ray
        shards = {split: sorted(map(str, (folder / split).glob("*.parquet"))) for split in SPLITS}
        splits = {split: Dataset.from_parquet(paths) for split, paths in shards.items() if paths}
    for rows in splits.values():
        for column in _COLUMNS:
            if getattr(rows.features[column], "dtype", None) != "string":
                raise TypeError(f"its column {column} is no text")
    train = splits["train"].select_columns(_COLUMNS)
    held_out = splits["held_out"].select_columns(_COLUMNS) if "held_out" in splits else train.select([])
    return train, held_out


def _check_paths(folder: Path) -> None:
    splits = json.loads((folder / DATASET_DICT).read_text(encoding="utf-8"))["splits"]
    states = [json.loads((folder / Path(name).name / DATASET_STATE).read_text(encoding="utf-8")) for name in splits]
    names = [*splits, *(file["filename"] for state in states for file in state["_data_files"])]
    if outside := [name for name in names if Path(name).name != name]:
        raise ValueError(f"it names {outside[0]!r}, which is outside")
