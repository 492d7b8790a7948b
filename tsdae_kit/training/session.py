"""From a stage's settings to its final model: what all stages that train do in the same way.

Where the run stands, whether it may begin, its folder and record, the training itself, the final model
and the closing table. What differs (the data, the loss, the trainer's callbacks) a stage says through
the methods of :class:`TrainingStage`.
"""

from __future__ import annotations

import logging
import math
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from tsdae_kit.console import log_file, quiet_frameworks, show_bytes, show_duration, show_messages, table
from tsdae_kit.folders import new_folder
from tsdae_kit.settings import KitError, RunSettings, RunStopped
from tsdae_kit.training import processes
from tsdae_kit.training.runs import (
    FINAL,
    RECORD,
    Run,
    begin_run,
    check_unchanged,
    finish_run,
    plan_run,
    settings_differences,
    sole_owner,
    trim_metrics,
)

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
    from torch import nn

    from tsdae_kit.training.progress import Progress
    from tsdae_kit.training.trainer import ResumableTrainer

logger = logging.getLogger("tsdae_kit")
METRICS = "metrics.jsonl"


class TrainingData(Protocol):
    """What a stage trains on."""

    @property
    def fingerprint(self) -> str:
        """A digest by which changed data is known."""

    @property
    def size(self) -> int:
        """How many rows there are to train on."""

    @property
    def held_out_size(self) -> int:
        """How many there are to evaluate on."""


Data = TypeVar("Data", bound=TrainingData)
Settings = TypeVar("Settings", bound=RunSettings)


class TrainingStage(ABC, Generic[Settings, Data]):
    """What differs from stage to stage; methods are called in the order in which they stand here."""

    kind: ClassVar[type[RunSettings]]

    @abstractmethod
    def load_data(self, settings: Settings) -> Data:
        """Return what is trained on."""

    def load_encoder(self, settings: Settings, data: Data, device: torch.device) -> SentenceTransformer:
        """Return the model to start from."""
        from tsdae_kit.training.models import load_encoder

        return load_encoder(settings.model, device)

    def resolve(self, settings: Settings, steps: int) -> Settings:
        """Return the settings with what depends on the run's length filled in."""
        return settings

    @abstractmethod
    def make_loss(self, settings: Settings, encoder: SentenceTransformer, data: Data) -> nn.Module:
        """Return the objective, with new weights of its own where it has some."""

    @abstractmethod
    def make_arguments(
        self, settings: Settings, device: str, evaluates: bool, steps: int
    ) -> SentenceTransformerTrainingArguments:
        """Return the library's training arguments."""

    @abstractmethod
    def introduce(self, settings: Settings, data: Data, loss: nn.Module, steps: int) -> None:
        """Say what is trained, on what."""

    @abstractmethod
    def trainer_parts(self, settings: Settings, encoder: SentenceTransformer, data: Data) -> dict[str, Any]:
        """Return the trainer's ``train_dataset``, ``eval_dataset`` and ``callbacks``."""


def run_stage(stage: TrainingStage[Any, Any], given: Mapping[str, Any]) -> Path:
    """Train, or continue to train, and return the folder of the final model.

    Raises:
        KitError: For missing data or model, a folder in use, or settings that contradict the run's record.
    """
    with ExitStack() as stack:
        stack.enter_context(show_messages(processes.number() == 0))
        stack.enter_context(processes.joined(on_cpu=given.get("device") == "cpu"))
        run = plan_run(stage.kind, given)
        processes.from_first(lambda: stack.enter_context(sole_owner(run.folder)))
        return _run(stage, run, stack)


