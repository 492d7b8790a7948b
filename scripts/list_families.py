"""Tries the denoising loss on every text family of the installed transformers, with tiny random models.

Run: python -m scripts.list_families [FAMILY...] > families.md   (about two minutes on one core)

A family learns if its decoder can be made (which tries that it is causal and that the gradient reaches
each sentence embedding), the probe passes, and the loss on 32 lines falls by a tenth within 30 steps.
The families are those with a masked or a causal language model; the table says why one does not learn.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}

import torch
import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import CONFIG_MAPPING, AutoModel
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_MAPPING_NAMES,
)

from tests.tiny import make_sentences, make_tokenizer
from tsdae_kit import KitError, TSDAELoss, probe_signal
from tsdae_kit.tsdae.cross_attention_decoder import CrossAttentionDecoder

STEPS, LINES = 30, 32
LARGEST, LONGEST = 2_000_000, 40  # weights; seconds a family
SMALL = {
    "vocab_size": 64, "hidden_size": 32, "d_model": 32, "dim": 32, "n_embd": 32, "emb_dim": 32, "embedding_size": 32,
    "num_hidden_layers": 2, "num_layers": 2, "n_layers": 2, "n_layer": 2, "encoder_layers": 2, "decoder_layers": 2,
    "num_attention_heads": 2, "num_heads": 2, "n_heads": 2, "n_head": 2, "num_key_value_heads": 2, "head_dim": 16,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2, "d_kv": 16,
    "intermediate_size": 48, "d_ff": 48, "hidden_dim": 48, "n_inner": 48, "ffn_dim": 48, "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48, "moe_intermediate_size": 48, "num_experts": 2, "num_local_experts": 2,
    "num_experts_per_tok": 1, "n_routed_experts": 2, "num_experts_per_token": 1, "max_position_embeddings": 80,
    "n_positions": 80, "pad_token_id": 0, "bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 3, "sep_token_id": 3,
    "mask_token_id": 4, "use_cache": False, "pad_idx": 0, "rotary_dim": 8, "layer_types": None,
}  # fmt: skip


def make_config(family: str) -> Any:
    """Return a configuration of two layers of 32, by whatever names the family has for them."""
    kind = CONFIG_MAPPING[family]
    default = kind()
    names = {*vars(default), *getattr(kind, "attribute_map", {})} & SMALL.keys()
    small: dict[str, Any] = {name: SMALL[name] for name in names}
    return kind(**small)


def make_encoder(family: str, folder: Path) -> SentenceTransformer:
    torch.manual_seed(0)
    config = make_config(family)
    with torch.device("meta"):
        size = sum(p.numel() for p in AutoModel.from_config(config).parameters())
    if size > LARGEST:
        raise ValueError(f"{size:,} weights are not tiny")
    AutoModel.from_config(config).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    transformer = Transformer(str(folder))
    pooling = Pooling(transformer.get_embedding_dimension(), "mean")
    return SentenceTransformer(modules=[transformer, pooling], device="cpu")


def learn(encoder: SentenceTransformer) -> tuple[str, float, float]:
    """Return the decoder's kind, and the first and the last loss."""
    texts = make_sentences(LINES)
    loss = TSDAELoss(encoder)
    probe_signal(loss, encoder, texts[:4], texts[4:8])
    loss.train()
    learning = [p for p in loss.parameters() if p.requires_grad]
    optimizer, values = torch.optim.Adam(learning, 3e-3), []
    for _ in range(STEPS):
        features = [dict(encoder.preprocess(texts)) for _ in range(2)]
        value = loss(features)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    kind = "cross-attention" if isinstance(loss.decoder, CrossAttentionDecoder) else "prefix"
    return kind, values[0], values[-1]


def try_family(family: str) -> tuple[str, str, str]:
    """Return the family's row: its name, its decoder, and whether it learns, or why it does not."""
    signal.alarm(LONGEST)
    with tempfile.TemporaryDirectory() as folder:
        try:
            encoder = make_encoder(family, Path(folder))
        except Exception as error:  # noqa: BLE001  # whatever a family's configuration does not like
            return family, "", f"not tried: no tiny text model ({reason(error).replace(folder, 'FOLDER')})"
        try:
            kind, first, last = learn(encoder)
        except KitError as error:
            return family, "", f"refused: {reason(error)}"
        except Exception as error:  # noqa: BLE001
            return family, "", f"fails: {reason(error)}"
        verdict = "learns" if last < 0.9 * first else "does not learn"
        return family, kind, f"{verdict} ({first:.2f} to {last:.2f})"


def reason(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:150]


def too_long(*_: Any) -> None:
    raise TimeoutError(f"more than {LONGEST} seconds")


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    masked, causal = set(MODEL_FOR_MASKED_LM_MAPPING_NAMES), set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    signal.signal(signal.SIGALRM, too_long)
    families = sys.argv[1:] or sorted((masked | causal) & MODEL_MAPPING_NAMES.keys())
    print(f"transformers {transformers.__version__}, torch {torch.__version__}\n")
    print("| family | language model | decoder | result |\n|---|---|---|---|")
    learned = 0
    for family in families:
        name, kind, result = try_family(family)
        learned += result.startswith("learns")
        print(f"| {name} | {'masked' if name in masked else 'causal'} | {kind} | {result} |", flush=True)
    print(f"\n{learned} of {len(families)} families learn.")


if __name__ == "__main__":
    main()
