"""Stage one: adapt a sentence encoder to the prepared text.

``python -m tsdae_kit.train`` begins a run, ``--resume`` continues it (or begins it, where nothing was
saved yet), ``--model runs/tsdae/final --output runs/more`` begins a new run from a trained model.
The heavy libraries are imported only when the input has been checked.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsdae_kit.console import log_file, quiet_frameworks, show_messages, table
from tsdae_kit.folders import new_folder
from tsdae_kit.settings import KitError, TrainSettings, parse_arguments, run_command
from tsdae_kit.training.runs import (
    FINAL,
    RECORD,
    Run,
    begin_run,
    finish_run,
    plan_run,
    settings_differences,
    sole_owner,
    trim_metrics,
)

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments

    from tsdae_kit.denoising.loss import TSDAELoss
    from tsdae_kit.text.pairs import PreparedCorpus
    from tsdae_kit.training.progress import Progress
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
    with show_messages():
        run = plan_run(given)
        with sole_owner(run.folder), ExitStack() as stack:
            return _adapt(run, stack)


def _adapt(run: Run, stack: ExitStack) -> Path:
    from tsdae_kit.text.pairs import load_pairs
    from tsdae_kit.training.checkpoints import choose_checkpoint, step_of

    corpus, settings, record, checkpoint = load_pairs(run.settings.data), run.settings, run.record, None
    final = run.folder / FINAL
    steps = _count_steps(settings, len(corpus.train))
    if record is None:
        if settings.resume:
            logger.info("No run in %s yet: starting at step 0.", run.folder)
    else:
        stack.enter_context(log_file(run.folder / "train.log"))
        _check_data(run, corpus)
        if run.resume_from is None and record.get("finished_step", -1) >= steps and final.is_dir():
            logger.info("This run is finished: %s holds step %d.", final, record["finished_step"])
            return final
        checkpoint = choose_checkpoint(run.folder, record["id"], run.resume_from)
        if checkpoint is None:
            logger.info("No checkpoint in %s yet: starting at step 0.", run.folder)
        else:
            logger.info("Continuing from %s, step %d of %d.", checkpoint, step_of(checkpoint), steps)

    import torch

    from tsdae_kit.denoising.loss import TSDAELoss
    from tsdae_kit.training.arguments import training_arguments
    from tsdae_kit.training.models import choose_device, load_encoder

    stack.enter_context(quiet_frameworks())
    encoder = load_encoder(str(checkpoint or settings.model), choose_device(settings.device))
    settings = _resolve(settings, encoder, steps)
    torch.manual_seed(settings.seed)  # the decoder's new weights
    loss = TSDAELoss(encoder)
    arguments = training_arguments(settings, encoder.device.type, evaluates=len(corpus.held_out) > 0)
    arguments.eval_on_start = checkpoint is None and len(corpus.held_out) > 0
    # From here on nothing is refused any more: the run's folder may appear.
    if record is None:
        record = begin_run(settings, corpus.fingerprint, encoder.max_seq_length)
        stack.enter_context(log_file(run.folder / "train.log"))
    _introduce(settings, run.settings, corpus, loss, steps)
    trim_metrics(run.folder / METRICS, checkpoint)
    trainer, progress = _make_trainer(settings, record["id"], corpus, loss, arguments)
    started = time.monotonic()
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    encoder.max_seq_length = record["max_length"]  # the base model's: a shorter one was for training only
    with new_folder(final) as folder:
        encoder.save_pretrained(str(folder))
    finish_run(settings, record, steps)
    _conclude(final, steps, progress, time.monotonic() - started)
    return final


def _count_steps(settings: TrainSettings, sentences: int) -> int:
    batches = math.ceil(sentences / settings.batch_size)
    per_epoch = math.ceil(batches / settings.gradient_accumulation_steps)
    return settings.max_steps or math.ceil(settings.epochs * per_epoch)


def _check_data(run: Run, corpus: PreparedCorpus) -> None:
    if run.record is not None and run.record["data"] != corpus.fingerprint:
        raise KitError(
            f"{run.settings.data} has the fingerprint {corpus.fingerprint}, but the run was started on "
            f"{run.record['data']}. Pass the run's own data, or start a new run with another --output."
        )


def _resolve(settings: TrainSettings, encoder: SentenceTransformer, steps: int) -> TrainSettings:
    """Return the settings with what depends on the machine, the model or the run's length filled in."""
    import torch

    warmup, precision = settings.decoder_warmup_steps, settings.precision
    if warmup is None:
        warmup = min(LONGEST_WARMUP, steps // 5)
    if warmup >= steps:
        raise KitError(
            f"--decoder-warmup-steps {warmup} leaves the encoder none of {steps} steps. Train longer, or lower it."
        )
    if precision == "auto":
        precision = "bf16" if encoder.device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    transformer: Any = encoder.transformers_model
    limit = getattr(transformer.config, "max_position_embeddings", None)
    if limit and settings.max_length and settings.max_length > limit:
        raise KitError(
            f"--max-length {settings.max_length} is more than the {limit} tokens that {settings.model} can take."
        )
    return replace(settings, decoder_warmup_steps=warmup, precision=precision)


def _make_trainer(
    settings: TrainSettings,
    run_id: str,
    corpus: PreparedCorpus,
    loss: TSDAELoss,
    arguments: SentenceTransformerTrainingArguments,
) -> tuple[ResumableTrainer, Progress]:
    from transformers import PrinterCallback

    from tsdae_kit.text.noise import NoiseTransform
    from tsdae_kit.training.progress import DecoderWarmup, Progress
    from tsdae_kit.training.trainer import ResumableTrainer

    encoder = loss.encoder
    if settings.max_length is not None:
        encoder.max_seq_length = settings.max_length
    # Given here, the examples on the model's card are not looked for, which shows a progress bar of its own.
    source, *others = corpus.train[:4]["clean"]
    encoder.model_card_data.widget = [{"source_sentence": source, "sentences": others}]
    progress = Progress(settings.output / METRICS, settings.batch_size * settings.gradient_accumulation_steps)
    trainer = ResumableTrainer(
        model=encoder,
        args=arguments,
        train_dataset=corpus.train.with_transform(NoiseTransform(corpus.noise, settings.fixed_noise)),
        eval_dataset=corpus.held_out if len(corpus.held_out) else None,
        loss=loss,
        callbacks=[progress, DecoderWarmup(encoder, settings.decoder_warmup_steps or 0)],
        run_id=run_id,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer, progress


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
        settings.batch_size * settings.gradient_accumulation_steps, settings.decoder_warmup_steps,
    )  # fmt: skip


def _conclude(final: Path, steps: int, progress: Progress, seconds: float) -> None:
    from tsdae_kit.training.progress import show_duration

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
