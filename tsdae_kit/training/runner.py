"""Runs one training task from its settings to its final model: plan, lock, load, train, write ``final/``, measure.

The file reads from top to bottom. What differs between the tasks (:mod:`~tsdae_kit.training.tsdae_task`,
:mod:`~tsdae_kit.training.pairs_task`) is behind :class:`~tsdae_kit.training.task.TrainingTask`. With several processes,
every process comes here; the one of rank 0 alone reads and writes the run folder.
"""

from __future__ import annotations

import gc
import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from pyarrow import parquet
from sentence_transformers import SentenceTransformer
from torch import nn
from transformers import PrinterCallback

from tsdae_kit import distributed
from tsdae_kit.config.settings.training import SCRATCH, RunSettings
from tsdae_kit.console import log_file, show_duration, show_messages, table
from tsdae_kit.distributed import on_rank_0
from tsdae_kit.errors import KitError, NoGain, RunStopped, warn_on_error
from tsdae_kit.evaluation.overlap import warn_of_overlap
from tsdae_kit.filesystem import atomic_file, check_writable
from tsdae_kit.framework_output import quiet_frameworks
from tsdae_kit.models.adapters import add_adapters, merge_adapters
from tsdae_kit.models.devices import choose_device, supports_bf16
from tsdae_kit.models.encoders import count_positions, enable_gradient_checkpointing
from tsdae_kit.models.hub_upload import check_push, push
from tsdae_kit.models.loading import load_encoder
from tsdae_kit.models.names import public_name
from tsdae_kit.models.saving import write_model
from tsdae_kit.models.weight_averaging import BaseWeightAverage
from tsdae_kit.reporting.model_card import complete_card
from tsdae_kit.run_folder import RunRecord, checkpoint_step
from tsdae_kit.training.checkpoints import select_checkpoint
from tsdae_kit.training.disk_space import check_disk_space
from tsdae_kit.training.measurements import report_run
from tsdae_kit.training.memory import keep_freed_memory
from tsdae_kit.training.model_selection import SCORE, ModelSelection, read_validation_sets
from tsdae_kit.training.progress import Progress
from tsdae_kit.training.resuming import Run, begin_run, check_unchanged, finish_run, plan_run, settings_differences
from tsdae_kit.training.signals import EvaluationStopped, StopOnSignal
from tsdae_kit.training.task import (
    TrainerInputs,
    TrainingData,
    TrainingTask,
    count_steps,
    has_evaluation,
    sentences_per_step,
)
from tsdae_kit.training.tensorboard import RunTensorBoard, TensorBoardCallback
from tsdae_kit.training.trainer import ResumableTrainer

logger = logging.getLogger("tsdae_kit")
Settings = TypeVar("Settings", bound=RunSettings)
MODEL_IS_WRITTEN = "The model is whole."


def run_task(
    task: TrainingTask[Any, Any], explicit: Mapping[str, Any], write_base: Callable[[], None] = lambda: None
) -> Path:
    """Train, or continue to train; return the folder of the final model.

    Args:
        task: What to do.
        explicit: The settings given by the user.
        write_base: Writes the folder of the base model, where the user passed a model object.

    Raises:
        KitError: For missing data or model, a folder in use, or settings that contradict the run's record.
    """
    with ExitStack() as stack:
        stack.enter_context(show_messages())
        stack.enter_context(distributed.handled_signals(distributed.stop_at_once))
        stack.enter_context(distributed.process_group(on_cpu=explicit.get("device") == "cpu"))
        run = plan_run(task.settings_type, explicit)
        if repository := run.settings.push_to_hub:
            check_push(repository)
        on_rank_0(lambda: check_writable(run.folder.record_file))
        on_rank_0(lambda: stack.enter_context(run.folder.owned()))

        data = task.load_data(run.settings)
        if run.record is not None:
            _log_to_file(run, stack)
            check_unchanged(run, run.record, data.fingerprint)
        on_rank_0(write_base)
        if run.record is not None and _is_complete(run, run.record, data):
            logger.info("This run is finished: %s holds step %d.", run.folder.final, run.record["finished_step"])
            settings, best = run.settings, run.record.get("best_step", run.record["finished_step"])
        else:
            settings, best = _train(task, run, data, stack)
            gc.collect()  # the trainer is a reference cycle, and holds the optimizer

        stack.enter_context(quiet_frameworks())
        on_rank_0(lambda: report_run(task, settings, data))
        if settings.eval_data:
            _state_verdict(settings, run.folder.final, best)
        if repository:
            on_rank_0(lambda: push(run.folder.final, repository))
        return run.folder.final


