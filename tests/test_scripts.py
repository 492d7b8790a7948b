"""The measuring scripts run: both sides of the training benchmark, on a small model."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import pytest

from scripts.benchmark import run_side
from tests.tiny import make_sentences


@pytest.mark.parametrize("side", ["official", "ours"])
def test_a_side_of_the_training_benchmark_prints_its_figures(
    side: str, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("corpus.txt").write_text("\n".join(make_sentences(100)))
    options = Namespace(
        side=side, model=str(tiny_model), corpus=Path("corpus.txt"), steps=2, batch_size=4, precision="fp32"
    )  # where bf16 is emulated, the machine's own speed alone would take minutes
    run_side(options)
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["sentences/s"] > 0
    assert figures["target tokens/s"] > 3 * figures["sentences/s"]
