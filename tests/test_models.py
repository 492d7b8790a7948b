"""Which models can be used: complete ones, with their prompts and their own code; others are refused in one line."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from safetensors.torch import load_file, save_file
from sentence_transformers import MultiVectorEncoder, SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Transformer as TransformerOf
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from sentence_transformers.sparse_encoder.modules import SpladePooling

from tests.test_families import CONFIGS, GIVEN, features, load, make
from tests.tiny import make_sentences, make_tokenizer
from tsdae_kit import TSDAELoss, adapt, export_model, fine_tune, inspect_run, score_models
from tsdae_kit.errors import KitError
from tsdae_kit.models.encoders import count_positions
from tsdae_kit.models.loading import load_encoder
from tsdae_kit.models.vocabulary import add_words

CPU = torch.device("cpu")
CODE = """
from transformers import BertConfig, BertModel

class OwnConfig(BertConfig):
    model_type = "own"

class OwnModel(BertModel):
    config_class = OwnConfig
"""


@pytest.mark.parametrize("decoder", ["cross-attention", "prefix"])
@pytest.mark.parametrize("pooling", ["cls", "max", "lasttoken", "weightedmean", "mean_sqrt_len_tokens"])
def test_any_pooling_learns_also_behind_normalize(pooling: str, decoder: Any, tmp_path: Path) -> None:
    model = load(make("bert", tmp_path, pooling=pooling))
    model = SentenceTransformer(modules=[*model, Normalize()], device="cpu")
    loss = TSDAELoss(model, decoder=decoder)
    texts = features(model, make_sentences(6))
    learning = [p for p in loss.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(learning, 3e-3)
    values = []
    for _ in range(12):
        value = loss([dict(texts), dict(texts)])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    assert values[-1] < values[0] - 0.3


def test_the_prompt_that_an_encoder_is_used_with_stands_before_the_noisy_text(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(make("bert", tmp_path))
    model.prompts = {"query": "our patient ", "document": "the doctor "}
    model.default_prompt_name = "document"
    model.save_pretrained(str(tmp_path / "prompted"))
    seen = []
    run = TSDAELoss.forward

    def watch(self: TSDAELoss, both: Any, labels: Any = None) -> Any:
        seen.append([self.encoder.tokenizer.decode(f["input_ids"][0], skip_special_tokens=True) for f in both])
        return run(self, both, labels)

    monkeypatch.setattr(TSDAELoss, "forward", watch)
    final = adapt(**GIVEN | {"max_steps": 3}, model=str(tmp_path / "prompted"), data=tiny_data)
    batches = seen[3:]  # behind the probe and the two steps whose memory is measured
    assert batches
    assert all(noisy.startswith("the doctor ") for noisy, _ in batches)
    assert not all(clean.startswith("the doctor ") for _, clean in batches)
    assert load(final).default_prompt_name == "document"


def test_models_of_another_kind_are_refused_and_not_turned_into_something_else(
    tmp_path: Path, tiny_data: Path, search_data: Path, tiny_model: Path
) -> None:
    """The library would keep only their transformer, and add a new mean pooling."""
    tf.BertForMaskedLM(
        tf.BertConfig(vocab_size=64, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48)
    ).save_pretrained(tmp_path / "lm")
    make_tokenizer().save_pretrained(tmp_path / "lm")
    words = TransformerOf(str(tmp_path / "lm"), transformer_task="fill-mask")
    SparseEncoder(modules=[words, SpladePooling()], device="cpu").save_pretrained(str(tmp_path / "sparse"))
    MultiVectorEncoder(str(tmp_path / "lm"), device="cpu").save_pretrained(str(tmp_path / "many"))
    for folder, kind in (("sparse", "SparseEncoder"), ("many", "MultiVectorEncoder")):
        with pytest.raises(KitError, match=rf"{folder}' is a {kind}. Choose one that makes one dense vector"):
            adapt(**GIVEN, model=str(tmp_path / folder), data=tiny_data)
    with pytest.raises(KitError, match="is a SparseEncoder"):
        score_models(models=[str(tiny_model), str(tmp_path / "sparse")], data=[str(search_data)])


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A model with Python code in its folder."""
    folder = tmp_path / "own"
    make("bert", tmp_path)
    shutil.copytree(tmp_path / "model", folder)
    (folder / "modeling_own.py").write_text(CODE)
    config = json.loads((folder / "config.json").read_text())
    auto = {"AutoConfig": "modeling_own.OwnConfig", "AutoModel": "modeling_own.OwnModel"}
    config |= {"model_type": "own", "architectures": ["OwnModel"], "auto_map": auto}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_model_s_own_code_runs_only_where_it_is_trusted_also_on_resume(
    own: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KitError, match=r"own' comes with code of its own. Read it, then pass --trust-remote-code\.$"):
        adapt(**GIVEN, model=str(own), data=tiny_data)
    adapt(**GIVEN | {"max_steps": 3}, model=str(own), data=tiny_data, trust_remote_code=True)
    with pytest.raises(KitError, match=r"checkpoint-3' comes with code of its own"):
        adapt(**GIVEN | {"max_steps": 6}, model=str(own), data=tiny_data, resume=True)
    with pytest.raises(KitError, match=r"checkpoint-3' comes with code of its own"):
        inspect_run(run="runs/tsdae", text=["a rash"], device="cpu")
    final = adapt(**GIVEN | {"max_steps": 6}, model=str(own), data=tiny_data, resume=True, trust_remote_code=True)
    assert inspect_run(run=final.parent, text=["a rash"], device="cpu", trust_remote_code=True)
    assert type(load_encoder(str(final), CPU, trust_remote_code=True).transformers_model).__name__ == "OwnModel"
    assert (final / "modeling_own.py").is_file()