def _log_to_file(run: Run, stack: ExitStack) -> None:
    if distributed.rank() == 0:
        stack.enter_context(log_file(run.folder.log_file))


def _is_complete(run: Run, record: RunRecord, data: TrainingData) -> bool:
    """Return whether nothing is left to do: all steps are done, or the same patience has run out."""
    if "finished_step" not in record or run.resume_from is not None or not run.folder.final.is_dir():
        return False
    ran_out = record.get("stopped_early") and record["settings"].get("patience") == run.settings.patience
    return bool(ran_out) or record["finished_step"] >= count_steps(run.settings, data.size)


@dataclass
class _Training:
    """A run whose folder exists: what its steps have in common."""

    task: TrainingTask[Any, Any]
    run: Run
    record: RunRecord
    settings: RunSettings
    data: TrainingData
    encoder: SentenceTransformer
    loss: nn.Module
    inputs: TrainerInputs
    steps: int
    checkpoint: Path | None
    averaging: BaseWeightAverage | None = None
    selection: ModelSelection | None = None

    def load(self, checkpoint: Path | None) -> SentenceTransformer:
        """Return the encoder of a checkpoint, or the base model."""
        return _load(self.task, self.settings, self.data, self.encoder.device, checkpoint)


def _train(task: TrainingTask[Any, Any], run: Run, data: TrainingData, stack: ExitStack) -> tuple[RunSettings, int]:
    """Train to the end and write the final model; return the settings, resolved, and the final model's step."""
    checkpoint = _find_checkpoint(run, data)
    stack.enter_context(quiet_frameworks())
    validation_sets = _read_validation_sets(run, data)
    device = choose_device(run.settings.device)
    if device.type == "cpu":
        keep_freed_memory()

    encoder = _load(task, run.settings, data, device, checkpoint)
    encoder.float()  # weights stored in half precision are trained in float32
    settings, loss = _resolve(task, run.settings, encoder, data)
    on_rank_0(lambda: check_disk_space(settings, encoder, loss))
    inputs = task.trainer_inputs(settings, encoder, loss, data)
    if inputs.arguments.n_gpu > 1:
        raise KitError(f"{inputs.arguments.n_gpu} GPUs are visible, and one can be used. Set CUDA_VISIBLE_DEVICES=0.")

    # From here on nothing is refused any more: the run's folder may appear.
    record = run.record
    if record is None:
        facts = {"data": data.fingerprint, "max_length": encoder.max_seq_length, "about": _describe(settings, inputs),
                 "goals": {one.name: one.digest for one in validation_sets}}  # fmt: skip
        record = on_rank_0(lambda: begin_run(task.name, settings, facts))
        settings = replace(settings, overwrite=False)  # done: the folder now holds this run
        _log_to_file(run, stack)
    training = _Training(task, run, record, settings, data, encoder, loss, inputs, count_steps(settings, data.size),
                         checkpoint)  # fmt: skip
    training.averaging = _keep_base_model(training)
    on_rank_0(lambda: _write_run_files(training))
    _introduce(training)
    evaluated = on_rank_0(lambda: run.folder.trim_metrics(checkpoint_step(checkpoint) if checkpoint else 0))
    if validation_sets:
        training.selection = ModelSelection(
            validation_sets, settings.batch_size, record["max_length"], settings.patience, training.averaging
        )
        training.selection.restore(run.folder, checkpoint)

    started = time.monotonic()
    progress = Progress(run.folder.metrics_file, sentences_per_step(settings), inputs.tokens_per_word)
    last = _fit(training, evaluated, progress)
    best = on_rank_0(lambda: _write_final(training, last))
    _show_summary(training, last, best, progress, time.monotonic() - started)
    return settings, best


