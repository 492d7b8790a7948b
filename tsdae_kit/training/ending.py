"""What comes after a run's last step: the final model, the closing table, the verdict."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsdae_kit.console import show_duration, table
from tsdae_kit.errors import KitError, NoGain
from tsdae_kit.folders import new_folder
from tsdae_kit.settings import RunSettings
from tsdae_kit.training.runs import FINAL, METRICS, RECORD, finish_run

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from tsdae_kit.training.progress import Progress
    from tsdae_kit.training.selection import Selection

logger = logging.getLogger("tsdae_kit")


def write_best(
    settings: RunSettings,
    record: dict[str, Any],
    encoder: SentenceTransformer,
    steps: tuple[int, int],
    selection: Selection | None,
    load: Callable[[Path | None], SentenceTransformer],
) -> int:
    """Write the final model, of the best step if there are scores; return its step.

    Args:
        settings: The run's, filled in.
        record: The run's.
        encoder: As it is after the last step.
        steps: The last step, and how many the run was to have.
        selection: The scores.
        load: Gives the encoder of a checkpoint; of ``None``, the base model.
    """
    from tsdae_kit.training.card import complete_card
    from tsdae_kit.training.selection import choose_model

    best = steps[0]
    if selection:
        encoder, best = choose_model(selection, encoder, load, (settings.output, record["id"]), best)
        encoder.max_seq_length = record["max_length"]
    card = partial(complete_card, settings=settings, record=record, steps=steps[0], best=best)
    _write_final(settings.output / FINAL, encoder, card)
    finish_run(settings, {**record, "best_step": best, "stopped_early": steps[0] < steps[1]}, steps[0])
    return best


def _write_final(final: Path, encoder: SentenceTransformer, card: Callable[[Path], None]) -> None:
    from safetensors import SafetensorError

    from tsdae_kit.training.adapters import merge_adapters

    merge_adapters(encoder)
    try:
        with new_folder(final) as folder:
            encoder.save_pretrained(str(folder))
            card(folder)
    except (OSError, SafetensorError) as error:
        raise KitError(f"{final} could not be written ({error}). Make room, then --resume writes it.") from error


def judge(settings: RunSettings, best: int) -> None:
    """Say whether the model that the run began with was beaten.

    Raises:
        NoGain: If it was not, and a gain was required.
    """
    final = settings.output / FINAL
    if best:
        logger.info(
            "The final model is that of step %d. Chosen by these scores, it is flattered by them; on other data: "
            "python -m tsdae_kit.evaluate %s %s --data DIR", best, settings.model, final,
        )  # fmt: skip
        return
    verdict = f"No step scored above the base model: {final} is the base model as it was."
    if settings.require_gain:
        raise NoGain(verdict)
    logger.info("%s", verdict)


def conclude(final: Path, steps: int, progress: Progress, seconds: float) -> None:
    """Show the closing table, and where everything lies."""
    rows = [
        ("steps", f"{steps:,}"),
        ("time", show_duration(seconds)),
        ("sentences per second", f"{progress.speed:,.0f}"),
    ]
    for kind, name in (("loss", "training loss"), ("eval_loss", "held-out loss")):
        if kind in progress.last:
            rows.append((f"{name}, first and last", f"{progress.first[kind]:.4f}  {progress.last[kind]:.4f}"))
    logger.info("%s", table(rows))
    logger.info("The trained model: %s (SentenceTransformer(%r) loads it).", final, str(final))
    logger.info("The run: %s, %s, train.log and the checkpoints in %s.", RECORD, METRICS, final.parent)
