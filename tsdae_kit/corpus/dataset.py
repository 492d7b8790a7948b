"""The prepared data set on disk: a ``datasets.DatasetDict`` of noisy/clean pairs and its manifest.

The pairs stored are those of epoch 0, so that the data can be read by eye and by other tools; later
epochs draw their noise in training. Rows stream through an Arrow file: memory holds eight bytes for
each, by which the held-out rows are chosen, not the text. The few JSON files of the layout are written
here rather than by ``datasets``, which would copy the rows once more, name them by chance, and cost
two seconds to import; a test reads the result with the library.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pyarrow import ipc, parquet

from tsdae_kit.corpus.deduplication import Flags, Hashes
from tsdae_kit.corpus.noise import Noise
from tsdae_kit.corpus.words import SPLITTERS
from tsdae_kit.errors import KitError, first_line
from tsdae_kit.filesystem import write_json

if TYPE_CHECKING:
    from datasets import Dataset

    from tsdae_kit.labelled.loading import LabelledPairs

MANIFEST = "manifest.json"
FORMAT = 2
SPLITS = ("train", "held_out")
_KEYS = {"fingerprint": str, "noise": dict, "read": int, "train": int, "held_out": int, "dropped": dict,
         "examples": dict}  # what is read of a manifest  # fmt: skip
_COLUMNS = ["noisy", "clean"]
_ROWS = "rows.arrow"
_DATA = "data-00000-of-00001.arrow"


@dataclass(frozen=True)
class PreparedCorpus:
    """What ``prepare`` left for training.

    Attributes:
        train: Pairs to train on, columns ``noisy`` and ``clean`` (the column ``document`` stays on the disk:
            the trainer would take it for a third text).
        held_out: Pairs that training never sees; may be empty.
        noise: Draws the noise of later epochs.
        manifest: Settings, counts and the fingerprint of input and settings.
        folder: Where it lies.
        pairs: Labelled pairs that are trained on in the same steps, if any.
    """

    train: Dataset
    held_out: Dataset
    noise: Noise
    manifest: dict[str, Any]
    folder: Path
    pairs: LabelledPairs | None = None

    @property
    def fingerprint(self) -> str:
        """A digest of the input's bytes and the settings, and of the labelled pairs."""
        return str(self.manifest["fingerprint"]) + (f"-{self.pairs.fingerprint}" if self.pairs else "")

    @property
    def size(self) -> int:
        """How many pairs there are to train on."""
        return len(self.train)

    @property
    def held_out_size(self) -> int:
        """How many there are to evaluate on."""
        return len(self.held_out)

    def texts(self) -> Iterator[tuple[str, Iterable[Iterable[object]]]]:
        """Yield the place of each part of the data and its texts, in batches."""
        yield str(self.folder), prepared_texts(self.folder)
        if self.pairs:
            yield from self.pairs.texts()


def spread(size: int, count: int) -> list[int]:
    """Return the numbers of up to so many rows, evenly spaced from the first to the last."""
    rows: list[int] = np.linspace(0, size - 1, min(size, count), dtype=np.int64).tolist()
    return rows


def choose_held_out(hashes: Hashes, seed: int, held_out: float) -> Flags:
    """Return which rows are held out: those of the smallest keys, which seed and text alone decide.

    Args:
        hashes: The rows', all different.
        seed: Changes the choice.
        held_out: A share below 1 or a count; a tenth of the rows is the most.
    """
    count = min(round(held_out * len(hashes)) if held_out < 1 else int(held_out), len(hashes) // 10)
    if not count:
        return np.zeros(len(hashes), dtype=np.bool_)
    keys = hashes ^ np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):  # splitmix64: one to one
        keys ^= keys >> np.uint64(shift)
        keys *= np.uint64(factor)
    chosen: Flags = keys <= np.partition(keys, count - 1)[count - 1]
    return chosen