def _find_checkpoint(run: Run, data: TrainingData) -> Path | None:
    """Return the checkpoint that the run continues from, if there is one."""
    if run.record is None:
        if run.settings.resume:
            logger.info("No run in %s yet: starting at step 0.", run.folder)
        return None
    run_id, steps = run.record["id"], count_steps(run.settings, data.size)
    checkpoint = on_rank_0(lambda: select_checkpoint(run.folder, run_id, run.resume_from))
    if checkpoint is None:
        logger.info("No checkpoint in %s yet: starting at step 0.", run.folder)
        return None
    step = checkpoint_step(checkpoint)
    if step > steps:
        raise KitError(f"{checkpoint} is beyond the {steps} steps asked for. Train longer, or name an earlier one.")
    logger.info("Continuing from %s, step %d of %d.", checkpoint, step, steps)
    return checkpoint


def _read_validation_sets(run: Run, data: TrainingData) -> list[Any]:
    """Return the validation sets; refuse changed ones, and warn of texts that are trained on too."""
    validation_sets = read_validation_sets(run.settings)
    recorded = run.record.get("goals", {}) if run.record is not None else {}
    for one in validation_sets:
        if run.record is not None and recorded.get(one.name) != one.digest:
            raise KitError(
                f"The evaluation data of {one.name} changed since the run began: its scores cannot be compared. "
                "Restore the data, or start a new run with another --output."
            )
        note = "" if one.split == "dev" else ", which has no dev part: do not report on what the run is chosen by"
        logger.info("Scored by %s on its %s part%s.", one.name, one.split, note)
    tasks = [task for one in validation_sets for task in one.tasks]

    def compare() -> None:
        for place, texts in data.texts() if tasks else ():
            warn_of_overlap(tasks, texts, place)

    on_rank_0(compare)
    return validation_sets


def _load(
    task: TrainingTask[Any, Any], settings: RunSettings, data: TrainingData, device: torch.device,
    checkpoint: Path | None,
) -> SentenceTransformer:  # fmt: skip
    """Return the encoder of a checkpoint, or the base model."""
    if checkpoint is not None:
        return load_encoder(str(checkpoint), device, settings.trust_remote_code)
    return task.load_base(settings, data, device)


def _resolve(
    task: TrainingTask[Any, Any], settings: RunSettings, encoder: SentenceTransformer, data: TrainingData
) -> tuple[RunSettings, nn.Module]:
    """Fill in what depends on machine, model and data; after this nothing is ``auto``. Return settings and loss."""
    settings = task.resolve(resolve_hardware(settings, encoder))
    torch.manual_seed(settings.seed)  # for new weights
    if settings.lora_rank:
        add_adapters(encoder, settings.lora_rank)
    if settings.gradient_checkpointing:
        enable_gradient_checkpointing(encoder)
    loss = task.make_loss(settings, encoder, data)
    settings = task.resolve_size(settings, encoder, loss, data)
    if unresolved := [name for name in ("batch_size", "precision", "device") if getattr(settings, name) == "auto"]:
        raise AssertionError(f"not resolved: {unresolved}")
    return settings, loss


def resolve_hardware(settings: Settings, encoder: SentenceTransformer) -> Settings:
    """Return the settings with precision, device and number of workers filled in.

    Raises:
        KitError: If the model cannot take sentences of ``max_length`` tokens.
    """
    precision = settings.precision
    if precision == "auto":
        precision = "bf16" if supports_bf16(encoder.device) else "fp32"
    limit = count_positions(encoder.transformers_model)
    if limit and settings.max_length and settings.max_length > limit:
        raise KitError(
            f"--max-length {settings.max_length} is more than the {limit} tokens that {settings.model} can take."
        )
    workers = settings.workers
    if workers is None:  # an accelerator must not wait for tokens and noise
        workers = 0 if encoder.device.type == "cpu" else min(4, os.cpu_count() or 1)
    # The device is recorded, so that a run does not move to the CPU by itself where its GPU is missing.
    return replace(settings, precision=precision, device=settings.device or encoder.device.type, workers=workers)


