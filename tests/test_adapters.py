"""``--lora-rank``: only adapters are trained and saved; a killed run resumes to the bit; the final model is plain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from tests.test_families import GIVEN, make
from tests.tiny import make_sentences, rest_slow
from tsdae_kit import TSDAELoss, adapt
from tsdae_kit.errors import KitError
from tsdae_kit.models.adapters import add_adapters, merge_adapters
from tsdae_kit.models.loading import load_encoder
from tsdae_kit.training.progress import Progress

pytestmark = pytest.mark.usefixtures("no_report")

CPU = torch.device("cpu")


def adapted(folder: Path, family: str = "bert", rank: int = 4) -> SentenceTransformer:
    """Return an encoder with adapters that change its embeddings."""
    encoder = load_encoder(str(make(family, folder)), CPU)
    add_adapters(encoder, rank)
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in encoder.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.2)
    return encoder


@pytest.mark.parametrize("family", ["bert", "gpt2", "qwen3"])  # gpt2's layers are Conv1D
def test_merged_the_encoder_is_plain_and_its_embeddings_are_the_same(family: str, tmp_path: Path) -> None:
    encoder = adapted(tmp_path, family).eval()
    plain = load_encoder(str(tmp_path / "model"), CPU)
    names = dict(plain.named_parameters()).keys()
    before = encoder.encode(make_sentences(5))
    assert abs(before - plain.encode(make_sentences(5))).max() > 0.01
    merge_adapters(encoder)
    assert dict(encoder.named_parameters()).keys() == names
    assert all(parameter.requires_grad for parameter in encoder.parameters())
    assert abs(encoder.encode(make_sentences(5)) - before).max() < 1e-5
    encoder.save_pretrained(str(tmp_path / "merged"))
    assert not list((tmp_path / "merged").glob("adapter*"))
    assert abs(load_encoder(str(tmp_path / "merged"), CPU).encode(make_sentences(5)) - before).max() < 1e-5


@pytest.mark.parametrize("kind", ["cross-attention", "prefix"])
def test_the_decoder_shares_the_adapters_and_adds_no_learning_weight_of_the_encoder(kind: Any, tmp_path: Path) -> None:
    encoder = adapted(tmp_path)
    loss = TSDAELoss(encoder, decoder=kind)
    adapters = {id(p) for name, p in encoder.named_parameters() if "lora_" in name}
    assert adapters == {id(p) for p in encoder.parameters() if p.requires_grad}
    features = [dict(encoder.preprocess(make_sentences(4))) for _ in range(2)]
    loss(features).backward()
    assert all(p.grad is None for p in encoder.parameters() if id(p) not in adapters)
    # the decoder computes with the adapters: without its own share of their gradient, this one would stay
    (embedding,) = torch.autograd.grad(
        loss.decoder(torch.randn(4, 32), features[1]["input_ids"], features[1]["attention_mask"])[0].square().sum(),
        [p for n, p in encoder.named_parameters() if n.endswith("query.lora_B.default.weight")][:1],
    )
    assert bool(embedding.any())


@pytest.mark.parametrize("kind", rest_slow("cross-attention", "prefix"))
def test_a_killed_run_with_adapters_ends_in_the_same_bits(kind: str, tmp_path: Path, tiny_data: Path) -> None:
    model = make("bert", tmp_path)
    given = GIVEN | {"model": str(model), "data": tiny_data, "lora_rank": 4, "decoder": kind}
    begin = Progress.on_step_begin

    def kill(self: Progress, args: Any, state: Any, *others: Any, **kwargs: Any) -> None:
        if state.global_step == 5 and str(self.metrics).startswith("killed"):
            raise KeyboardInterrupt
        begin(self, args, state, *others, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "on_step_begin", kill)
        whole = adapt(**given, output="whole")
        with pytest.raises(KeyboardInterrupt):
            adapt(**given, output="killed")
    killed = adapt(**given, output="killed", resume=True)
    for name in ("adapter_model.safetensors", "loss.safetensors"):
        one, other = (load_file(Path(run) / "checkpoint-10" / name) for run in ("whole", "killed"))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
    finals = [load_file(final / "model.safetensors") for final in (whole, killed)]
    assert all(torch.equal(finals[0][key], finals[1][key]) for key in finals[0])
    base = load_file(model / "model.safetensors")
    assert finals[0].keys() == base.keys()
    assert not torch.equal(*(w["encoder.layer.0.attention.self.query.weight"] for w in (finals[0], base)))
    assert torch.equal(*(w["embeddings.word_embeddings.weight"] for w in (finals[0], base)))
    assert not list(Path("whole/checkpoint-10").glob("model*"))  # adapters only
    assert abs(load_encoder("whole/checkpoint-10", CPU).encode(["a nurse"]) -
               load_encoder(str(whole), CPU).encode(["a nurse"])).max() < 1e-5  # fmt: skip


def test_a_run_that_begins_from_an_adapter_s_checkpoint_begins_merged(tmp_path: Path, tiny_data: Path) -> None:
    """Otherwise its own weights would stay frozen, as those of a loaded adapter are."""
    given = GIVEN | {"data": tiny_data, "model": str(make("bert", tmp_path))}
    adapt(**given, lora_rank=4, output="first")
    final = adapt(**given | {"model": "first/checkpoint-10", "max_steps": 4}, output="second")
    base, moved = (load_file(folder / "model.safetensors") for folder in (tmp_path / "model", final))
    assert base.keys() == moved.keys()
    assert not torch.equal(*(w["embeddings.word_embeddings.weight"] for w in (base, moved)))


def test_adapters_where_nothing_could_learn_are_refused(tmp_path: Path, tiny_data: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("nurse\n")
    with pytest.raises(KitError, match="freeze the random weights of --model scratch"):
        adapt(data=tiny_data, model="scratch", lora_rank=4)
    with pytest.raises(KitError, match="freezes the rows of --add-words"):
        adapt(data=tiny_data, lora_rank=4, add_words=words)
    with pytest.raises(KitError, match="--lora-rank 0 is not above 0"):
        adapt(data=tiny_data, lora_rank=0)
