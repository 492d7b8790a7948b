"""The model's card: the library's, completed with how the model was made, so that a shared folder explains itself.

Everything comes from the run's record and metrics, which also hold what was done before a run was interrupted.
Names of files stand without their folders: a card is for others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from tsdae_kit.config.settings import RunSettings
from tsdae_kit.run_folder import RunFolder

TITLE = "## How it was adapted"
_CARD = "README.md"
_RECIPE = ("loss", "recipe", "learning_rate", "decoder_learning_rate", "decoder_warmup_steps", "lora_rank",
           "max_length", "fixed_noise", "precision", "seed")  # fmt: skip
_UNSAID = ("None", "False", "auto", "default")
_TSDAE = "By TSDAE (Wang, Reimers and Gurevych 2021, [arXiv 2104.06979](https://arxiv.org/abs/2104.06979))"
_KIT = "tsdae_kit"


def complete_card(folder: Path, settings: RunSettings, record: Mapping[str, Any], steps: int, best: int) -> None:
    """Add to the card in a model's folder how it was adapted, after what was done to the model it began with.

    Args:
        folder: Where the library has written the model and its card.
        settings: The run's, filled in.
        record: The run's, with what the stage says ``about`` its data.
        steps: The last step.
        best: The step whose model this is; 0 is the model that the run began with.
    """
    text = _read(folder / _CARD)
    body = "\n".join(f"- {name}: {value}" for name, value in _facts(settings, record, steps, best).items())
    how = _TSDAE if hasattr(settings, "decoder") else "On labelled data"
    section = f"{TITLE}\n\n{how}, with {_KIT}.\n\n{body}\n"
    earlier = _split(text)[1] or _split(_read(Path(settings.model) / _CARD))[1]
    if earlier:
        section += f"\n### The model it began with\n\n{earlier}\n"
    before, place, after = _split(text)[0].partition("\n## Training Details")
    card = ModelCard(f"{before.rstrip()}\n\n{section}{place}{after}", ignore_metadata_errors=True)
    data: Any = card.data
    data.tags = list(dict.fromkeys([*(data.tags or []), "tsdae"]))
    card.save(folder / _CARD)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else "---\n{}\n---\n"


def _split(text: str) -> tuple[str, str]:
    """Return a card without our section, and that section's text."""
    before, title, rest = text.partition(f"{TITLE}\n")
    body, *after = re.split(r"(?m)^(?=## )", rest, maxsplit=1)
    return before + "".join(after), body.strip() if title else ""


def _facts(settings: RunSettings, record: Mapping[str, Any], steps: int, best: int) -> dict[str, str]:
    facts = dict(record.get("about", {}))
    rows = settings.batch_size * record["processes"] * settings.gradient_accumulation_steps
    facts["steps"] = f"{steps:,}, of {rows} rows each"
    if best != steps:
        facts["this model"] = f"that of step {best:,}, which scored best" if best else (
            "the base model as it was: no step scored above it")  # fmt: skip
    given = {name: getattr(settings, name, None) for name in _RECIPE}
    facts |= {name.replace("_", " "): str(value) for name, value in given.items() if str(value) not in _UNSAID}
    entries = RunFolder(settings.output).read_metrics()
    losses = [entry["eval_loss"] for entry in entries if "eval_loss" in entry]
    if losses:
        facts["held-out loss, first and last"] = f"{losses[0]:.4f}, {losses[-1]:.4f}"
    scores = {entry["step"]: entry["eval_score"] for entry in entries if "eval_score" in entry}
    if scores:
        of = {best: "this model", 0: "base model"}  # which may be the same
        shown = ", ".join(f"{name} {scores[step]:.2f}" for step, name in of.items() if step in scores)
        facts[f"score ({', '.join(record['goals'])})"] = shown
    facts["versions"] = ", ".join(f"{name} {value}" for name, value in record["versions"].items() if name != "threads")
    return facts