def _describe(settings: RunSettings, inputs: TrainerInputs) -> dict[str, str]:
    """Return what card and report say of base model, data and objective."""
    facts = {"base model": public_name(settings.model), **inputs.description}
    if settings.base_weight:
        facts["weight of the base model in the final weights"] = f"{settings.base_weight:g}"
    return facts


def _keep_base_model(training: _Training) -> BaseWeightAverage | None:
    """Write a copy of the base model, if the run needs it to the end; return the weight average, if there is one."""
    settings = training.settings
    regularization: Any = getattr(training.loss, "regularization", None)
    loaded: SentenceTransformer | None = regularization and regularization.base
    if not (loaded or settings.base_weight):
        return None

    def load() -> SentenceTransformer:
        return loaded or training.task.load_base(settings, training.data, training.encoder.device)

    copy = training.run.folder.base
    on_rank_0(lambda: None if copy.is_dir() else write_model(load(), copy))
    return BaseWeightAverage(settings.base_weight, load) if settings.base_weight else None


def _write_run_files(training: _Training) -> None:
    """Write the tables that a resumed run reads again."""
    for name, rows in training.inputs.run_files.items():
        if not (path := training.run.folder.path / name).exists():
            with atomic_file(path) as temporary:
                parquet.write_table(rows, temporary)


def _introduce(training: _Training) -> None:
    """Log what is trained, on what, and how."""
    settings, encoder = training.settings, training.encoder
    sources = ", ".join(map(str, settings.sources))
    logger.info("Training %s on %s on %s in %s.", settings.model, sources, encoder.device, settings.precision)
    differences = ", ".join(settings_differences(training.run.settings)) or "none"
    logger.info("Settings that differ from the defaults: %s.", differences)
    for message in training.inputs.messages:
        logger.info("%s", message)
    if dimension := encoder.truncate_dim:
        logger.info("The model's embeddings are cut to %d values in use; all of them are trained.", dimension)
    if settings.base_weight:
        logger.info("The final weights are the average of the trained and the base model's; weight of the base: %g.",
                    settings.base_weight)  # fmt: skip


def _fit(training: _Training, evaluated: set[int], progress: Progress) -> int:
    """Train the steps that are left; return the last step.

    Raises:
        RunStopped: After a signal, when the state is saved.
    """
    settings, selection, arguments = training.settings, training.selection, training.inputs.arguments
    first = checkpoint_step(training.checkpoint) if training.checkpoint else 0
    if first >= training.steps or (selection and selection.exhausted):  # the kill came before the final model
        return first
    is_due = has_evaluation(settings, training.data) and first % settings.eval_steps == 0
    arguments.eval_on_start = is_due and first not in evaluated
    trainer = _make_trainer(training)
    stop = StopOnSignal()
    trainer.add_callback(progress)
    trainer.add_callback(stop)
    with stop.listening(), closing(progress):
        try:
            trainer.train(resume_from_checkpoint=str(training.checkpoint) if training.checkpoint else None)
        except EvaluationStopped:
            logger.info("The evaluation was broken off; it is done when the run is resumed.")
    if stop.received and trainer.state.global_step < trainer.state.max_steps:
        raise RunStopped(
            f"Stopped by {stop.received} after step {trainer.state.global_step} of {trainer.state.max_steps}. "
            f"Continue with --resume --output {trainer.args.output_dir}."
        )
    return int(trainer.state.global_step)