def test_words_become_tokens_that_begin_as_the_mean_of_their_pieces(tmp_path: Path) -> None:
    """A wordpiece tokenizer; the library's loss would put the rows on disk back."""
    make("bert", tmp_path)
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "steno",
        "##sis",
        "the",
        "aortic",
        "is",
        ".",
        "un",
        "##seen",
    ]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n")
    tf.BertTokenizer(vocab=str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "transformer")
    model = SentenceTransformer(modules=[Transformer(str(tmp_path / "transformer")), Pooling(32, "mean")], device="cpu")
    others = ["the aortic is unseen.", "is the steno"]
    before, table = model.encode(others), model.transformers_model.get_input_embeddings().weight.detach().clone()
    assert add_words(model, ["stenosis", "aortic", "Stenosises", "xylem"]) == 3  # "aortic" is a token already
    assert model.tokenizer.tokenize("The Stenosis is stenosissis.") == [
        "the", "stenosis", "is", "steno", "##sis", "##sis", ".",
    ]  # fmt: skip
    assert (model.encode(others) == before).all()
    now = model.transformers_model.get_input_embeddings().weight
    torch.testing.assert_close(now[model.tokenizer.convert_tokens_to_ids("stenosis")], table[5:7].mean(0))
    torch.testing.assert_close(now[model.tokenizer.convert_tokens_to_ids("xylem")], table.mean(0))  # of unknown pieces
    model.save_pretrained(str(tmp_path / "saved"))
    assert (load(tmp_path / "saved").encode(["stenosis"]) == model.encode(["stenosis"])).all()


def test_a_run_takes_words_from_a_file_and_its_final_model_knows_them(
    tmp_path: Path, tiny_data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "words.txt").write_text("nurse\nXylem\n")  # the first is a token of the tiny tokenizer
    final = adapt(**GIVEN, model=str(make("bert", tmp_path)), data=tiny_data, add_words=tmp_path / "words.txt")
    assert caplog.text.count("words.txt: 1 words became tokens, 1 were tokens already.") == 1
    encoder = load(final)
    assert encoder.tokenizer.tokenize("a xylem")[1].lower() == "xylem"
    (tmp_path / "words.txt").unlink()
    assert adapt(resume=True, output=final.parent, data=tiny_data, max_steps=12) == final
    with pytest.raises(KitError, match=r"--add-words .*words.txt is no file"):
        adapt(**GIVEN, model=str(tmp_path / "model"), data=tiny_data, output="other", add_words=tmp_path / "words.txt")


