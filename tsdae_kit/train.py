"""Stage one: adapt a sentence encoder to the prepared text.

``python -m tsdae_kit.train`` begins a run, ``--resume`` continues it (or begins it, where nothing was
saved yet), ``--model runs/tsdae/final --output runs/more`` begins a new run from a trained model.
The heavy libraries are imported only when the input has been checked.
"""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsdae_kit.console import log_file, quiet_frameworks, show_bytes, show_duration, show_messages, table
from tsdae_kit.folders import new_folder
from tsdae_kit.settings import KitError, NoGain, RunStopped, TrainSettings, parse_arguments, run_command
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
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments

    from tsdae_kit.denoising.loss import TSDAELoss
    from tsdae_kit.evaluation.goals import Goal
    from tsdae_kit.text.pairs import PreparedCorpus
    from tsdae_kit.training.progress import Progress
    from tsdae_kit.training.selection import Selection
    from tsdae_kit.training.trainer import ResumableTrainer

logger = logging.getLogger("tsdae_kit")
LONGEST_WARMUP = 200  # steps of the decoder alone; measured in results/README.md
METRICS = "metrics.jsonl"


def adapt(**given: Any) -> Path:
    """Adapt an encoder to its field's text; return the folder of the adapted model.

    Args:
        **given: Fields of :class:`tsdae_kit.settings.TrainSettings`, for example
            ``data="data/prepared", model="all-MiniLM-L6-v2", output="runs/tsdae", resume=True``.

    Raises:
        KitError: For missing data or model, a folder in use, or settings that contradict the run's record.
    """
    with ExitStack() as stack:
        stack.enter_context(show_messages(processes.number() == 0))
        stack.enter_context(processes.joined(on_cpu=given.get("device") == "cpu"))
        run = plan_run(given)
        processes.from_first(lambda: stack.enter_context(sole_owner(run.folder)))
        return _adapt(run, stack)


def _adapt(run: Run, stack: ExitStack) -> Path:
    """Decide where the run stands, and train what is left of it."""
    from tsdae_kit.text.pairs import load_pairs
    from tsdae_kit.training.checkpoints import choose_checkpoint, step_of

    corpus, final, checkpoint = load_pairs(run.settings.data), run.folder / FINAL, None
    steps = _count_steps(run.settings, len(corpus.train))
    if run.record is None:
        if run.settings.resume:
            logger.info("No run in %s yet: starting at step 0.", run.folder)
        return _train(run, corpus, checkpoint, steps, stack)
    _log_to_file(run, stack)
    check_unchanged(run, corpus.fingerprint)
    if run.resume_from is None and run.record.get("finished_step", -1) >= steps and final.is_dir():
        logger.info("This run is finished: %s holds step %d.", final, run.record["finished_step"])
        if run.settings.eval_data and run.record.get("best_step") == 0:
            _say_no_gain(run.settings)
        return final
    identity = run.record["id"]
    checkpoint = processes.from_first(lambda: choose_checkpoint(run.folder, identity, run.resume_from))
    if checkpoint is not None and step_of(checkpoint) > steps:
        raise KitError(f"{checkpoint} is beyond the {steps} steps asked for. Train longer, or name an earlier one.")
    if checkpoint is None:
        logger.info("No checkpoint in %s yet: starting at step 0.", run.folder)
    else:
        logger.info("Continuing from %s, step %d of %d.", checkpoint, step_of(checkpoint), steps)
    return _train(run, corpus, checkpoint, steps, stack)


def _log_to_file(run: Run, stack: ExitStack) -> None:
    if processes.number() == 0:
        stack.enter_context(log_file(run.folder / "train.log"))


