"""From a stage's settings to its final model: what all stages that train do in the same way.

Where the run stands, whether it may begin, its folder and record, the training itself (what comes after
the last step: ``ending``). What differs a stage says through the methods of ``TrainingTask``.
"""

from __future__ import annotations

import gc
import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsdae_kit import distributed
from tsdae_kit.config.settings import RunSettings
from tsdae_kit.console import log_file, quiet_frameworks, show_messages
from tsdae_kit.errors import KitError, RunStopped
from tsdae_kit.filesystem import check_writable
from tsdae_kit.training.ending import conclude, judge, report_run, show_scores, write_best
from tsdae_kit.training.resuming import (
    FINAL,
    METRICS,
    RECORD,
    Run,
    begin_run,
    check_unchanged,
    plan_run,
    settings_differences,
    sole_owner,
    trim_metrics,
)
from tsdae_kit.training.task import Settings, TrainingData, TrainingTask

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import nn

    from tsdae_kit.evaluation.validation_sets import Goal
    from tsdae_kit.models.weight_averaging import BaseWeightAverage
    from tsdae_kit.training.model_selection import Selection
    from tsdae_kit.training.progress import Progress
    from tsdae_kit.training.trainer import ResumableTrainer

logger = logging.getLogger("tsdae_kit")


def run_task(stage: TrainingTask[Any, Any], given: Mapping[str, Any]) -> Path:
    """Train, or continue to train, and return the folder of the final model.

    Raises:
        KitError: For missing data or model, a folder in use, or settings that contradict the run's record.
    """
    from tsdae_kit.models.hub_upload import check_push, push

    with ExitStack() as stack:
        stack.enter_context(show_messages())
        stack.enter_context(distributed.handled_signals(distributed.stop_at_once))
        stack.enter_context(distributed.process_group(on_cpu=given.get("device") == "cpu"))
        run = plan_run(stage.kind, given)
        if repository := run.settings.push_to_hub:
            check_push(repository)
        distributed.on_rank_0(lambda: check_writable(run.folder / RECORD))
        distributed.on_rank_0(lambda: stack.enter_context(sole_owner(run.folder)))
        final = _run(stage, run, stack)
        if repository:
            distributed.on_rank_0(lambda: push(final, repository))
        return final


def _run(stage: TrainingTask[Any, Any], run: Run, stack: ExitStack) -> Path:
    """Decide where the run stands, train what is left of it, and report."""
    data, final = stage.load_data(run.settings), run.folder / FINAL
    if run.record is not None:
        _log_to_file(run, stack)
        check_unchanged(run, data.fingerprint)
    steps = _count_steps(run.settings, data.size) if run.record is not None else 0
    if run.record is not None and run.resume_from is None and _is_finished(run, steps) and final.is_dir():
        logger.info("This run is finished: %s holds step %d.", final, run.record["finished_step"])
        settings, best = run.settings, run.record.get("best_step", steps)
    else:
        settings, best = _train(stage, run, data, _find_start(run, steps), stack)
        gc.collect()  # the trainer is a cycle, and holds the optimizer
    stack.enter_context(quiet_frameworks())
    distributed.on_rank_0(lambda: report_run(stage, settings, data))
    if settings.eval_data:
        judge(settings, best)
    return final


def _find_start(run: Run, steps: int) -> Path | None:
    """Return the checkpoint that the run continues from, if there is one."""
    from tsdae_kit.training.checkpoints import checkpoint_step, select_checkpoint

    if run.record is None:
        if run.settings.resume:
            logger.info("No run in %s yet: starting at step 0.", run.folder)
        return None
    identity = run.record["id"]
    checkpoint = distributed.on_rank_0(lambda: select_checkpoint(run.folder, identity, run.resume_from))
    if checkpoint is not None and checkpoint_step(checkpoint) > steps:
        raise KitError(f"{checkpoint} is beyond the {steps} steps asked for. Train longer, or name an earlier one.")
    if checkpoint is None:
        logger.info("No checkpoint in %s yet: starting at step 0.", run.folder)
    else:
        logger.info("Continuing from %s, step %d of %d.", checkpoint, checkpoint_step(checkpoint), steps)
    return checkpoint


def _is_finished(run: Run, steps: int) -> bool:
    """Return whether nothing is left to do: all steps are done, or the same patience has run out."""
    record = run.record or {}
    ended = record.get("stopped_early") and record["settings"].get("patience") == run.settings.patience
    return "finished_step" in record and bool(ended or record["finished_step"] >= steps)


def _log_to_file(run: Run, stack: ExitStack) -> None:
    if distributed.rank() == 0:
        stack.enter_context(log_file(run.folder / "train.log"))