@pytest.mark.parametrize(("name", "lacks"), [("layer.1.output.dense.weight", True), ("pooler.dense.weight", False)])
def test_a_model_that_lacks_some_of_its_weights_is_refused(tiny_model: Path, name: str, lacks: bool) -> None:
    """Transformers would fill them with random values, and report it only in its log."""
    shutil.copytree(tiny_model, "model")
    file = next(Path("model").rglob("model.safetensors"))
    weights = load_file(file)
    full = next(key for key in weights if key.endswith(name))
    save_file({key: tensor for key, tensor in weights.items() if key != full}, file, {"format": "pt"})
    if lacks:
        with pytest.raises(KitError, match=r"lacks 1 of its encoder's weights \(.*layer.1.output.dense.weight\)"):
            load_encoder("model", CPU)
    else:
        load_encoder("model", CPU)


def test_a_model_without_its_tokenizer_is_refused_by_every_command(
    tmp_path: Path, tiny_data: Path, search_data: Path, tiny_model: Path
) -> None:
    """Transformers creates an empty one: every word is unknown, all texts are the same, and a run ends well."""
    shutil.copytree(tiny_model, "bare")
    for path in Path("bare").glob("tokenizer*"):
        path.unlink()
    Path("pairs.jsonl").write_text(
        "".join(json.dumps({"anchor": text, "positive": text[:-9]}) + "\n" for text in make_sentences(8))
    )
    with pytest.raises(KitError, match=r"^The tokenizer of 'bare' is missing or empty: it knows no word"):
        adapt(**GIVEN, model="bare", data=tiny_data)
    with pytest.raises(KitError, match="tokenizer of 'bare' is missing"):
        fine_tune(files=["pairs.jsonl"], model="bare", max_steps=1, device="cpu")
    with pytest.raises(KitError, match="tokenizer of 'bare' is missing"):
        score_models(models=[str(tiny_model), "bare"], data=[str(search_data)], device="cpu")
    with pytest.raises(KitError, match="tokenizer of 'bare' is missing"):
        export_model(model="bare")
    assert not [*Path("runs").glob("*/run.json")]


@pytest.mark.parametrize(
    "family", ["roberta", "xlm-roberta", "mpnet", "deberta-v2", "albert", "gpt2", "t5", "camembert", "llama"]
)
def test_no_family_begins_with_an_empty_tokenizer(family: str) -> None:
    (tf.T5EncoderModel if family == "t5" else tf.AutoModel.from_config)(CONFIGS[family]()).save_pretrained("bare")
    with pytest.raises(KitError, match="tokenizer of 'bare' is missing"):
        load_encoder("bare", CPU)


def test_tokenizers_of_bytes_and_characters_are_taken() -> None:
    tf.T5EncoderModel(
        tf.T5Config(vocab_size=384, d_model=32, d_kv=16, d_ff=48, num_layers=1, num_heads=2)
    ).save_pretrained("byt5")
    tf.ByT5Tokenizer().save_pretrained("byt5")
    tf.CanineModel(
        tf.CanineConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48)
    ).save_pretrained("canine")
    tf.CanineTokenizer().save_pretrained("canine")
    for name in ("byt5", "canine"):
        assert load_encoder(name, CPU).encode(["a rash"]).shape == (1, 32)