def _run(stage: TrainingStage[Any, Any], run: Run, stack: ExitStack) -> Path:
    """Decide where the run stands, and train what is left of it."""
    from tsdae_kit.training.checkpoints import choose_checkpoint, step_of

    data, final, checkpoint = stage.load_data(run.settings), run.folder / FINAL, None
    steps = _count_steps(run.settings, data.size)
    if run.record is None:
        if run.settings.resume:
            logger.info("No run in %s yet: starting at step 0.", run.folder)
        return _train(stage, run, data, checkpoint, steps, stack)
    _log_to_file(run, stack)
    check_unchanged(run, data.fingerprint)
    if run.resume_from is None and run.record.get("finished_step", -1) >= steps and final.is_dir():
        logger.info("This run is finished: %s holds step %d.", final, run.record["finished_step"])
        return final
    identity = run.record["id"]
    checkpoint = processes.from_first(lambda: choose_checkpoint(run.folder, identity, run.resume_from))
    if checkpoint is not None and step_of(checkpoint) > steps:
        raise KitError(f"{checkpoint} is beyond the {steps} steps asked for. Train longer, or name an earlier one.")
    if checkpoint is None:
        logger.info("No checkpoint in %s yet: starting at step 0.", run.folder)
    else:
        logger.info("Continuing from %s, step %d of %d.", checkpoint, step_of(checkpoint), steps)
    return _train(stage, run, data, checkpoint, steps, stack)


def _log_to_file(run: Run, stack: ExitStack) -> None:
    if processes.number() == 0:
        stack.enter_context(log_file(run.folder / "train.log"))


def _train(
    stage: TrainingStage[Any, Any], run: Run, data: TrainingData, checkpoint: Path | None, steps: int, stack: ExitStack
) -> Path:
    import torch

    from tsdae_kit.training.checkpoints import step_of
    from tsdae_kit.training.models import choose_device, load_encoder
    from tsdae_kit.training.progress import Progress

    stack.enter_context(quiet_frameworks())
    device = choose_device(run.settings.device)
    encoder = load_encoder(str(checkpoint), device) if checkpoint else stage.load_encoder(run.settings, data, device)
    encoder.float()  # weights stored in half precision are trained in full
    settings = stage.resolve(_resolve(run.settings, encoder), steps)
    torch.manual_seed(settings.seed)  # the loss's new weights
    loss = stage.make_loss(settings, encoder, data)
    arguments = stage.make_arguments(settings, encoder.device.type, data.held_out_size > 0, steps)
    if arguments.n_gpu > 1:
        raise KitError(f"{arguments.n_gpu} GPUs are visible, and one can be used. Set CUDA_VISIBLE_DEVICES=0.")
    processes.from_first(lambda: _check_space(settings, encoder, loss))
    # From here on nothing is refused any more: the run's folder may appear.
    record = run.record
    if record is None:
        record = processes.from_first(lambda: begin_run(settings, data.fingerprint, encoder.max_seq_length))
        _log_to_file(run, stack)
    _introduce(settings, run.settings, encoder)
    stage.introduce(settings, data, loss, steps)
    evaluated = processes.from_first(lambda: trim_metrics(run.folder / METRICS, checkpoint))
    begin = step_of(checkpoint) if checkpoint else 0
    arguments.eval_on_start = data.held_out_size > 0 and begin % settings.eval_steps == 0 and begin not in evaluated
    progress = Progress(run.folder / METRICS, sentences_per_step(settings))
    started = time.monotonic()
    if begin < steps:  # killed between the last checkpoint and the final model, it needs no more training
        parts = stage.trainer_parts(settings, encoder, data)
        trainer = _make_trainer(settings, record["id"], encoder, loss, {"args": arguments, **parts})
        _run_trainer(trainer, progress, checkpoint)
    encoder.max_seq_length = record["max_length"]  # the base model's: a shorter one was for training only
    if processes.number() == 0:
        _write_final(run.folder / FINAL, encoder)
        finish_run(settings, record, steps)
    _conclude(run.folder / FINAL, steps, progress, time.monotonic() - started)
    return run.folder / FINAL


def _make_trainer(
    settings: RunSettings, run_id: str, encoder: SentenceTransformer, loss: nn.Module, parts: dict[str, Any]
) -> ResumableTrainer:
    import torch
    from transformers import PrinterCallback

    from tsdae_kit.training.trainer import ResumableTrainer

    if settings.max_length is not None:
        encoder.max_seq_length = settings.max_length
    parts["loss"] = dict(loss.items()) if isinstance(loss, torch.nn.ModuleDict) else loss
    trainer = ResumableTrainer(model=encoder, run_id=run_id, on_save_error=settings.on_save_error, **parts)
    trainer.remove_callback(PrinterCallback)
    if processes.number():
        torch.manual_seed(settings.seed + processes.number())  # dropout of its own
    return trainer