class PairWriter:
    """Writes rows as they come, and parts them when all are there; a context manager.

    Args:
        folder: Where to write; exists.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stream = pa.OSFile(str(folder / _ROWS), "wb")
        self._writer: Any = None
        self._schema: pa.Schema = None
        self._hashes: list[Hashes] = []

    def write(self, rows: pa.RecordBatch, hashes: Hashes) -> None:
        """Add rows; the first ones decide the columns."""
        if self._writer is None:
            self._schema = rows.schema
            self._writer = ipc.new_stream(self._stream, self._schema)
        if len(rows):
            self._writer.write_batch(rows)
            self._hashes.append(hashes)

    def __enter__(self) -> PairWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()

    def finish(self, seed: int, held_out: float, fingerprint: str) -> tuple[int, int]:
        """Write the ``DatasetDict`` of train and held_out; return both sizes."""
        if self._writer is not None:
            self._writer.close()
        self._stream.close()
        hashes = np.concatenate([*self._hashes, np.empty(0, dtype=np.uint64)])
        self._hashes = []
        chosen = choose_held_out(hashes, seed, held_out)
        sizes = (int(len(chosen) - chosen.sum()), int(chosen.sum()))
        # datasets cannot read back a split without rows, so an empty one is left out
        for name, size, part in zip(SPLITS, sizes, (~chosen, chosen), strict=True):
            if size:
                (self._folder / name).mkdir()
                self._copy(self._folder / name / _DATA, part)
                _write_layout(self._folder / name, self._schema, f"{fingerprint}-{name}")
        write_json(self._folder / "dataset_dict.json", {"splits": [n for n, s in zip(SPLITS, sizes, strict=True) if s]})
        (self._folder / _ROWS).unlink()
        return sizes

    def _copy(self, path: Path, wanted: Flags) -> None:
        # Plain files, here and below: the pages of a memory map would count as ours
        with pa.OSFile(str(self._folder / _ROWS)) as source, pa.OSFile(str(path), "wb") as target:
            writer, start = ipc.new_stream(target, self._schema), 0
            for batch in ipc.open_stream(source):
                part = batch.filter(pa.array(wanted[start : start + len(batch)]))
                start += len(batch)
                if len(part):
                    writer.write_batch(part)
            writer.close()


def _write_layout(folder: Path, schema: pa.Schema, fingerprint: str) -> None:
    write_json(
        folder / "dataset_info.json", {"features": {n: {"dtype": "string", "_type": "Value"} for n in schema.names}}
    )
    write_json(
        folder / "state.json",
        {
            "_data_files": [{"filename": _DATA}], "_fingerprint": fingerprint, "_format_columns": None,
            "_format_kwargs": {}, "_format_type": None, "_output_all_columns": False, "_split": None,
        },
    )  # fmt: skip


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest, which makes the folder a prepared data set."""
    write_json(folder / MANIFEST, {"format": FORMAT, **manifest})


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the folder's manifest, or ``None`` if it is no prepared data set."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    whole = isinstance(manifest, dict) and manifest.get("format") == FORMAT
    return manifest if whole and all(isinstance(manifest.get(key), kind) for key, kind in _KEYS.items()) else None


def read_batches(folder: Path, split: str) -> Iterator[pa.RecordBatch]:
    """Yield a split's rows as they lie on the disk, whichever engine wrote them."""
    for path in sorted((folder / split).glob("*.parquet")):
        yield from parquet.ParquetFile(path).iter_batches()
    if (folder / split / _DATA).exists():
        with pa.OSFile(str(folder / split / _DATA)) as stream:
            yield from ipc.open_stream(stream)


def prepared_texts(folder: Path) -> Iterator[list[str]]:
    """Yield the sentences of a prepared folder, those held out too, in batches."""
    for split in SPLITS:
        for batch in read_batches(folder, split):
            yield batch["clean"].to_pylist()


def load_prepared(folder: Path, noise: str | None = None) -> PreparedCorpus:
    """Return the prepared data set in ``folder``.

    A data set may come from anyone, so its manifest can name the kit's own noise alone: a function that made it
    noisy is imported only where the caller names it again.

    Args:
        folder: What ``prepare`` wrote, by whichever engine.
        noise: What was given to ``prepare --noise``; needed where that was a function, and compared in any case.

    Raises:
        KitError: If the folder is missing, damaged, or was not written by ``prepare``; if its noise is another one
            than ``noise``, or a function that is not named.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        what = "is no prepared data set" if folder.exists() else "does not exist"
        raise KitError(
            f"The data folder {folder} {what}. Make one: python -m tsdae_kit.prepare corpus.txt --output {folder}"
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
    """Return the noise of a manifest; nothing is imported. ValueError where a field is not as ``prepare`` writes it."""
    defaults = {entry.name: entry.default for entry in fields(Noise)}
    values: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in recorded.items()}
    for name, value in values.items():
        default = defaults.get(name)
        right = type(value) is type(default) or (type(value) is int and isinstance(default, float))
        if not right or (isinstance(value, tuple) and not all(isinstance(word, str) for word in value)):
            raise ValueError(f"its noise has {name} {value!r:.60}")
    noise = Noise(**values)
    if not 0 <= noise.deletion_ratio < 1 or noise.words not in SPLITTERS:
        raise ValueError(f"its noise has deletion_ratio {noise.deletion_ratio} and words {noise.words!r}")
    return noise


def _check_noise(folder: Path, noise: Noise, named: str | None) -> None:
    """Refuse other noise than the caller named, and a function that was not named; import one that was."""
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
    """Return the pairs to train on and those held out, once it is seen that no file outside the folder is meant."""
    from datasets import Dataset, load_from_disk

    if (folder / "dataset_dict.json").exists():
        parts = json.loads((folder / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
        states = [json.loads((folder / Path(part).name / "state.json").read_text(encoding="utf-8")) for part in parts]
        names = [*parts, *(file["filename"] for state in states for file in state["_data_files"])]
        if outside := [name for name in names if Path(name).name != name]:
            raise ValueError(f"it names {outside[0]!r}, which is outside")
        pairs: dict[str, Any] = load_from_disk(str(folder))
    else:  # shards of the engine ray
        shards = {split: sorted(map(str, (folder / split).glob("*.parquet"))) for split in SPLITS}
        pairs = {split: Dataset.from_parquet(paths) for split, paths in shards.items() if paths}
    for part in pairs.values():
        for column in _COLUMNS:  # another type's values could be files or addresses, read as the rows are
            if getattr(part.features[column], "dtype", None) != "string":
                raise TypeError(f"its column {column} is no text")
    train = pairs["train"].select_columns(_COLUMNS)
    held_out = pairs["held_out"].select_columns(_COLUMNS) if "held_out" in pairs else train.select([])
    return train, held_out
