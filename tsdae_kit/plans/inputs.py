"""Checks the inputs of a plan's commands before the first one begins, without the network.

A command that fails on a missing file in the tenth hour could have said so in the first second. Outputs of earlier
commands are not missing, and neither is a model that the hub may have.
"""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import constants

from tsdae_kit.config.settings.preparation import PrepareSettings
from tsdae_kit.config.settings.training import SCRATCH
from tsdae_kit.evaluation.bm25 import BM25
from tsdae_kit.models.names import find_model_file
from tsdae_kit.run_folder import RunFolder

_FILE_SETTINGS = ("files", "protect", "data", "add_words", "pairs", "mine_negatives", "eval_data")
_MODEL_FILES = ("modules.json", "config.json")


def missing_inputs(settings: Any, outputs: Sequence[Path], check_models: bool = True) -> list[str]:
    """Return the missing inputs of a command, as ``setting: name does not exist``.

    Args:
        settings: The command's.
        outputs: Folders that earlier commands write: prepared data and final models.
        check_models: False for a run that has begun, which does not need its model any more.
    """
    missing = [
        f"{setting}: {name} does not exist"
        for setting in _FILE_SETTINGS
        for name in _names(getattr(settings, setting, None))
        if not (name == "-" or _is_output(name, outputs) or Path(name).exists() or glob.glob(name, recursive=True))  # noqa: PTH207
    ]
    if not check_models or isinstance(settings, PrepareSettings):  # its model only counts tokens for the report
        return missing
    setting = "models" if hasattr(settings, "models") else "model"
    reasons = {name: _missing_model_reason(name, outputs) for name in _names(getattr(settings, setting))}
    return [*missing, *(f"{setting}: {name} {reason}" for name, reason in reasons.items() if reason)]


def _names(value: Any) -> list[str]:
    return [] if value is None else list(map(str, value if isinstance(value, tuple) else [value]))


def _is_output(name: str, outputs: Sequence[Path]) -> bool:
    """Return whether an earlier command writes this: its data, its final model, or a file in one of these."""
    path = Path(name).resolve()
    return any(folder.resolve() in (path, *path.parents) for folder in outputs)


def _missing_model_reason(model: str, outputs: Sequence[Path]) -> str | None:
    """Return why a model is certainly missing, else ``None``."""
    path = Path(model)
    if model in (SCRATCH, BM25) or _is_output(model, outputs):
        return None
    if path.is_dir():
        return None if any((path / name).exists() for name in _MODEL_FILES) else "holds no model"
    runs = [folder.parent.resolve() for folder in outputs if folder == RunFolder(folder.parent).final]
    if model.startswith((".", "/", "~")) or model.count("/") > 1 or any(run in path.resolve().parents for run in runs):
        return "does not exist"
    if constants.HF_HUB_OFFLINE and not any(find_model_file(model, name) for name in _MODEL_FILES):
        return "is neither a folder nor in the hub's cache, and HF_HUB_OFFLINE is set"
    return None