@pytest.mark.parametrize("content", ["", "[]", "null", '{"version": "9.0"}', '{"model": ', "\udcff"])
def test_a_damaged_tokenizer_is_one_line(content: str, tiny_model: Path) -> None:
    shutil.copytree(tiny_model, "model")
    Path("model/tokenizer.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(KitError, match=r"^The tokenizer of 'model' is missing or damaged"):
        load_encoder("model", CPU)


def test_a_tokenizer_with_tokens_beyond_the_table_is_refused_and_added_ones_are_not(tiny_model: Path) -> None:
    """The first such word ended a run in an IndexError; Gemma's tokenizer has an added token that no text holds."""
    model = SentenceTransformer(str(tiny_model), device="cpu")
    size = len(model.tokenizer)
    model.tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    model.save_pretrained("more")
    assert len(load_encoder("more", CPU).tokenizer) == size + 1
    shutil.copytree(tiny_model, "model")
    file = next(Path("model").rglob("model.safetensors"))
    tensors = {key: t[:20].clone() if "word_embeddings" in key else t for key, t in load_file(file).items()}
    save_file(tensors, file, {"format": "pt"})
    config = json.loads(Path("model/config.json").read_text())
    Path("model/config.json").write_text(json.dumps(config | {"vocab_size": 20}))
    with pytest.raises(
        KitError, match=f"has token {size - 1}, but the model has embeddings for 20: it belongs to another"
    ):
        load_encoder("model", CPU)


@pytest.mark.parametrize("content", ["null", "[]", '"x"', "{}", '{"a": ', "\udcff"])
@pytest.mark.parametrize(
    "name", ["config.json", "modules.json", "1_Pooling/config.json", "config_sentence_transformers.json"]
)
def test_a_model_with_a_damaged_file_is_one_line(name: str, content: str, tiny_model: Path) -> None:
    if name.startswith("config_") and content == "{}":
        return  # says nothing, and may
    shutil.copytree(tiny_model, "model")
    Path("model", name).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(KitError, match=r"^The model 'model' cannot be loaded: ") as raised:
        load_encoder("model", CPU)
    assert "\n" not in str(raised.value)


def test_weights_of_other_shapes_and_pickles_that_hold_code_are_one_line(tiny_model: Path) -> None:
    shutil.copytree(tiny_model, "model")
    config = json.loads(Path("model/config.json").read_text())
    Path("model/config.json").write_text(json.dumps(config | {"intermediate_size": 128}))
    with pytest.raises(KitError, match=r"its weights have other shapes than its config\.json says"):
        load_encoder("model", CPU)
    shutil.copy(tiny_model / "config.json", "model/config.json")
    next(Path("model").rglob("model.safetensors")).unlink()
    for weights in (b"", b"garbage", pickle.dumps(Path("EXECUTED").touch, protocol=2)):
        Path("model/pytorch_model.bin").write_bytes(weights)
        with pytest.raises(KitError, match="its weights are a pickle that is damaged or holds code"):
            load_encoder("model", CPU)


def test_a_model_that_lost_the_list_of_its_modules_is_refused(tiny_model: Path) -> None:
    """The library would replace them all by a mean pooling."""
    shutil.copytree(tiny_model, "model")
    Path("model/modules.json").unlink()
    with pytest.raises(KitError, match=r"'model' lacks modules\.json, which defines its pooling"):
        load_encoder("model", CPU)


def test_a_run_folder_passed_as_a_model_names_the_model_in_it() -> None:
    Path("run/final").mkdir(parents=True)
    Path("run/run.json").touch()
    with pytest.raises(KitError, match=r"^run is the folder of a run. Pass the model in it: run/final\.$"):
        load_encoder("run", CPU)


def test_the_position_of_padding_and_those_before_it_are_not_counted() -> None:
    sizes = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    roberta = tf.RobertaModel(tf.RobertaConfig(max_position_embeddings=66, pad_token_id=1, **sizes))
    bert = tf.BertModel(tf.BertConfig(max_position_embeddings=64, **sizes))
    assert (count_positions(roberta), count_positions(bert)) == (64, 64)
    roberta(torch.full((1, 64), 5))
    with pytest.raises((IndexError, RuntimeError)):
        roberta(torch.full((1, 65), 5))
