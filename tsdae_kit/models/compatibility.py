"""A saved model's JSON files as sentence-transformers 3 to 6 and transformers 4 and 5 all read them.

Sentence-transformers 6 and transformers 5 read what the versions before them wrote, not the other way round: classes
have moved, keys have other names. So the older form is written. What only the newer ones can express stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, cast

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as library
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from torch import nn

_LIST, _TOKENIZER = "modules.json", "tokenizer_config.json"
_OLD_MODULES = "sentence_transformers.models"
_ENDLESS = 10**9  # tokenizers without a limit have a huge one
# What a model of texts has; then 3 to 5 need not know the keys
_OF_TEXTS = {
    "transformer_task": "feature-extraction",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    "module_output_name": "token_embeddings",
}
_POOLINGS = {  # in the order in which several are joined
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
_NEW_DEFAULTS = {"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"}
# The base frequency of rotary positions, by kind of layer: (all or full attention, sliding)
_ROPE = {"modernbert": ("global_rope_theta", "local_rope_theta"), "gemma3_text": ("rope_theta", "rope_local_base_freq")}


def write_compatible_config(encoder: SentenceTransformer, folder: Path) -> None:
    """Rewrite the JSON files of a model that the library has just saved.

    Args:
        encoder: The model.
        folder: Where it was saved.
    """
    listed = json.loads((folder / _LIST).read_text(encoding="utf-8"))
    for entry, module in zip(listed, cast("Iterable[nn.Module]", encoder), strict=True):
        kind = type(module)
        if getattr(library, kind.__name__, None) is not kind:  # code of the model's own
            continue
        entry["type"] = f"{_OLD_MODULES}.{kind.__name__}"
        path = folder / entry["path"]
        if isinstance(module, Transformer):
            _rewrite(path / module.config_file_name, partial(_transformer_config, limit=encoder.max_seq_length))
            _rewrite(path / "config.json", _rope_config)
            _rewrite(path / _TOKENIZER, partial(_tokenizer_config, tokenizer=encoder.tokenizer))
        else:
            _rewrite(path / getattr(module, "config_file_name", "config.json"), partial(_module_config, kind=kind))
    _rewrite(folder / _LIST, lambda _: listed)


def write_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write a tokenizer alone.

    Args:
        tokenizer: The encoder's.
        folder: Where its files go.
    """
    tokenizer.save_pretrained(folder)
    _rewrite(folder / _TOKENIZER, partial(_tokenizer_config, tokenizer=tokenizer))


def _rewrite(path: Path, change: Callable[[Any], Any]) -> None:
    if path.is_file():  # beside adapters there is no config.json
        content = change(json.loads(path.read_text(encoding="utf-8")))
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _transformer_config(config: dict[str, Any], limit: int | None) -> dict[str, Any]:
    if config != _OF_TEXTS:
        return config
    # Lower-casing, where a model asks for it, is in the saved tokenizer
    return {"max_seq_length": limit if limit and limit < _ENDLESS else None, "do_lower_case": False}


def _module_config(config: dict[str, Any], kind: type[nn.Module]) -> dict[str, Any]:
    if kind is Pooling:
        return _pooling_config(config)
    names = {new: old for old, new in getattr(kind, "config_key_renames", {}).items()}
    return {names.get(key, key): value for key, value in config.items() if _NEW_DEFAULTS.get(key) != value}


def _pooling_config(config: dict[str, Any]) -> dict[str, Any]:
    mode = config.get("pooling_mode")
    modes = [mode] if isinstance(mode, str) else list(mode or ())
    if modes != [name for name in _POOLINGS if name in modes]:  # joined in an order that they cannot express
        return config
    return {
        "word_embedding_dimension": config["embedding_dimension"],
        **{old: name in modes for name, old in _POOLINGS.items()},
        "include_prompt": config["include_prompt"],
    }


def _rope_config(config: dict[str, Any]) -> dict[str, Any]:
    """Add what transformers 4 reads in place of ``rope_parameters``: without it, it would take its own default."""
    rope = config.get("rope_parameters")
    if not isinstance(rope, dict):
        return config
    if "full_attention" in rope or "sliding_attention" in rope:
        keys = _ROPE.get(config["model_type"], ())
        kinds = zip(keys, ("full_attention", "sliding_attention"), strict=False)
        return config | {key: rope[kind]["rope_theta"] for key, kind in kinds if kind in rope}
    older = {"rope_theta": rope["rope_theta"]} if "rope_theta" in rope else {}
    if rope.get("rope_type", "default") != "default":
        older["rope_scaling"] = {key: value for key, value in rope.items() if key != "rope_theta"}
    return config | older


def _tokenizer_config(config: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    config = {key: value for key, value in config.items() if key not in ("is_local", "local_files_only")}
    # Transformers 4 adds token types to what it does not know, which some models refuse and others take for words
    config["model_input_names"] = list(tokenizer.model_input_names)
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(config.get("extra_special_tokens"), list):
        config["additional_special_tokens"] = config.pop("extra_special_tokens")
    return config
