"""Writes a saved model's JSON files in a form that sentence-transformers 3 to 6 and transformers 4 and 5 can read.

Sentence-transformers 6 and transformers 5 read the files of earlier versions, but not the other way round: classes have
moved, and keys have new names. The files are therefore written in the older form. Settings that only the newer form can
express stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, cast

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as library_modules
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from torch import nn

_MODULES_FILE, _TOKENIZER_FILE = "modules.json", "tokenizer_config.json"
_OLD_PACKAGE = "sentence_transformers.models"
_UNLIMITED = 10**9  # a tokenizer without a maximum length has a larger one
# The configuration of a transformer for texts; versions 3 to 5 imply it and do not know the keys
_TEXT_TRANSFORMER = {
    "transformer_task": "feature-extraction",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    "module_output_name": "token_embeddings",
}
_POOLING_KEYS = {  # in the order in which the older versions concatenate several
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
_IMPLIED_KEYS = {"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}
# Keys of the base frequency of rotary positions: of full attention (or all layers), of sliding attention
_ROPE_KEYS = {
    "modernbert": ("global_rope_theta", "local_rope_theta"),
    "gemma3_text": ("rope_theta", "rope_local_base_freq"),
}


def write_compatible_config(encoder: SentenceTransformer, folder: Path) -> None:
    """Rewrite the JSON files of a model that the library has just saved.

    Args:
        encoder: The model.
        folder: The folder that it was saved to.
    """
    entries = json.loads((folder / _MODULES_FILE).read_text(encoding="utf-8"))
    for entry, module in zip(entries, cast("Iterable[nn.Module]", encoder), strict=True):
        module_class = type(module)
        if getattr(library_modules, module_class.__name__, None) is not module_class:  # the model's own code
            continue
        entry["type"] = f"{_OLD_PACKAGE}.{module_class.__name__}"
        path = folder / entry["path"]
        if isinstance(module, Transformer):
            convert = partial(_transformer_config, max_seq_length=encoder.max_seq_length)
            _rewrite(path / module.config_file_name, convert)
            _rewrite(path / "config.json", _add_rope_keys)
            _rewrite(path / _TOKENIZER_FILE, partial(_tokenizer_config, tokenizer=encoder.tokenizer))
        else:
            convert = partial(_module_config, module_class=module_class)
            _rewrite(path / getattr(module, "config_file_name", "config.json"), convert)
    _rewrite(folder / _MODULES_FILE, lambda _: entries)


def write_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write the files of a tokenizer alone.

    Args:
        tokenizer: The encoder's tokenizer.
        folder: The folder for its files.
    """
    tokenizer.save_pretrained(folder)
    _rewrite(folder / _TOKENIZER_FILE, partial(_tokenizer_config, tokenizer=tokenizer))


def _rewrite(path: Path, convert: Callable[[Any], Any]) -> None:
    if path.is_file():  # adapters are saved without a config.json
        content = convert(json.loads(path.read_text(encoding="utf-8")))
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _transformer_config(config: dict[str, Any], max_seq_length: int | None) -> dict[str, Any]:
    if config != _TEXT_TRANSFORMER:
        return config
    limit = max_seq_length if max_seq_length and max_seq_length < _UNLIMITED else None
    return {"max_seq_length": limit, "do_lower_case": False}  # the saved tokenizer does any lower-casing


def _module_config(config: dict[str, Any], module_class: type[nn.Module]) -> dict[str, Any]:
    if module_class is Pooling:
        return _pooling_config(config)
    old_names = {new: old for old, new in getattr(module_class, "config_key_renames", {}).items()}
    return {old_names.get(key, key): value for key, value in config.items() if _IMPLIED_KEYS.get(key) != value}


def _pooling_config(config: dict[str, Any]) -> dict[str, Any]:
    mode = config.get("pooling_mode")
    modes = [mode] if isinstance(mode, str) else list(mode or ())
    if modes != [name for name in _POOLING_KEYS if name in modes]:  # an order that the older form cannot express
        return config
    return {
        "word_embedding_dimension": config["embedding_dimension"],
        **{key: name in modes for name, key in _POOLING_KEYS.items()},
        "include_prompt": config["include_prompt"],
    }


def _add_rope_keys(config: dict[str, Any]) -> dict[str, Any]:
    """Add the keys that transformers 4 reads instead of ``rope_parameters``; without them it uses its own default."""
    rope = config.get("rope_parameters")
    if not isinstance(rope, dict):
        return config
    if "full_attention" in rope or "sliding_attention" in rope:
        keys = zip(_ROPE_KEYS.get(config["model_type"], ()), ("full_attention", "sliding_attention"), strict=False)
        return config | {key: rope[attention]["rope_theta"] for key, attention in keys if attention in rope}
    old_keys = {"rope_theta": rope["rope_theta"]} if "rope_theta" in rope else {}
    if rope.get("rope_type", "default") != "default":
        old_keys["rope_scaling"] = {key: value for key, value in rope.items() if key != "rope_theta"}
    return config | old_keys


def _tokenizer_config(config: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    config = {key: value for key, value in config.items() if key not in ("is_local", "local_files_only")}
    # For classes that it does not know, transformers 4 adds token types, which some models refuse or read as words
    config["model_input_names"] = list(tokenizer.model_input_names)
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(config.get("extra_special_tokens"), list):
        config["additional_special_tokens"] = config.pop("extra_special_tokens")
    return config
