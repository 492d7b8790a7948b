"""A small batch is probed before the first step: a loss that cannot train the encoder does not run for hours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import (
    DenoisingAutoEncoderLoss,
    MultipleNegativesRankingLoss,
)

from tests.test_families import GIVEN, load, make
from tests.tiny import make_sentences
from tsdae_kit import TSDAELoss, adapt, probe_signal
from tsdae_kit.errors import KitError
from tsdae_kit.tsdae import prefix_decoder

NOISY = ["a nurse.", *make_sentences(3)]
CLEAN = make_sentences(4)


@pytest.mark.parametrize("family", ["qwen3", "gemma3_text", "llama"])
def test_the_librarys_decoder_that_runs_without_a_signal_is_caught(family: str, tmp_path: Path) -> None:
    """Their causal models take ``encoder_hidden_states`` and ignore it: the loss is finite, and falls."""
    model = load(make(family, tmp_path))
    upstream = DenoisingAutoEncoderLoss(model, tie_encoder_decoder=True)
    assert bool(upstream([model.preprocess(NOISY), model.preprocess(CLEAN)], None).isfinite())
    with pytest.raises(KitError, match="no gradient to the sentence embedding of 4 of 4 rows"):
        probe_signal(upstream, model, NOISY, CLEAN)
    probe_signal(TSDAELoss(model), model, NOISY, CLEAN)


def test_rows_padded_on_the_left_are_caught_in_the_librarys_loss_and_learn_in_ours(tmp_path: Path) -> None:
    model = load(make("bert", tmp_path, side="left"))
    with pytest.raises(KitError, match=r"of [123] of 4 rows"):
        probe_signal(DenoisingAutoEncoderLoss(model, tie_encoder_decoder=True), model, NOISY, CLEAN)
    probe_signal(TSDAELoss(model), model, NOISY, CLEAN)


def test_other_losses_can_be_probed_and_nothing_is_changed(tmp_path: Path) -> None:
    model = load(make("bert", tmp_path)).train()
    before, random = {n: p.clone() for n, p in model.named_parameters()}, torch.get_rng_state()
    probe_signal(MultipleNegativesRankingLoss(model), model, NOISY, CLEAN)
    assert torch.equal(torch.get_rng_state(), random)
    assert model.training
    assert all(p.grad is None and torch.equal(p, before[n]) for n, p in model.named_parameters())
    assert not model._forward_hooks


def test_a_loss_that_is_not_finite_is_caught(tmp_path: Path) -> None:
    model = load(make("bert", tmp_path))
    with torch.no_grad():
        model.transformers_model.get_input_embeddings().weight[7:] = float("nan")
    with pytest.raises(KitError, match="The loss of the first sentences is nan"):
        probe_signal(TSDAELoss(model), model, NOISY, CLEAN)


def test_a_run_without_a_signal_ends_before_its_folder_appears(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drop_one_row(self: Any, embedding: torch.Tensor, *others: torch.Tensor) -> Any:
        return forward(self, embedding * torch.tensor([[1.0], [0.0], [1.0], [1.0]]), *others)

    model, forward = make("distilbert", tmp_path), prefix_decoder.PrefixDecoder.forward
    monkeypatch.setattr(prefix_decoder.PrefixDecoder, "forward", drop_one_row)
    monkeypatch.setattr(prefix_decoder.PrefixDecoder, "_check_family", lambda *_: None)
    with pytest.raises(KitError, match="of 1 of 4 rows"):
        adapt(**GIVEN, model=str(model), data=tiny_data, output="run")
    assert not Path("run").exists()
