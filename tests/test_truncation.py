"""A model that truncates its embeddings (Matryoshka): trained on full ones, used and scored on truncated ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer

from tests.test_families import GIVEN
from tests.test_finetune import FILES, tune, write
from tests.tiny import make_sentences, rest_slow
from tsdae_kit import TSDAELoss, adapt, inspect_run, score_models

CUT = 12  # of 32 values


@pytest.fixture
def cut(tiny_model: Path) -> Path:
    encoder = SentenceTransformer(str(tiny_model), truncate_dim=CUT, device="cpu")
    encoder.save_pretrained("cut", create_model_card=False)
    return Path("cut")


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return dict(SentenceTransformer(str(folder), device="cpu").named_parameters())


@pytest.mark.parametrize("decoder", rest_slow("cross-attention", "prefix"))
def test_stage_one_trains_the_whole_embedding_and_the_final_model_cuts_it_as_before(
    decoder: Any, cut: Path, tiny_model: Path, tiny_data: Path, messages: Callable[[], str]
) -> None:
    """To the same weights as the same model without the cut, also where the run is resumed."""
    given = GIVEN | {"decoder": decoder, "data": tiny_data}
    whole = adapt(**given, model=str(tiny_model), output="whole")
    adapt(**given | {"max_steps": 6}, model=str(cut), output="run")
    final = adapt(**given, model=str(cut), output="run", resume=True)
    assert f"embeddings are cut to {CUT} values in use; all of them are trained" in messages()
    a, b = weights_of(whole), weights_of(final)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert SentenceTransformer(str(final), device="cpu").encode("a rash").shape == (CUT,)
    outcome = json.loads(Path("run/outcome.json").read_text())
    assert [len(outcome[name]) for name in ("neighbours", "rebuilt")] == [10, 5]
    (found,) = inspect_run(run="run", data=tiny_data, text=["the doctor treats a rash."])
    assert found.neighbours


@pytest.mark.parametrize("objective", FILES)
def test_stage_two_trains_the_whole_embedding(objective: str, cut: Path, tiny_model: Path) -> None:
    file = write("pairs.jsonl", FILES[objective])
    whole = tune(tiny_model, file, output="whole", max_steps=4)
    final = tune(cut, file, max_steps=4)
    a, b = weights_of(whole), weights_of(final)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert SentenceTransformer(str(final), device="cpu").truncate_dim == CUT


def test_the_loss_alone_takes_a_model_that_cuts_its_embeddings(cut: Path) -> None:
    model = SentenceTransformer(str(cut), device="cpu")
    features = model.preprocess(make_sentences(4))
    assert TSDAELoss(model)([dict(features), dict(features)]).isfinite()


def test_scores_are_those_of_the_embeddings_as_they_are_used(cut: Path, search_data: Path, tiny_model: Path) -> None:
    score_models(models=[str(tiny_model), str(cut)], data=[str(search_data)], output="scores.json")
    rows = json.loads(Path("scores.json").read_text())["results"]
    scores = {row["model"]: row["score"] for row in rows if row["metric"] == "MRR@10"}
    assert scores[str(tiny_model)] != scores[str(cut)]
