"""inspect, and what it stands on: sentences rebuilt from their embeddings."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer

from tests.tiny import SHORT, make_sentences
from tsdae_kit import KitError, TSDAELoss, adapt, inspect_run, load_prepared
from tsdae_kit.config.settings import DecoderKind
from tsdae_kit.inspection import Inspection
from tsdae_kit.tsdae.reconstruction import reconstruct


@pytest.mark.parametrize("decoder", ["cross-attention", "prefix"])
def test_a_decoder_that_has_learned_sentences_rebuilds_them(
    load_tiny: Callable[[], SentenceTransformer], decoder: DecoderKind
) -> None:
    """Of differing length, so that each must find its own end."""
    torch.manual_seed(0)
    encoder = load_tiny()
    loss = TSDAELoss(encoder, decoder=decoder).eval()
    clean = [
        "a rash.",
        "the doctor treats a rash in the morning.",
        "a nurse needs sleep.",
        "every child finds some pain.",
    ]
    noisy = ["a rash", "doctor morning", "nurse sleep", "child pain"]
    features: list[Any] = [encoder.preprocess(texts) for texts in (noisy, clean)]
    optimizer = torch.optim.Adam(loss.parameters(), 3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        loss([dict(part) for part in features]).backward()
        optimizer.step()
    assert [text.replace(" .", ".") for text in reconstruct(loss, noisy, clean)] == clean
    shuffled = [2, 0, 3, 1]
    again = reconstruct(loss, [noisy[i] for i in shuffled], [clean[i] for i in shuffled])
    assert [text.replace(" .", ".") for text in again] == [clean[i] for i in shuffled]


@pytest.mark.parametrize("decoder", ["cross-attention", "prefix"])
def test_a_text_as_long_as_the_encoder_takes_is_no_fault(
    load_tiny: Callable[[], SentenceTransformer], decoder: DecoderKind
) -> None:
    """An untrained decoder never ends a sentence: it would go on behind the last position."""
    encoder = load_tiny()
    loss = TSDAELoss(encoder, decoder=decoder).eval()
    text = " ".join(["rash"] * 100)
    (rebuilt,) = reconstruct(loss, ["rash"], [text])
    assert len(rebuilt.split()) <= encoder.max_seq_length


def test_it_shows_the_runs_own_noise_and_neighbours(tiny_model: Path, tiny_data: Path, messages: Any) -> None:
    adapt(**{**SHORT, "max_steps": 6}, model=str(tiny_model), data=tiny_data, output="run", device="cpu")
    text = make_sentences(200)[7]
    (found,) = inspect_run(run="run", text=[text], nearest=2, device="cpu")
    assert (found.text, found.noisy) == (text, load_prepared(tiny_data).noise(text))
    assert len(found.neighbours) == 2
    assert text not in [other for _, other in found.neighbours]
    _check_neighbours("run/final", found)
    assert f"noisy    {found.noisy}\n" in messages()
    assert len(inspect_run(run="run", nearest=0, device="cpu")) == 5
    shutil.rmtree("run/final")
    (before,) = inspect_run(run="run", text=[text], device="cpu")
    _check_neighbours("run/checkpoint-6", before)
    shutil.copytree(tiny_model, "run/final")  # as where nothing beat the base model
    (after,) = inspect_run(run="run", text=[text], device="cpu")
    _check_neighbours(tiny_model, after)
    assert after.rebuilt == before.rebuilt


def _check_neighbours(model: str | Path, found: Inspection) -> None:
    encoder = SentenceTransformer(str(model), device="cpu")
    for score, other in found.neighbours:
        assert score == pytest.approx(float(encoder.similarity(*encoder.encode([found.text, other]))), abs=1e-5)


def test_what_it_needs_and_misses_is_one_line(tiny_model: Path, tiny_data: Path) -> None:
    with pytest.raises(KitError, match="nowhere holds no run of stage one"):
        inspect_run(run="nowhere")
    adapt(**{**SHORT, "max_steps": 6}, model=str(tiny_model), data=tiny_data, output="run", device="cpu")
    shutil.copytree(tiny_data, "moved")
    assert inspect_run(run="run", text=["a rash"], data="moved", device="cpu")
    with pytest.raises(KitError, match="elsewhere does not exist"):
        inspect_run(run="run", data="elsewhere", device="cpu")
    for checkpoint in Path("run").glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    with pytest.raises(KitError, match="only a checkpoint holds the decoder"):
        inspect_run(run="run", device="cpu")