def _train(run: Run, corpus: PreparedCorpus, checkpoint: Path | None, steps: int, stack: ExitStack) -> Path:
    import torch

    from tsdae_kit.denoising.loss import TSDAELoss
    from tsdae_kit.training.arguments import training_arguments
    from tsdae_kit.training.checkpoints import step_of
    from tsdae_kit.training.models import choose_device, load_encoder
    from tsdae_kit.training.progress import Progress
    from tsdae_kit.training.selection import Selection

    stack.enter_context(quiet_frameworks())
    goals = _read_goals(run, corpus)
    encoder = load_encoder(str(checkpoint or run.settings.model), choose_device(run.settings.device))
    encoder.float()  # weights stored in half precision are trained in full
    settings = _resolve(run.settings, encoder, steps)
    torch.manual_seed(settings.seed)  # the decoder's new weights
    loss = TSDAELoss(encoder)
    arguments = training_arguments(settings, encoder.device.type, evaluates=len(corpus.held_out) > 0)
    if arguments.n_gpu > 1:
        raise KitError(f"{arguments.n_gpu} GPUs are visible, and one can be used. Set CUDA_VISIBLE_DEVICES=0.")
    processes.from_first(lambda: _check_space(settings, loss))
    # From here on nothing is refused any more: the run's folder may appear.
    record = run.record
    if record is None:
        digests = {goal.name: goal.digest for goal in goals}
        record = processes.from_first(lambda: begin_run(settings, corpus.fingerprint, encoder.max_seq_length, digests))
        _log_to_file(run, stack)
    _introduce(settings, run.settings, corpus, loss, steps)
    evaluated = processes.from_first(lambda: trim_metrics(run.folder / METRICS, checkpoint))
    begin = step_of(checkpoint) if checkpoint else 0
    selection = Selection(goals, settings.batch_size, record["max_length"]) if goals else None
    if selection:
        selection.remember(run.folder / METRICS, checkpoint)
    arguments.eval_on_start = len(corpus.held_out) > 0 and begin % settings.eval_steps == 0 and begin not in evaluated
    progress = Progress(run.folder / METRICS, _sentences_per_step(settings))
    started = time.monotonic()
    if begin < steps:  # killed between the last checkpoint and the final model, it needs no more training
        trainer = _make_trainer(settings, record["id"], corpus, loss, arguments, selection)
        _run_trainer(trainer, progress, checkpoint)
    encoder.max_seq_length = record["max_length"]  # the base model's: a shorter one was for training only
    best = processes.from_first(lambda: _finish(settings, record, encoder, selection, steps))
    _conclude(run.folder / FINAL, steps, progress, time.monotonic() - started)
    if selection:
        _conclude_selection(settings, selection, best, [goal.name for goal in goals])
    return run.folder / FINAL


def _read_goals(run: Run, corpus: PreparedCorpus) -> list[Goal]:
    from tsdae_kit.evaluation.goals import read_goal

    settings = run.settings
    goals = [read_goal(name) for name in settings.eval_data]
    if settings.require_gain and not goals:  # a resumed run has them in its record
        raise KitError("--require-gain needs data on which a gain would show. Pass --eval-data.")
    if goals and not len(corpus.held_out):
        raise KitError(f"--eval-data needs held-out pairs, and {settings.data} has none. Prepare it with --held-out.")
    for goal in goals:
        if run.record is not None and run.record.get("goals", {}).get(goal.name) != goal.digest:
            raise KitError(
                f"The evaluation data of {goal.name} changed since the run began: its scores cannot be compared. "
                "Restore the data, or start a new run with another --output."
            )
        note = "" if goal.split == "dev" else ", which has no dev part: do not report on what the run is chosen by"
        logger.info("Scored by %s on its %s part%s.", goal.name, goal.split, note)
    return goals


def _finish(
    settings: TrainSettings,
    record: dict[str, Any],
    encoder: SentenceTransformer,
    selection: Selection | None,
    steps: int,
) -> int:
    """Write the final model, of the best step if there are scores; return its step."""
    from tsdae_kit.training.selection import choose_model

    best = steps
    if selection:
        encoder, best = choose_model(selection, encoder, settings.model, (settings.output, record["id"]), steps)
        encoder.max_seq_length = record["max_length"]
    _write_final(settings.output / FINAL, encoder)
    finish_run(settings, {**record, "best_step": best}, steps)
    return best


def _conclude_selection(settings: TrainSettings, selection: Selection, best: int, names: Sequence[str]) -> None:
    """Say which step became the final model.

    Raises:
        NoGain: If that is the base model, and a gain was required.
    """
    scores = selection.scores
    base = f"{scores[0]:.2f}" if 0 in scores else "unknown"
    logger.info(
        "Scores (%s): base model %s; best %.2f, at step %d.", ", ".join(names), base, max(scores.values()), best
    )
    if best == 0:
        _say_no_gain(settings)
        return
    logger.info(
        "The final model is that of step %d. Chosen by these scores, it is flattered by them; on other data: "
        "python -m tsdae_kit.evaluate %s %s --data DIR", best, settings.model, settings.output / FINAL,
    )  # fmt: skip


def _say_no_gain(settings: TrainSettings) -> None:
    verdict = f"No step scored above the base model: {settings.output / FINAL} is the base model as it was."
    if settings.require_gain:
        raise NoGain(verdict)
    logger.info("%s", verdict)


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


def _sentences_per_step(settings: TrainSettings) -> int:
    return settings.batch_size * processes.count() * settings.gradient_accumulation_steps


def _count_steps(settings: TrainSettings, sentences: int) -> int:
    batches = math.ceil(sentences / (settings.batch_size * processes.count()))
    per_epoch = math.ceil(batches / settings.gradient_accumulation_steps)
    return settings.max_steps or math.ceil(settings.epochs * per_epoch)