def _make_trainer(training: _Training) -> ResumableTrainer:
    settings, inputs, loss = training.settings, training.inputs, training.loss
    if settings.max_length is not None:
        training.encoder.max_seq_length = settings.max_length
    trainer = ResumableTrainer(
        model=training.encoder,
        args=inputs.arguments,
        train_dataset=inputs.train_dataset,
        eval_dataset=inputs.eval_dataset,
        loss=dict(loss.items()) if isinstance(loss, nn.ModuleDict) else loss,
        callbacks=list(inputs.callbacks),
        run_id=training.record["id"],
        on_save_error=settings.on_save_error,
        selection=training.selection,
    )
    trainer.remove_callback(PrinterCallback)
    if trainer.pop_callback(TensorBoardCallback):  # of --report-to
        trainer.add_callback(RunTensorBoard())
    if distributed.rank():
        torch.manual_seed(settings.seed + distributed.rank())  # for dropout of its own
    return trainer


def _write_final(training: _Training, last: int) -> int:
    """Write the final model, that of the best step where there are scores; return its step."""
    settings, record, run_folder = training.settings, training.record, training.run.folder
    encoder, best = training.encoder, last
    encoder.max_seq_length = record["max_length"]  # the base model's: a shorter one was for training only
    if selection := training.selection:
        if last not in selection.scores:  # the last evaluation was broken off
            selection.scores[last] = selection.measure(encoder)[SCORE]
        best = next(selection.usable_steps(run_folder, record["id"], last))
        if best != last:
            encoder = training.load(run_folder.checkpoint(best) if best else None)
            encoder.max_seq_length = record["max_length"]
    if training.averaging:
        training.averaging.apply_to(encoder)
    merge_adapters(encoder)
    card = partial(complete_card, settings=settings, record=record, steps=last, best=best)
    write_model(encoder, run_folder.final, partial(_add_card, card))
    finish_run(settings, record, last, best, stopped_early=last < training.steps)
    return best


def _add_card(card: Callable[[Path], None], folder: Path) -> None:
    with warn_on_error("The model's card does not say how it was adapted", MODEL_IS_WRITTEN):
        card(folder)  # the base model's card may be anything


@warn_on_error("The closing table could not be shown", MODEL_IS_WRITTEN)
def _show_summary(training: _Training, last: int, best: int, progress: Progress, seconds: float) -> None:
    """Log the closing table, the place of the final model, and the scores."""
    if last < training.steps:
        logger.info("Stopped early, after step %d of %d: %d evaluations without a better score.", last, training.steps,
                    training.settings.patience)  # fmt: skip
    rows = [
        ("steps", f"{last:,}"),
        ("time", show_duration(seconds)),
        ("sentences per second", f"{progress.speed:,.0f}"),
    ]
    for kind, name in (("loss", "training loss"), ("eval_loss", "held-out loss")):
        if kind in progress.last:
            rows.append((f"{name}, first and last", f"{progress.first[kind]:.4f}  {progress.last[kind]:.4f}"))
    logger.info("%s", table(rows))
    run_folder = training.run.folder
    final = run_folder.final
    logger.info("The trained model: %s (SentenceTransformer(%r) loads it).", final, str(final))
    logger.info("The run: %s, %s, %s and the checkpoints in %s.", run_folder.record_file.name,
                run_folder.metrics_file.name, run_folder.log_file.name, run_folder)  # fmt: skip
    if selection := training.selection:
        base = f"{selection.scores[0]:.2f}" if 0 in selection.scores else "unknown"
        names = ", ".join(one.name for one in selection.validation_sets)
        highest = max(selection.scores.values())
        logger.info("Scores (%s): base model %s; best %.2f, at step %d.", names, base, highest, best)


def _state_verdict(settings: RunSettings, final: Path, best: int) -> None:
    """Say whether a step beat the base model.

    Raises:
        NoGain: If none did, and a gain was required.
    """
    if best:
        reference = "" if settings.model == SCRATCH else f"{settings.model} "
        logger.info(
            "The final model is that of step %d. Its score is optimistic: it selected the step. Evaluate on other "
            "data: python -m tsdae_kit.evaluate %s%s --data DIR", best, reference, final,
        )  # fmt: skip
        return
    verdict = f"No step scored above the base model: {final} is the base model as it was."
    if settings.require_gain:
        raise NoGain(verdict)
    logger.info("%s", verdict)
