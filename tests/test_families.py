"""Every family of encoders learns, decodes causally from the embedding alone, and resumes to the bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Pooling, Transformer

from tests.tiny import SHORT, make_sentences, make_tokenizer, weights
from tsdae_kit import TSDAELoss, adapt
from tsdae_kit.errors import KitError
from tsdae_kit.training.progress import Progress
from tsdae_kit.tsdae.cross_attention_decoder import CrossAttentionDecoder
from tsdae_kit.tsdae.heads import make_head
from tsdae_kit.tsdae.prefix_decoder import PrefixDecoder

pytestmark = pytest.mark.usefixtures("no_report")

SIZE = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
        "max_position_embeddings": 80}  # fmt: skip
MARKS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
WORDS = {"num_key_value_heads": 2, "head_dim": 16, **MARKS}
CONFIGS: dict[str, Callable[[], Any]] = {
    "bert": lambda: tf.BertConfig(**SIZE),
    "roberta": lambda: tf.RobertaConfig(**SIZE, **MARKS),
    "xlm-roberta": lambda: tf.XLMRobertaConfig(**SIZE, **MARKS),
    "camembert": lambda: tf.CamembertConfig(**SIZE, **MARKS),
    "electra": lambda: tf.ElectraConfig(**SIZE, embedding_size=16),
    "ernie": lambda: tf.ErnieConfig(**SIZE),
    "megatron-bert": lambda: tf.MegatronBertConfig(**SIZE),
    "distilbert": lambda: tf.DistilBertConfig(vocab_size=64, dim=32, n_layers=2, n_heads=2, hidden_dim=48),
    "mpnet": lambda: tf.MPNetConfig(**SIZE, pad_token_id=0),
    "modernbert": lambda: tf.ModernBertConfig(**SIZE, **MARKS),
    "deberta-v2": lambda: tf.DebertaV2Config(**SIZE, relative_attention=True, pos_att_type=["p2c", "c2p"]),
    "albert": lambda: tf.AlbertConfig(**SIZE, embedding_size=16, **MARKS),
    "nomic_bert": lambda: tf.AutoConfig.for_model("nomic_bert", **SIZE),
    "eurobert": lambda: tf.AutoConfig.for_model("eurobert", **SIZE, **MARKS, mask_token_id=4),
    "jina_embeddings_v3": lambda: tf.AutoConfig.for_model("jina_embeddings_v3", **SIZE),
    "gpt2": lambda: tf.GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=2, bos_token_id=2, eos_token_id=3),
    "qwen3": lambda: tf.Qwen3Config(**SIZE, **WORDS),
    "gemma3_text": lambda: tf.Gemma3TextConfig(**SIZE, **WORDS),
    "llama": lambda: tf.LlamaConfig(**SIZE, **WORDS),
    "t5": lambda: tf.T5Config(vocab_size=64, d_model=32, d_kv=16, d_ff=48, num_layers=2, num_heads=2),
}
KINDS = ("bert", "distilbert", "gpt2", "t5")  # with and without cross-attention, causal, an encoder of two halves
GIVEN = SHORT | {"max_steps": 10, "save_steps": 3, "logging_steps": 5, "eval_steps": 100, "device": "cpu",
                 "decoder_warmup_steps": 2}  # fmt: skip


def make(family: str, folder: Path, side: str = "right", pooling: str = "mean", dense: int = 0) -> Path:
    torch.manual_seed(0)
    config = CONFIGS[family]()
    model = tf.T5EncoderModel(config) if family == "t5" else tf.AutoModel.from_config(config)
    model.save_pretrained(folder / "transformer")
    make_tokenizer(side).save_pretrained(folder / "transformer")
    modules: list[Any] = [Transformer(str(folder / "transformer")), Pooling(32, pooling)]
    if dense:
        modules.append(Dense(32, dense))
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(folder / "model"), create_model_card=False)
    return folder / "model"


def load(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(folder), device="cpu")


def features(model: SentenceTransformer, texts: list[str]) -> dict[str, Any]:
    return dict(model.preprocess(texts))


@pytest.mark.parametrize(
    "family", [name if name in KINDS else pytest.param(name, marks=pytest.mark.slow) for name in CONFIGS]
)
def test_a_family_learns_and_a_killed_run_ends_in_the_same_bits(family: str, tmp_path: Path, tiny_data: Path) -> None:
    model = make(family, tmp_path)
    begin = Progress.on_step_begin

    def kill(self: Progress, args: Any, state: Any, *others: Any, **kwargs: Any) -> None:
        if state.global_step == 5 and str(self.metrics).startswith("killed"):
            raise KeyboardInterrupt
        begin(self, args, state, *others, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "on_step_begin", kill)
        adapt(**GIVEN, model=str(model), data=tiny_data, output="whole")
        with pytest.raises(KeyboardInterrupt):
            adapt(**GIVEN, model=str(model), data=tiny_data, output="killed")
    final = adapt(**GIVEN, model=str(model), data=tiny_data, output="killed", resume=True)
    one, other = weights(Path("whole"), 10), weights(Path("killed"), 10)
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []
    rows = [json.loads(line) for line in Path("whole/metrics.jsonl").read_text().splitlines()]
    first, *_, last = (row["eval_loss"] for row in rows if "eval_loss" in row)
    assert last < first
    assert load(final).encode(["a nurse"]).shape == (1, 32)


@pytest.mark.parametrize("kind", ["auto", "prefix"])
@pytest.mark.parametrize("family", CONFIGS)
def test_the_decoder_is_causal_and_every_row_s_embedding_gets_a_gradient(
    family: str, kind: Any, tmp_path: Path
) -> None:
    loss = TSDAELoss(load(make(family, tmp_path)), decoder=kind).eval()
    texts = make_sentences(4)
    target = features(loss.encoder, texts)
    ids, mask = target["input_ids"], target["attention_mask"]
    embedding = torch.randn(4, 32, requires_grad=True)
    hidden_states, targets = loss.decoder(embedding, ids, mask)
    (gradient,) = torch.autograd.grad(hidden_states.square().sum(), embedding)
    assert bool((gradient.abs().amax(dim=1) > 0).all())
    # the last token but one of the first row changes: only the prediction after it may differ
    changed = ids.clone()
    last = int(mask[0].nonzero().max())
    changed[0, last - 1] = (ids[0, last - 1] + 1) % 40 + 6
    others, changed_targets = loss.decoder(embedding, changed, mask)
    differing = (hidden_states - others).abs().amax(dim=1) > 1e-5
    place = int((targets != changed_targets).nonzero()[0])  # the position that predicts that token
    assert differing.nonzero().flatten().tolist() == [place + 1]


WITH_A_HEAD = [family for family in CONFIGS if family not in ("gpt2", "qwen3", "gemma3_text", "llama", "t5")]


@pytest.mark.parametrize("family", WITH_A_HEAD)
def test_a_masked_lm_head_is_computed_as_the_family_computes_it(family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    lm = tf.AutoModelForMaskedLM.from_config(CONFIGS[family]()).eval()
    with torch.no_grad():
        for parameter in lm.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    lm.save_pretrained(tmp_path)
    head = make_head(tf.AutoModel.from_pretrained(tmp_path)).eval()
    assert not head.is_new
    ids = torch.randint(5, 40, (3, 7))
    hidden_states = tf.AutoModel.from_pretrained(tmp_path).eval()(input_ids=ids)[0].flatten(0, 1)
    logits = torch.nn.functional.linear(head(hidden_states), head.output.weight, head.output.bias)
    torch.testing.assert_close(logits, lm(input_ids=ids).logits.flatten(0, 1))


@pytest.mark.parametrize("family", ["distilbert", "eurobert", "qwen3", "t5"])  # of four kinds of heads
def test_an_encoder_without_a_head_gets_one_over_its_token_embeddings(family: str, tmp_path: Path) -> None:
    encoder = load(make(family, tmp_path)).transformers_model
    head = make_head(encoder)
    table = encoder.get_input_embeddings().weight
    assert torch.equal(head.output.weight, table)
    assert (head.output.weight is table) == (family != "eurobert")  # whose configuration does not tie them
    assert head.is_new == (family != "qwen3" or not encoder.config.tie_word_embeddings)


@pytest.mark.parametrize("family", ["bert", "distilbert", "qwen3"])
def test_padding_on_the_left_gives_the_same_decoder(family: str, tmp_path: Path) -> None:
    """The library masks by the first column: rows that are padded on the left get no gradient."""
    texts = ["a nurse needs sleep today.", *make_sentences(3)]
    outputs = []
    for side in ("left", "right"):
        model = load(make(family, tmp_path / side, side))
        torch.manual_seed(1)
        decoder = PrefixDecoder(model.transformers_model, 32).eval()
        target = features(model, texts)
        assert (target["attention_mask"][0, 0] == 0) == (side == "left")
        torch.manual_seed(2)
        outputs.append(decoder(torch.randn(4, 32), target["input_ids"], target["attention_mask"]))
    torch.testing.assert_close(outputs[0], outputs[1])


def test_the_decoder_computes_without_dropout_and_the_encoder_keeps_its_own(tmp_path: Path) -> None:
    loss = TSDAELoss(load(make("distilbert", tmp_path))).train()
    texts = features(loss.encoder, make_sentences(4))
    embedding = torch.randn(4, 32)
    first, again = (loss.decoder(embedding, texts["input_ids"], texts["attention_mask"])[0] for _ in range(2))
    assert torch.equal(first, again)
    noisy, other = (loss.encoder(dict(texts))["sentence_embedding"] for _ in range(2))
    assert not torch.equal(noisy, other)


def test_auto_takes_cross_attention_where_the_family_has_it(tmp_path: Path) -> None:
    kinds = {family: type(TSDAELoss(load(make(family, tmp_path / family))).decoder) for family in ("bert", "mpnet")}
    assert kinds == {"bert": CrossAttentionDecoder, "mpnet": PrefixDecoder}


def test_a_projection_is_fed_through_and_mapped_back(tmp_path: Path) -> None:
    model = load(make("bert", tmp_path, dense=12))
    with pytest.raises(KitError, match=r"has 12 values, the decoder expects 32.*--decoder prefix"):
        TSDAELoss(model)
    loss = TSDAELoss(model, decoder="prefix")
    texts = features(model, make_sentences(4))
    loss([dict(texts), dict(texts)]).backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in model[2].parameters())


def test_the_tied_weight_gradient_is_that_of_plain_autograd(tmp_path: Path) -> None:
    """The head's gradient receives the rows of two lookups, of noisy and of clean tokens."""
    loss = TSDAELoss(load(make("distilbert", tmp_path)), decoder="prefix").eval()
    texts, table = features(loss.encoder, make_sentences(6)), loss.decoder.output.weight
    loss([dict(texts), dict(texts)]).backward()
    gradient = table.grad.clone()
    table.grad = None
    embedding = loss.encoder(dict(texts))["sentence_embedding"]
    hidden_states, targets = loss.decoder(embedding, texts["input_ids"], texts["attention_mask"])
    logits = torch.nn.functional.linear(hidden_states, table, loss.decoder.output.bias)
    torch.nn.functional.cross_entropy(logits, targets).backward()
    torch.testing.assert_close(gradient, table.grad, rtol=1e-4, atol=1e-6)


def test_a_family_that_does_not_honour_the_mask_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(make("distilbert", tmp_path))
    monkeypatch.setattr("tsdae_kit.tsdae.prefix_decoder._causal_mask", lambda encoder, inputs: None)
    with pytest.raises(KitError, match=r"'distilbert' cannot decode from a prefix \(a token attends to later ones"):
        TSDAELoss(model)


def test_a_family_that_ignores_the_embedding_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(make("distilbert", tmp_path))
    run = PrefixDecoder.forward

    def ignore_embedding(self: PrefixDecoder, embedding: torch.Tensor, *others: torch.Tensor) -> Any:
        return run(self, torch.zeros_like(embedding), *others)

    monkeypatch.setattr(PrefixDecoder, "forward", ignore_embedding)
    with pytest.raises(KitError, match="no gradient reaches the sentence embedding"):
        TSDAELoss(model)