def _check_space(settings: TrainSettings, loss: TSDAELoss) -> None:
    """Say what the checkpoints will take, and refuse to begin where not even one fits beside the final model."""
    from tsdae_kit.denoising.loss import count_parameters

    parent = next(path for path in [settings.output, *settings.output.absolute().parents] if path.is_dir())
    free = shutil.disk_usage(parent).free
    encoder = 4 * count_parameters(loss.encoder.parameters())
    one = 3 * 4 * count_parameters(loss.parameters())  # the weights and Adam's two moments, in float32
    wanted = (settings.save_total_limit + 1) * one + encoder
    logger.info("A checkpoint takes about %s, the whole run %s; %s are free.", *map(show_bytes, (one, wanted, free)))
    if free < one + encoder:
        raise KitError(
            f"{settings.output} needs {show_bytes(one + encoder)} at least for a checkpoint and the model, and "
            f"{show_bytes(free)} are free. Make room, or choose another --output."
        )
    if free < wanted:
        logger.warning("!!! The disk may fill up during the run; lower --save-total-limit or make room.")


def _resolve(settings: TrainSettings, encoder: SentenceTransformer, steps: int) -> TrainSettings:
    """Return the settings with what depends on the machine, the model or the run's length filled in."""
    from tsdae_kit.training.models import has_bf16

    warmup, precision = settings.decoder_warmup_steps, settings.precision
    if warmup is None:
        warmup = min(LONGEST_WARMUP, steps // 5)
    if warmup >= steps:
        raise KitError(
            f"--decoder-warmup-steps {warmup} leaves the encoder none of {steps} steps. Train longer, or lower it."
        )
    if precision == "auto":
        precision = "bf16" if has_bf16(encoder.device) else "fp32"
    transformer: Any = encoder.transformers_model
    limit = getattr(transformer.config, "max_position_embeddings", None)
    if limit and settings.max_length and settings.max_length > limit:
        raise KitError(
            f"--max-length {settings.max_length} is more than the {limit} tokens that {settings.model} can take."
        )
    # The device is recorded, so that a run does not move to the CPU by itself where its GPU is missing.
    device = settings.device or encoder.device.type
    return replace(settings, decoder_warmup_steps=warmup, precision=precision, device=device)


def _make_trainer(
    settings: TrainSettings,
    run_id: str,
    corpus: PreparedCorpus,
    loss: TSDAELoss,
    arguments: SentenceTransformerTrainingArguments,
    selection: Selection | None,
) -> ResumableTrainer:
    import torch
    from transformers import PrinterCallback

    from tsdae_kit.text.noise import NoiseTransform
    from tsdae_kit.training.trainer import ResumableTrainer
    from tsdae_kit.training.warmup import DecoderWarmup

    encoder = loss.encoder
    if settings.max_length is not None:
        encoder.max_seq_length = settings.max_length
    # Given here, the examples on the model's card are not looked for, which shows a progress bar of its own.
    source, *others = corpus.train[:4]["clean"]
    encoder.model_card_data.widget = [{"source_sentence": source, "sentences": others}]
    trainer = ResumableTrainer(
        model=encoder,
        args=arguments,
        train_dataset=corpus.train.with_transform(NoiseTransform(corpus.noise, settings.fixed_noise)),
        eval_dataset=corpus.held_out if len(corpus.held_out) else None,
        loss=loss,
        callbacks=[DecoderWarmup(encoder, settings.decoder_warmup_steps or 0)],
        run_id=run_id,
        on_save_error=settings.on_save_error,
        selection=selection,
    )
    trainer.remove_callback(PrinterCallback)
    if processes.number():
        torch.manual_seed(settings.seed + processes.number())  # dropout of its own
    return trainer


def _introduce(
    settings: TrainSettings, asked: TrainSettings, corpus: PreparedCorpus, loss: TSDAELoss, steps: int
) -> None:
    from tsdae_kit.denoising.loss import count_parameters

    differences = settings_differences(asked)
    logger.info(
        "Adapting %s to %s on %s in %s.",
        settings.model,
        settings.data,
        loss.encoder.device,
        settings.precision,
    )
    logger.info("Settings that differ from the defaults: %s.", ", ".join(differences) or "none")
    logger.info(
        "Encoder %.1f million weights; the decoder adds %.1f million of its own, needed only for training.",
        count_parameters(loss.encoder.parameters()) / 1e6,
        count_parameters(loss.own_parameters().values()) / 1e6,
    )
    logger.info(
        "%s sentences to train on, %s held out; %s steps of %d sentences, the encoder frozen in the first %d.",
        f"{len(corpus.train):,}", f"{len(corpus.held_out):,}", f"{steps:,}",
        _sentences_per_step(settings), settings.decoder_warmup_steps,
    )  # fmt: skip


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
    logger.info("The adapted model: %s (SentenceTransformer(%r) loads it).", final, str(final))
    logger.info("The run: %s, %s, train.log and the checkpoints in %s.", RECORD, METRICS, final.parent)


def main(argv: Sequence[str] | None = None) -> None:
    """Run ``python -m tsdae_kit.train``."""
    prog = "python -m tsdae_kit.train"
    description = "Adapt a sentence encoder to prepared text (TSDAE); resume an interrupted run."
    run_command(prog, lambda: adapt(**parse_arguments(TrainSettings, prog, description, argv)))


if __name__ == "__main__":
    main()
