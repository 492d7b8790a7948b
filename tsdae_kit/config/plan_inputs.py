"""What the stages of a plan read: looked for before the first of them begins, without the network.

A stage that fails for want of a file in the tenth hour could have said so in the first second. What a stage before it
writes does not count, and neither does a model that the hub may have.
"""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tsdae_kit.config.settings import SCRATCH

_FILES = ("files", "protect", "data", "add_words", "pairs", "mine_negatives", "eval_data")
_OF_A_MODEL = ("modules.json", "config.json")


def find_missing(settings: Any, written: Sequence[Path], models_too: bool = True) -> list[str]:
    """Return what of a stage's inputs is not there, as ``setting: name is ...``.

    Args:
        settings: The stage's.
        written: The folders that the stages before it write: data, and final models.
        models_too: False leaves the models out, which a run that has begun may do without.
    """
    missing = [
        f"{setting}: {name} does not exist"
        for setting in _FILES
        for name in _names(getattr(settings, setting, None))
        if not (name == "-" or _is_written(name, written) or Path(name).exists() or glob.glob(name, recursive=True))  # noqa: PTH207
    ]
    setting = "models" if hasattr(settings, "models") else "model"
    # What prepare calls a model only counts tokens for its report.
    models = _names(getattr(settings, setting)) if models_too and not hasattr(settings, "deletion_ratio") else []
    faults = ((name, _find_fault(name, written)) for name in models if name != SCRATCH)
    return [*missing, *(f"{setting}: {name} {fault}" for name, fault in faults if fault)]


def _names(value: Any) -> list[str]:
    return [] if value is None else list(map(str, value if isinstance(value, tuple) else [value]))


def _is_written(name: str, written: Sequence[Path]) -> bool:
    """Return whether a stage before writes this: its data, its final model, or a file in one of these."""
    place = Path(name).resolve()
    return any(folder.resolve() in (place, *place.parents) for folder in written)


def _find_fault(model: str, written: Sequence[Path]) -> str | None:
    """Return why a model cannot be there, if that is known."""
    from huggingface_hub.constants import HF_HUB_OFFLINE

    from tsdae_kit.evaluation.bm25 import BM25
    from tsdae_kit.models.names import find_model_file

    path = Path(model)
    if model == BM25 or _is_written(model, written):
        return None
    if path.is_dir():
        return None if any((path / name).exists() for name in _OF_A_MODEL) else "holds no model"
    runs = [folder.parent.resolve() for folder in written if folder.name == "final"]
    if model.startswith((".", "/", "~")) or model.count("/") > 1 or any(run in path.resolve().parents for run in runs):
        return "does not exist"
    if HF_HUB_OFFLINE and not any(find_model_file(model, name) for name in _OF_A_MODEL):
        return "is neither a folder nor in the hub's cache, and HF_HUB_OFFLINE is set"
    return None
