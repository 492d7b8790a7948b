"""What comes after a run's last step: the final model, the closing table, the verdict, the report."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsdae_kit.config.settings import SCRATCH, RunSettings
from tsdae_kit.console import show_duration, table
from tsdae_kit.errors import NoGain, warn_on_error
from tsdae_kit.filesystem import write_json
from tsdae_kit.reporting.run_page import OUTCOME, PAGE, read_json, write_run_page
from tsdae_kit.training.resuming import FINAL, METRICS, RECORD, finish_run, read_record

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from tsdae_kit.evaluation.validation_sets import Goal
    from tsdae_kit.models.weight_averaging import BaseWeightAverage
    from tsdae_kit.training.model_selection import Selection
    from tsdae_kit.training.progress import Progress
    from tsdae_kit.training.task import TrainingData, TrainingTask

logger = logging.getLogger("tsdae_kit")
WHOLE = "The model is whole."


def write_best(
    settings: RunSettings,
    record: dict[str, Any],
    encoder: SentenceTransformer,
    steps: tuple[int, int],
    choice: tuple[Selection | None, BaseWeightAverage | None],
    load: Callable[[Path | None], SentenceTransformer],
) -> int:
    """Write the final model, of the best step if there are scores; return its step.

    Args:
        settings: The run's, filled in.
        record: The run's.
        encoder: As it is after the last step.
        steps: The last step, and how many the run was to have.
        choice: The scores, and what the base model contributes to the weights.
        load: Gives the encoder of a checkpoint; of ``None``, the base model.
    """
    from tsdae_kit.reporting.model_card import complete_card
    from tsdae_kit.training.model_selection import choose_model

    best, (selection, share) = steps[0], choice
    if selection:
        encoder, best = choose_model(selection, encoder, load, (settings.output, record["id"]), best)
        encoder.max_seq_length = record["max_length"]
    if share:
        share.mix_into(encoder)
    card = partial(complete_card, settings=settings, record=record, steps=steps[0], best=best)
    _write_final(settings.output / FINAL, encoder, card)
    finish_run(settings, {**record, "best_step": best, "stopped_early": steps[0] < steps[1]}, steps[0])
    return best


def _write_final(final: Path, encoder: SentenceTransformer, card: Callable[[Path], None]) -> None:
    from tsdae_kit.models.adapters import merge_adapters
    from tsdae_kit.models.saving import write_model

    def complete(folder: Path) -> None:
        with warn_on_error(
            "The model's card does not say how it was adapted", WHOLE
        ):  # the base model's may be anything
            card(folder)

    merge_adapters(encoder)
    write_model(encoder, final, complete)


@warn_on_error("The scores could not be shown", WHOLE)
def show_scores(goals: Sequence[Goal], selection: Selection, best: int) -> None:
    """Say how the base model and the best step scored."""
    base = f"{selection.scores[0]:.2f}" if 0 in selection.scores else "unknown"
    names = ", ".join(goal.name for goal in goals)
    highest = max(selection.scores.values())
    logger.info("Scores (%s): base model %s; best %.2f, at step %d.", names, base, highest, best)


def judge(settings: RunSettings, best: int) -> None:
    """Say whether the model that the run began with was beaten.

    Raises:
        NoGain: If it was not, and a gain was required.
    """
    final = settings.output / FINAL
    if best:
        reference = "" if settings.model == SCRATCH else f"{settings.model} "
        logger.info(
            "The final model is that of step %d. Chosen by these scores, it is flattered by them; on other data: "
            "python -m tsdae_kit.evaluate %s%s --data DIR", best, reference, final,
        )  # fmt: skip
        return
    verdict = f"No step scored above the base model: {final} is the base model as it was."
    if settings.require_gain:
        raise NoGain(verdict)
    logger.info("%s", verdict)


@warn_on_error("The closing table could not be shown", WHOLE)
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


def report_run(stage: TrainingTask[Any, Any], settings: RunSettings, data: TrainingData) -> None:
    """Measure what a finished run has to show, unless that was done for this final model, and write its page.

    Args:
        stage: The run's.
        settings: The run's, filled in.
        data: What was trained on.
    """
    run = settings.output
    with warn_on_error("The report could not be written", WHOLE):
        record = read_record(run) or {}
        of = [record.get(name) for name in ("finished", "finished_step", "best_step")]
        measured = read_json(run / OUTCOME).get("of") == of
        if measured and (run / PAGE).exists():
            return
        if not measured:
            write_json(run / OUTCOME, {"of": of, **_measure(stage, settings, data, record)})
        logger.info("What it did, as a page: %s", write_run_page(run))


def _measure(
    stage: TrainingTask[Any, Any], settings: RunSettings, data: TrainingData, record: dict[str, Any]
) -> dict[str, Any]:
    from tsdae_kit.models.devices import choose_device
    from tsdae_kit.models.loading import load_encoder
    from tsdae_kit.training.measurements import measure_outcome, part

    goals: list[Goal] = []
    with part("A score"):
        known = record.get("goals", {})
        goals = [goal for goal in stage.read_validation_sets(settings, data) if known.get(goal.name) == goal.digest]
    loads: dict[str, Callable[[], SentenceTransformer]] = {}
    with part("What the models make of texts"):
        device = choose_device(settings.device)
        if record.get("best_step") and stage.begins_with_a_model(settings):
            loads["before"] = partial(stage.load_base, settings, data, device)
        loads["after"] = partial(load_encoder, str(settings.output / FINAL), device, settings.trust_remote_code)
    return measure_outcome(settings, record, stage.examples(settings, data), goals, loads)