def _run_trainer(trainer: ResumableTrainer, progress: Progress, checkpoint: Path | None) -> None:
    """Train to the end, or until a signal; then the state is saved and RunStopped raised."""
    from tsdae_kit.training.signals import EvaluationStopped, StopOnSignal

    stop = StopOnSignal()
    trainer.add_callback(progress)
    trainer.add_callback(stop)
    with stop.listening():
        try:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        except EvaluationStopped:
            logger.info("The evaluation was broken off; it is done when the run is resumed.")
    if stop.received and trainer.state.global_step < trainer.state.max_steps:
        raise RunStopped(
            f"Stopped by {stop.received} after step {trainer.state.global_step} of {trainer.state.max_steps}. "
            f"Continue with --resume --output {trainer.args.output_dir}."
        )


def _write_final(final: Path, encoder: SentenceTransformer) -> None:
    from safetensors import SafetensorError

    try:
        with new_folder(final) as folder:
            encoder.save_pretrained(str(folder))
    except (OSError, SafetensorError) as error:
        raise KitError(f"{final} could not be written ({error}). Make room, then --resume writes it.") from error


def sentences_per_step(settings: RunSettings) -> int:
    """Return how many rows a step takes, over all processes."""
    return settings.batch_size * processes.count() * settings.gradient_accumulation_steps


def _count_steps(settings: RunSettings, rows: int) -> int:
    batches = math.ceil(rows / (settings.batch_size * processes.count()))
    per_epoch = math.ceil(batches / settings.gradient_accumulation_steps)
    return settings.max_steps or math.ceil(settings.epochs * per_epoch)


def count_weights(*modules: nn.Module) -> int:
    """Return the number of weights, each shared one once."""
    return sum(p.numel() for p in {id(p): p for module in modules for p in module.parameters()}.values())


def _check_space(settings: RunSettings, encoder: SentenceTransformer, loss: nn.Module) -> None:
    """Say what the checkpoints will take, and refuse to begin where not even one fits beside the final model."""
    parent = next(path for path in [settings.output, *settings.output.absolute().parents] if path.is_dir())
    free = shutil.disk_usage(parent).free
    final = 4 * count_weights(encoder)
    one = 3 * 4 * count_weights(loss, encoder)  # the weights and Adam's two moments, in float32
    wanted = (settings.save_total_limit + 1) * one + final
    logger.info("A checkpoint takes about %s, the whole run %s; %s are free.", *map(show_bytes, (one, wanted, free)))
    if free < one + final:
        raise KitError(
            f"{settings.output} needs {show_bytes(one + final)} at least for a checkpoint and the model, and "
            f"{show_bytes(free)} are free. Make room, or choose another --output."
        )
    if free < wanted:
        logger.warning("!!! The disk may fill up during the run; lower --save-total-limit or make room.")


def _resolve(settings: RunSettings, encoder: SentenceTransformer) -> RunSettings:
    """Return the settings with what depends on the machine or the model filled in."""
    from tsdae_kit.training.models import has_bf16

    precision = settings.precision
    if precision == "auto":
        precision = "bf16" if has_bf16(encoder.device) else "fp32"
    transformer: Any = encoder.transformers_model
    limit = getattr(getattr(transformer, "config", None), "max_position_embeddings", None)
    if limit and settings.max_length and settings.max_length > limit:
        raise KitError(
            f"--max-length {settings.max_length} is more than the {limit} tokens that {settings.model} can take."
        )
    # The device is recorded, so that a run does not move to the CPU by itself where its GPU is missing.
    return replace(settings, precision=precision, device=settings.device or encoder.device.type)


def _introduce(settings: RunSettings, asked: RunSettings, encoder: SentenceTransformer) -> None:
    sources = ", ".join(map(str, settings.sources))
    logger.info("Training %s on %s on %s in %s.", settings.model, sources, encoder.device, settings.precision)
    logger.info("Settings that differ from the defaults: %s.", ", ".join(settings_differences(asked)) or "none")


def _conclude(final: Path, steps: int, progress: Progress, seconds: float) -> None:
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
