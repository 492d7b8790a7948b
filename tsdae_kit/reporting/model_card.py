"""The card of a model: the library's, with a section on how the model was adapted.

The facts come from the run's record and metrics, so they also cover the steps before an interruption. Files are named
without their folders, because a card is for others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from tsdae_kit.config.settings.training import RunSettings, TrainSettings
from tsdae_kit.reporting.rendering import render
from tsdae_kit.run_folder import RunFolder

TITLE = "## How it was adapted"
_CARD = "README.md"
_RECIPE = ("loss", "recipe", "learning_rate", "decoder_learning_rate", "decoder_warmup_steps", "lora_rank",
           "max_length", "precision", "seed")  # fmt: skip
_OMITTED = ("None", "False", "auto", "default")
_TSDAE = "By TSDAE (Wang, Reimers and Gurevych 2021, [arXiv 2104.06979](https://arxiv.org/abs/2104.06979))"
_LABELLED = "On labelled data"


def complete_card(folder: Path, settings: RunSettings, record: Mapping[str, Any], steps: int, best: int) -> None:
    """Add the section on how the model was adapted to its card; the base model's section follows as a subsection.

    Args:
        folder: The model's, with the card that the library wrote.
        settings: The run's, resolved.
        record: The run's.
        steps: The last step.
        best: The step whose model this is; 0 is the base model.
    """
    text, section = _split(_read(folder / _CARD))
    section = render(
        "model_card.md.j2",
        title=TITLE,
        method=_TSDAE if isinstance(settings, TrainSettings) else _LABELLED,
        facts=_collect_facts(settings, record, steps, best),
        base_section=section or _split(_read(Path(settings.model) / _CARD))[1],
    )
    before, heading, after = text.partition("\n## Training Details")
    card = ModelCard(f"{before.rstrip()}\n\n{section}{heading}{after}", ignore_metadata_errors=True)
    data: Any = card.data
    data.tags = list(dict.fromkeys([*(data.tags or []), "tsdae"]))
    card.save(folder / _CARD)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else "---\n{}\n---\n"


def _split(text: str) -> tuple[str, str]:
    """Return a card without our section, and that section's text."""
    before, title, rest = text.partition(f"{TITLE}\n")
    section, *after = re.split(r"(?m)^(?=## )", rest, maxsplit=1)
    return before + "".join(after), section.strip() if title else ""


def _collect_facts(settings: RunSettings, record: Mapping[str, Any], steps: int, best: int) -> dict[str, str]:
    """Return what the section lists: data, steps, settings, losses, scores, versions."""
    facts = dict(record.get("about", {}))
    rows = settings.batch_size * record["processes"] * settings.gradient_accumulation_steps
    facts["steps"] = f"{steps:,}, of {rows} rows each"
    if best != steps:
        facts["this model"] = f"that of step {best:,}, which scored best" if best else (
            "the base model as it was: no step scored above it")  # fmt: skip
    values = {name.replace("_", " "): str(getattr(settings, name, None)) for name in _RECIPE}
    facts |= {name: value for name, value in values.items() if value not in _OMITTED}
    metrics = RunFolder(settings.output).read_metrics()
    losses = [entry["eval_loss"] for entry in metrics if "eval_loss" in entry]
    if losses:
        facts["held-out loss, first and last"] = f"{losses[0]:.4f}, {losses[-1]:.4f}"
    scores = {entry["step"]: entry["eval_score"] for entry in metrics if "eval_score" in entry}
    if scores:
        models = {best: "this model", 0: "base model"}  # one entry where they are the same
        shown = ", ".join(f"{name} {scores[step]:.2f}" for step, name in models.items() if step in scores)
        facts[f"score ({', '.join(record['goals'])})"] = shown
    facts["versions"] = ", ".join(f"{name} {value}" for name, value in record["versions"].items() if name != "threads")
    return facts
