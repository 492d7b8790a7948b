"""A saved model can be read by sentence-transformers 3 to 6 and transformers 4 and 5.

Checked with sentence-transformers 3.0.1 (transformers 4.49), 4.1.0 (4.52) and 5.1.2 (4.57): embeddings equal to 1e-6
for all families of the README that those versions have. The files below are those that 3.0.1 writes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import transformers as tf
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import LSTM, Dense, Normalize, Pooling

from tests.test_families import CONFIGS, GIVEN, SIZE, WORDS, load, make
from tests.tiny import make_sentences
from tsdae_kit import adapt
from tsdae_kit.models.saving import write_model

KINDS = ["Transformer", "Pooling", "Dense", "Normalize"]
FILES_OF_3_0_1 = {
    "modules.json": [
        {"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "", "type": f"sentence_transformers.models.{kind}"}
        for i, kind in enumerate(KINDS)
    ],
    "sentence_bert_config.json": {"max_seq_length": 48, "do_lower_case": False},
    "1_Pooling/config.json": {
        "word_embedding_dimension": 32,
        "pooling_mode_cls_token": False,
        "pooling_mode_mean_tokens": True,
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
        "pooling_mode_weightedmean_tokens": False,
        "pooling_mode_lasttoken": False,
        "include_prompt": False,
    },
    "2_Dense/config.json": {
        "in_features": 32,
        "out_features": 16,
        "bias": True,
        "activation_function": "torch.nn.modules.activation.Tanh",
    },
}


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_the_files_are_those_of_sentence_transformers_3_and_are_read_by_6(tiny_model: Path) -> None:
    first = SentenceTransformer(str(tiny_model), device="cpu")[0]
    prompts = {"query": "our patient "}
    modules = [first, Pooling(32, "mean", include_prompt=False), Dense(32, 16), Normalize()]
    model = SentenceTransformer(modules=modules, prompts=prompts, default_prompt_name="query", device="cpu")
    model.max_seq_length = 48
    write_model(model, Path("written"))
    for name, content in FILES_OF_3_0_1.items():
        assert read(Path("written") / name) == content
    again = load(Path("written"))
    assert again.max_seq_length == 48
    texts = make_sentences(5)
    assert (again.encode(texts) == model.encode(texts)).all()
    write_model(again, Path("again"))
    assert {name: read(Path("again") / name) for name in FILES_OF_3_0_1} == FILES_OF_3_0_1


def test_the_tokenizer_is_one_that_transformers_4_knows(tiny_model: Path) -> None:
    """TokenizersBackend and a list of extra tokens are new in 5; and 4 would add token types."""
    model = SentenceTransformer(str(tiny_model), device="cpu")
    model.tokenizer.add_special_tokens({"additional_special_tokens": ["[EXTRA]"]})
    model.transformers_model.resize_token_embeddings(len(model.tokenizer))
    write_model(model, Path("written"))
    config = read(Path("written/tokenizer_config.json"))
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert config["model_input_names"] == ["input_ids", "attention_mask"]
    assert config["additional_special_tokens"] == ["[EXTRA]"]
    assert not {"extra_special_tokens", "local_files_only", "is_local"} & config.keys()
    again = load(Path("written"))
    assert again.tokenizer.tokenize("a rash[EXTRA]") == ["a", "rash", "[EXTRA]"]
    assert again.tokenizer.all_special_tokens == model.tokenizer.all_special_tokens


@pytest.mark.parametrize(
    ("family", "keys"),
    [
        ("qwen3", {"rope_theta": 3e6}),
        ("modernbert", {"global_rope_theta": 3e6, "local_rope_theta": 2e4}),
        ("gemma3_text", {"rope_theta": 3e6, "rope_local_base_freq": 2e4}),
    ],
)
def test_rotary_positions_have_the_keys_of_transformers_4_too(
    family: str, keys: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without them it would silently use its default, and compute other embeddings."""
    config = CONFIGS[family]()
    full = {"rope_type": "default", "rope_theta": 3e6}
    sliding = {"rope_type": "default", "rope_theta": 2e4}
    config.rope_parameters = full if family == "qwen3" else {"full_attention": full, "sliding_attention": sliding}
    monkeypatch.setitem(CONFIGS, family, lambda: config)
    model = load(make(family, tmp_path))
    write_model(model, Path("written"))
    written = read(Path("written/config.json"))
    assert {key: written[key] for key in keys} == keys
    again = load(Path("written"))
    assert again.transformers_model.config.rope_parameters == model.transformers_model.config.rope_parameters
    texts = make_sentences(4)
    assert (again.encode(texts) == model.encode(texts)).all()


def test_scaled_rotary_positions_keep_their_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rope = {"rope_type": "linear", "factor": 4.0, "rope_theta": 5e4}
    monkeypatch.setitem(CONFIGS, "llama", lambda: tf.LlamaConfig(**SIZE, **WORDS, rope_parameters=dict(rope)))
    model = load(make("llama", tmp_path))
    write_model(model, Path("written"))
    written = read(Path("written/config.json"))
    assert (written["rope_theta"], written["rope_scaling"]) == (5e4, {"rope_type": "linear", "factor": 4.0})
    again = load(Path("written"))
    assert (again.encode(["a rash"]) == model.encode(["a rash"])).all()


def test_a_pooling_that_the_older_form_cannot_express_stays_as_it_is(tiny_model: Path) -> None:
    first = SentenceTransformer(str(tiny_model), device="cpu")[0]
    model = SentenceTransformer(modules=[first, Pooling(32, ("mean", "cls"))], device="cpu")
    write_model(model, Path("written"))
    assert read(Path("written/1_Pooling/config.json"))["pooling_mode"] == ["mean", "cls"]
    assert (load(Path("written")).encode(["a rash"]) == model.encode(["a rash"])).all()


def test_other_modules_have_their_older_keys(tiny_model: Path) -> None:
    first = SentenceTransformer(str(tiny_model), device="cpu")[0]
    model = SentenceTransformer(modules=[first, LSTM(32, 8), Pooling(16, "mean")], device="cpu").eval()
    write_model(model, Path("written"))
    assert read(Path("written/1_LSTM/lstm_config.json"))["word_embedding_dimension"] == 32
    assert load(Path("written"))[1].embedding_dimension == 32


def test_all_models_of_a_run_are_written_in_the_older_form(tiny_model: Path, tiny_data: Path) -> None:
    adapt(**GIVEN | {"max_steps": 4}, model=str(tiny_model), data=tiny_data, output="run")
    for name in ("final", "base", "checkpoint-4"):
        listed = read(Path("run") / name / "modules.json")
        assert [entry["type"] for entry in listed] == [f"sentence_transformers.models.{kind}" for kind in KINDS[:2]]
        assert read(Path("run") / name / "sentence_bert_config.json")["max_seq_length"] == 64