def _train(
    stage: TrainingTask[Any, Any], run: Run, data: TrainingData, checkpoint: Path | None, stack: ExitStack
) -> tuple[RunSettings, int]:
    """Train to the end and write the final model; return the settings, filled in, and the final model's step."""
    from tsdae_kit.models.devices import choose_device
    from tsdae_kit.models.loading import load_encoder
    from tsdae_kit.training.checkpoints import checkpoint_step
    from tsdae_kit.training.disk_space import check_space
    from tsdae_kit.training.memory import keep_freed_memory
    from tsdae_kit.training.progress import Progress

    stack.enter_context(quiet_frameworks())
    goals = _read_goals(stage, run, data)
    device = choose_device(run.settings.device)
    if device.type == "cpu":
        keep_freed_memory()

    settings = run.settings

    def load(saved: Path | None) -> SentenceTransformer:
        if saved:
            return load_encoder(str(saved), device, settings.trust_remote_code)
        return stage.load_base(settings, data, device)

    encoder = load(checkpoint)
    encoder.float()  # weights stored in half precision are trained in full
    settings, loss, steps = _make_loss(stage, settings, encoder, data)
    evaluates = data.held_out_size > 0 or bool(goals)
    arguments = stage.make_arguments(settings, encoder, evaluates, steps)
    if arguments.n_gpu > 1:
        raise KitError(f"{arguments.n_gpu} GPUs are visible, and one can be used. Set CUDA_VISIBLE_DEVICES=0.")
    distributed.on_rank_0(lambda: check_space(settings, encoder, loss))
    data = stage.complete_data(settings, encoder, data)
    # From here on nothing is refused any more: the run's folder may appear.
    record = run.record
    if record is None:
        about = _describe(settings, stage.describe(settings, data, loss))
        facts = (data.fingerprint, encoder.max_seq_length, {goal.name: goal.digest for goal in goals}, about)
        record = distributed.on_rank_0(lambda: begin_run(settings, *facts))
        settings = replace(settings, overwrite=False)  # that is done: what the folder holds is this run's
        _log_to_file(run, stack)
    share = stage.keep_base(settings, data, loss)
    _introduce(settings, run.settings, encoder, lambda: stage.introduce(settings, data, loss, steps))
    evaluated = distributed.on_rank_0(lambda: trim_metrics(run.folder / METRICS, checkpoint))
    begin = checkpoint_step(checkpoint) if checkpoint else 0
    selection = _take_up_scores(run, settings, record, (goals, share), checkpoint) if goals else None
    arguments.eval_on_start = evaluates and begin % settings.eval_steps == 0 and begin not in evaluated
    progress = Progress(run.folder / METRICS, sentences_per_step(settings), stage.tokens_per_word(encoder, data))
    started, last = time.monotonic(), begin
    if begin < steps and not (selection and selection.exhausted):  # killed before the final model, or stopped early
        parts = stage.trainer_parts(settings, encoder, data)
        trainer = _make_trainer(
            settings, record["id"], encoder, loss, {"args": arguments, "selection": selection, **parts}
        )
        last = _run_trainer(trainer, progress, checkpoint)
    encoder.max_seq_length = record["max_length"]  # the base model's: a shorter one was for training only
    if last < steps:
        logger.info("Stopped early, after step %d of %d: %d evaluations without a better score.", last, steps,
                    settings.patience)  # fmt: skip
    best = distributed.on_rank_0(lambda: write_best(settings, record, encoder, (last, steps), (selection, share), load))
    conclude(run.folder / FINAL, last, progress, time.monotonic() - started)
    if selection:
        show_scores(goals, selection, best)
    return settings, best


def _describe(settings: RunSettings, more: dict[str, str]) -> dict[str, str]:
    """Return what card and report say of where the run began, and of data and objective."""
    from tsdae_kit.models.names import public_name

    about = {"base model": public_name(settings.model), **more}
    if settings.base_weight:
        about["the base model's share of the final weights"] = f"{settings.base_weight:g}"
    return about


def _take_up_scores(
    run: Run,
    settings: RunSettings,
    record: dict[str, Any],
    scored: tuple[list[Goal], BaseWeightAverage | None],
    checkpoint: Path | None,
) -> Selection:
    """Return what scores the encoder, with the scores so far."""
    from tsdae_kit.training.model_selection import Selection

    goals, share = scored
    selection = Selection(goals, settings.batch_size, record["max_length"], settings.patience, share)
    selection.remember(run.folder / METRICS, checkpoint)
    return selection


def _make_loss(
    stage: TrainingTask[Any, Any], asked: RunSettings, encoder: SentenceTransformer, data: TrainingData
) -> tuple[RunSettings, nn.Module, int]:
    """Make what is trained; return the settings with what was left open filled in, the loss, and the steps."""
    import torch

    from tsdae_kit.models.adapters import train_adapters
    from tsdae_kit.models.encoders import enable_gradient_checkpointing

    settings = fill_in(asked, encoder)
    torch.manual_seed(settings.seed)  # new weights
    if settings.lora_rank:
        train_adapters(encoder, settings.lora_rank)
    if settings.gradient_checkpointing:
        enable_gradient_checkpointing(encoder)
    loss = stage.make_loss(settings, encoder, data)
    settings = stage.fit_memory(settings, encoder, loss, data)
    steps = _count_steps(settings, data.size)
    return stage.resolve(settings, steps), loss, steps


