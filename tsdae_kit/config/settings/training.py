"""Settings of the training commands: what all have in common, and those of ``train``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from tsdae_kit.config.fields import Group, flag, setting
from tsdae_kit.config.settings.reading import (
    BASE_MODEL,
    DEVICE_HELP,
    NOISE_HELP,
    SEED_PROBLEM,
    TRUST_HELP,
    ReadingSettings,
)

DecoderKind = Literal["auto", "cross-attention", "prefix"]
ScratchSize = Literal["tiny", "mini", "small"]
SCRATCH = "scratch"
LARGEST_BATCH = 512
# Values of settings that are None until the base model is known; figures in results/README.md and results/diary.md
ENCODER_LEARNING_RATE, ADAPTER_LEARNING_RATE = 2e-5, 1e-4  # of a pretrained encoder
CONTRASTIVE_WEIGHT, DRIFT_PENALTY, BASE_WEIGHT = 1.0, 10.0, 0.5
MAX_WARMUP_STEPS = 200  # of the decoder alone; else a fifth of the run
NO_PAIRS = "no labelled pairs given: name a JSON Lines, CSV, TSV or Parquet file"
_POSITIVE = ("epochs", "max_steps", "batch_size", "gradient_accumulation_steps", "learning_rate", "max_length",
             "lora_rank", "decoder_learning_rate", "save_steps", "save_total_limit", "eval_steps", "patience",
             "logging_steps")  # fmt: skip
_NOT_NEGATIVE = ("decoder_warmup_steps", "workers", "contrastive_weight", "drift_penalty")


@dataclass(frozen=True)
class RunSettings(ReadingSettings):
    """Settings that all training commands have in common."""

    model: str = setting(BASE_MODEL, "base model: a folder or a hub name", Group.MAIN)
    output: Path = setting(Path("runs/tsdae"), "the run's folder", Group.MAIN, record="changeable")
    epochs: float = setting(1.0, "passes over the data", Group.MAIN, record="changeable")
    max_steps: int | None = setting(
        None, "steps to train, instead of --epochs", Group.SCHEDULE, record="changeable"
    )  # fmt: skip
    batch_size: int = setting(32, "sentences or pairs per step and process", Group.MAIN)
    gradient_accumulation_steps: int = setting(1, "batches per step", Group.SCHEDULE)
    gradient_checkpointing: bool = setting(
        False, "recompute activations in the backward pass: less memory, more time", Group.HARDWARE,
        record="changeable",
    )  # fmt: skip
    learning_rate: float | None = setting(
        None, f"learning rate of the encoder (default: {ENCODER_LEARNING_RATE}; adapters: {ADAPTER_LEARNING_RATE}; "
        "from scratch: the decoder's)",
        Group.SCHEDULE,
    )  # fmt: skip
    lora_rank: int | None = setting(
        None, "train LoRA adapters of this rank, the encoder's weights frozen; final/ is merged", Group.MODEL
    )
    base_weight: float | None = setting(
        None,
        f"share of the base model's weights in the final weights (default: {BASE_WEIGHT}; with adapters, from a plain "
        "language model or from scratch: 0)",
        Group.MODEL,
    )
    max_length: int | None = setting(
        None, "truncate sentences to this many tokens in training (default: the model's limit)", Group.MODEL
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = setting(
        "auto", "number format; auto: bf16 if the hardware supports it, else fp32", Group.HARDWARE
    )
    save_steps: int = setting(500, "steps between checkpoints", Group.SAVING, record="changeable")
    save_total_limit: int = setting(2, "checkpoints to keep", Group.SAVING, record="changeable")
    eval_steps: int = setting(500, "steps between evaluations", Group.EVALUATION, record="changeable")
    columns: tuple[str, ...] = setting(
        (),
        "roles of the columns of labelled pairs, if their names do not tell: anchor, positive, negative (repeatable), "
        "label; numbers, without a header",
        Group.MODEL, metavar="ROLE=NAME",
    )  # fmt: skip
    eval_data: tuple[str, ...] = setting(
        (), "evaluation data; the step with the best score becomes final/", Group.MAIN, metavar="DIR"
    )
    patience: int | None = setting(
        None, "stop after this many evaluations in a row without a better score", Group.EVALUATION,
        record="changeable",
    )  # fmt: skip
    require_gain: bool = setting(
        False, "exit with code 1 if no step scores above the base model", Group.EVALUATION, record="changeable"
    )
    logging_steps: int = setting(25, "steps between progress lines", Group.EVALUATION, record="changeable")
    workers: int | None = setting(
        None, "processes that make batches (default: 4 with an accelerator, else 0)", Group.HARDWARE,
        record="changeable",
    )  # fmt: skip
    seed: int = setting(42, "decides the order of the data, dropout and new weights", Group.ADVANCED)
    device: str | None = setting(None, DEVICE_HELP, Group.HARDWARE)
    trust_remote_code: bool = setting(False, TRUST_HELP, Group.ADVANCED, record="left out")
    on_save_error: Literal["continue", "stop"] = setting(
        "continue", "if a checkpoint cannot be saved: continue with a warning, or stop", Group.SAVING,
        record="changeable",
    )  # fmt: skip
    report_to: Literal["none", "tensorboard", "wandb", "trackio", "mlflow"] = setting(
        "none", "also report the metrics to this tracker", Group.EVALUATION, record="changeable"
    )
    push_to_hub: str | None = setting(
        None, "upload the final model to this hub repository; a new one is private", Group.SAVING,
        record="left out", metavar="NAME/MODEL",
    )  # fmt: skip
    trainer: tuple[str, ...] = setting(
        (), "any other field of SentenceTransformerTrainingArguments; repeatable", Group.ADVANCED,
        metavar="KEY=VALUE",
    )  # fmt: skip
    resume: bool | Path = setting(
        False, "continue from the newest intact checkpoint (or PATH); without one, start at step 0", Group.MAIN,
        record="left out",
    )  # fmt: skip
    overwrite: bool = setting(False, "delete the run in the output folder", Group.SAVING, record="left out")

    @property
    def sources(self) -> tuple[Path, ...]:
        """Files or folders of training data."""
        return ()

    def validate(self) -> list[str]:
        """Return every contradiction between the settings, as sentences."""
        problems = super().validate()
        if self.resume and self.overwrite:
            problems.append("--resume and --overwrite contradict each other: give one")
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        problems += [
            f"{flag(name)} {values[name]} is not above 0" for name in _POSITIVE
            if isinstance(values.get(name), (int, float)) and values[name] <= 0
        ]  # fmt: skip
        problems += [
            f"{flag(name)} {values[name]} is below 0"
            for name in _NOT_NEGATIVE
            if values.get(name) is not None and values[name] < 0
        ]
        if not 0 <= self.seed < 2**32:
            problems.append(SEED_PROBLEM.format(self.seed))
        if self.max_length is not None and 0 < self.max_length < 4:
            problems.append(f"--max-length {self.max_length} leaves no words between the special tokens")
        if self.base_weight is not None and not 0 <= self.base_weight < 1:
            problems.append(f"--base-weight {self.base_weight} is outside 0 (the trained weights alone) to below 1")
        if self.base_weight and self.lora_rank:
            problems.append("--base-weight averages trained weights, and --lora-rank freezes them: leave one out")
        return problems


# The values that --recipe sets. Wang, Reimers and Gurevych 2021, section 5.2; they pool the first token, but here the
# base model keeps its own pooling.
RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": {
        "batch_size": 8, "learning_rate": 3e-5, "decoder_learning_rate": 3e-5, "decoder_warmup_steps": 0,
        "decoder": "cross-attention", "contrastive_weight": 0.0, "drift_penalty": 0.0, "base_weight": 0.0,
    },
}  # fmt: skip


@dataclass(frozen=True)
class TrainSettings(RunSettings):
    """Settings of ``adapt`` (stage one): noisy/clean pairs and a base model in, an adapted encoder out."""

    model: str = setting(BASE_MODEL, "base model: a folder, a hub name, or scratch for a small new one", Group.MAIN)
    scratch_size: ScratchSize = setting(
        "mini", "size of --model scratch: 2 layers of 128, 4 of 256, or 4 of 512", Group.MODEL
    )
    add_words: Path | None = setting(None, "file of words, one per line, to add to the tokenizer", Group.MODEL)
    data: Path = setting(
        Path("data/prepared"), "folder that prepare wrote", Group.MAIN, record="changeable"
    )  # fmt: skip
    recipe: Literal["default", "paper"] = setting(
        "default",
        f"paper: batches of {RECIPES['paper']['batch_size']}, learning rates of "
        f"{RECIPES['paper']['learning_rate']}, no warm-up, unless set explicitly",
        Group.SCHEDULE,
    )
    batch_size: int | Literal["auto"] = setting(  # type: ignore[assignment]  # a number, once the run has begun
        32, f"sentences per step and process; auto: the largest power of two that fits, at most {LARGEST_BATCH}",
        Group.MAIN,
    )  # fmt: skip
    decoder: DecoderKind = setting(
        "auto", "decoder that rebuilds the sentence (auto: cross-attention if the model family has it)", Group.MODEL
    )
    decoder_learning_rate: float = setting(3e-4, "learning rate of the decoder's own weights", Group.MODEL)
    decoder_warmup_steps: int | None = setting(
        None,
        f"first steps that train the decoder alone (default: a fifth of the run, at most {MAX_WARMUP_STEPS}; from "
        "scratch: 0)",
        Group.MODEL,
    )
    contrastive_weight: float | None = setting(
        None,
        f"weight of the in-batch contrastive loss between noisy and clean sentences (default: {CONTRASTIVE_WEIGHT:g})",
        Group.MODEL,
    )
    drift_penalty: float | None = setting(
        None,
        f"weight of 1 - cosine between a clean sentence's embedding and the base model's (default: {DRIFT_PENALTY:g}; "
        "from scratch: 0)",
        Group.MODEL,
    )
    noise: str | None = setting(None, NOISE_HELP, Group.ADVANCED, record="left out", metavar="MODULE.FUNCTION")
    pairs: Path | None = setting(
        None, "file of labelled positive pairs: trained on in the same steps, with in-batch negatives", Group.MODEL
    )

    @property
    def sources(self) -> tuple[Path, ...]:
        """The prepared data."""
        return (self.data,)

    def validate(self) -> list[str]:
        """Return every contradiction between the settings, as sentences."""
        problems = super().validate()
        if self.lora_rank and self.model == SCRATCH:
            problems.append(f"--lora-rank would freeze the random weights of --model {SCRATCH}: leave it out")
        if self.model == SCRATCH and self.drift_penalty:
            problems.append(f"--drift-penalty needs a base model, and --model {SCRATCH} has none: leave it out")
        if self.columns and self.pairs is None:
            problems.append("--columns names the columns of labelled pairs: pass --pairs too")
        if self.base_weight and self.model == SCRATCH:
            problems.append(f"--base-weight needs a base model, and --model {SCRATCH} has none: leave it out")
        if self.lora_rank and self.add_words:
            problems.append("--lora-rank freezes the rows of --add-words: give one, or add the words in an earlier run")
        return problems
