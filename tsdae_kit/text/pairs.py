"""The prepared data set on disk: a ``datasets.DatasetDict`` of noisy/clean pairs and its manifest.

The pairs stored are those of epoch 0, so that the data can be read by eye and by other tools; later
epochs draw their noise in training. Rows stream through an Arrow file: memory holds eight bytes for
each, by which the held-out rows are chosen, not the text.
"""

from __future__ import annotations

import array
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, DatasetDict, Features, Value, load_from_disk
from datasets.arrow_writer import ArrowWriter

from tsdae_kit.folders import write_json
from tsdae_kit.settings import KitError
from tsdae_kit.text.noise import Noise

MANIFEST = "manifest.json"
FORMAT = 1
_COLUMNS = Features({"noisy": Value("string"), "clean": Value("string")})


@dataclass(frozen=True)
class PreparedCorpus:
    """What ``prepare`` left for training.

    Attributes:
        train: Pairs to train on, columns ``noisy`` and ``clean``.
        held_out: Pairs that training never sees; may be empty.
        noise: Draws the noise of later epochs.
        manifest: Settings, counts and the fingerprint of input and settings.
    """

    train: Dataset
    held_out: Dataset
    noise: Noise
    manifest: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """A digest of the input's bytes and the settings."""
        return str(self.manifest["fingerprint"])


def write_pairs(folder: Path, sentences: Iterable[str], noise: Noise, held_out: float) -> tuple[int, int]:
    """Write the ``DatasetDict`` of train and held_out pairs into an existing folder; return both sizes.

    Args:
        folder: Where to write.
        sentences: The clean texts, each once.
        noise: Makes the noisy ones.
        held_out: A share below 1 or a count; a tenth of the sentences is the most.
    """
    rows_file = folder / "rows.arrow"
    order = array.array("Q")
    with ArrowWriter(path=str(rows_file), features=_COLUMNS) as writer:
        for clean in sentences:
            writer.write({"noisy": noise(clean), "clean": clean})
            key = hashlib.blake2b(f"{noise.seed}:{clean}".encode(), digest_size=8)
            order.append(int.from_bytes(key.digest(), "little"))
        writer.finalize()
    count = min(round(held_out * len(order)) if held_out < 1 else int(held_out), len(order) // 10)
    chosen = np.zeros(len(order), dtype=bool)
    chosen[np.argsort(np.asarray(order), kind="stable")[:count]] = True
    rows = Dataset.from_file(str(rows_file))
    parts = {"train": ~chosen, "held_out": chosen}
    # datasets cannot read back a split without rows, so an empty one is left out
    pairs = {name: rows.select(np.flatnonzero(part)) for name, part in parts.items() if part.any()}
    DatasetDict(pairs).save_to_disk(str(folder))
    rows_file.unlink()
    return len(order) - count, count


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest, which makes the folder a prepared data set."""
    write_json(folder / MANIFEST, {"format": FORMAT, **manifest})


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the folder's manifest, or ``None`` if it is no prepared data set."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and manifest.get("format") == FORMAT else None


def load_pairs(folder: Path) -> PreparedCorpus:
    """Return the prepared data set in ``folder``.

    Raises:
        KitError: If the folder is missing or was not written by ``prepare``.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        what = "is no prepared data set" if folder.exists() else "does not exist"
        raise KitError(
            f"The data folder {folder} {what}. Make one: python -m tsdae_kit.prepare corpus.txt --output {folder}"
        )
    try:
        pairs = load_from_disk(str(folder))
    except (OSError, ValueError) as error:
        raise KitError(f"The data folder {folder} is damaged ({error}). Prepare it again with --overwrite.") from error
    held_out = pairs["held_out"] if "held_out" in pairs else pairs["train"].select([])
    return PreparedCorpus(pairs["train"], held_out, Noise(**manifest["noise"]), manifest)