def _read_goals(stage: TrainingTask[Any, Any], run: Run, data: TrainingData) -> list[Goal]:
    """Return what the encoder is scored by; data that has changed is refused, texts that are trained on are counted."""
    goals = stage.read_validation_sets(run.settings, data)
    for goal in goals:
        if run.record is not None and run.record.get("goals", {}).get(goal.name) != goal.digest:
            raise KitError(
                f"The evaluation data of {goal.name} changed since the run began: its scores cannot be compared. "
                "Restore the data, or start a new run with another --output."
            )
        note = "" if goal.split == "dev" else ", which has no dev part: do not report on what the run is chosen by"
        logger.info("Scored by %s on its %s part%s.", goal.name, goal.split, note)
    distributed.on_rank_0(lambda: stage.warn_of_validation_overlap(run.settings, data, goals))
    return goals


def _make_trainer(
    settings: RunSettings, run_id: str, encoder: SentenceTransformer, loss: nn.Module, parts: dict[str, Any]
) -> ResumableTrainer:
    import torch
    from transformers import PrinterCallback

    from tsdae_kit.training.tensorboard import RunTensorBoard, TensorBoardCallback
    from tsdae_kit.training.trainer import ResumableTrainer

    if settings.max_length is not None:
        encoder.max_seq_length = settings.max_length
    parts["loss"] = dict(loss.items()) if isinstance(loss, torch.nn.ModuleDict) else loss
    trainer = ResumableTrainer(model=encoder, run_id=run_id, on_save_error=settings.on_save_error, **parts)
    trainer.remove_callback(PrinterCallback)
    if trainer.pop_callback(TensorBoardCallback):  # of --report-to
        trainer.add_callback(RunTensorBoard())
    if distributed.rank():
        torch.manual_seed(settings.seed + distributed.rank())  # dropout of its own
    return trainer


def _run_trainer(trainer: ResumableTrainer, progress: Progress, checkpoint: Path | None) -> int:
    """Train to the end and return the last step; after a signal the state is saved and RunStopped raised."""
    from tsdae_kit.training.signals import EvaluationStopped, StopOnSignal

    stop = StopOnSignal()
    trainer.add_callback(progress)
    trainer.add_callback(stop)
    with stop.listening(), closing(progress):
        try:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        except EvaluationStopped:
            logger.info("The evaluation was broken off; it is done when the run is resumed.")
    if stop.received and trainer.state.global_step < trainer.state.max_steps:
        raise RunStopped(
            f"Stopped by {stop.received} after step {trainer.state.global_step} of {trainer.state.max_steps}. "
            f"Continue with --resume --output {trainer.args.output_dir}."
        )
    return int(trainer.state.global_step)


def sentences_per_step(settings: RunSettings) -> int:
    """Return how many rows a step takes, over all processes."""
    return settings.batch_size * distributed.world_size() * settings.gradient_accumulation_steps


def _count_steps(settings: RunSettings, rows: int) -> int:
    batches = math.ceil(rows / (settings.batch_size * distributed.world_size()))
    per_epoch = math.ceil(batches / settings.gradient_accumulation_steps)
    return settings.max_steps or math.ceil(settings.epochs * per_epoch)


def fill_in(settings: Settings, encoder: SentenceTransformer) -> Settings:
    """Return the settings with what depends on the machine or the model filled in."""
    from tsdae_kit.models.devices import supports_bf16
    from tsdae_kit.models.encoders import count_positions

    precision = settings.precision
    if precision == "auto":
        precision = "bf16" if supports_bf16(encoder.device) else "fp32"
    transformer: Any = encoder.transformers_model
    limit = count_positions(transformer)
    if limit and settings.max_length and settings.max_length > limit:
        raise KitError(
            f"--max-length {settings.max_length} is more than the {limit} tokens that {settings.model} can take."
        )
    workers = settings.workers
    if workers is None:  # an accelerator must not wait for tokens and noise
        workers = 0 if encoder.device.type == "cpu" else min(4, os.cpu_count() or 1)
    # The device is recorded, so that a run does not move to the CPU by itself where its GPU is missing.
    device = settings.device or encoder.device.type
    return replace(settings, precision=precision, device=device, workers=workers)


def _introduce(
    settings: RunSettings, asked: RunSettings, encoder: SentenceTransformer, more: Callable[[], None]
) -> None:
    sources = ", ".join(map(str, settings.sources))
    logger.info("Training %s on %s on %s in %s.", settings.model, sources, encoder.device, settings.precision)
    logger.info("Settings that differ from the defaults: %s.", ", ".join(settings_differences(asked)) or "none")
    more()
    if cut := encoder.truncate_dim:
        logger.info("The model's embeddings are cut to %d values where it is used; it is trained on all of them.", cut)
    if settings.base_weight:
        logger.info("The final weights are the mean of the trained ones and the base model's, whose share is %g.",
                    settings.base_weight)  # fmt: skip
