"""What a run reports while it goes: one dense line for a person, one JSON line for a program."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

logger = logging.getLogger("tsdae_kit")


def show_duration(seconds: float) -> str:
    """Return ``1h02m``, ``3m20s`` or ``12s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


class Progress(TrainerCallback):
    """Writes each log entry to ``metrics.jsonl`` and shows it as a line with speed and time left.

    Attributes:
        speed: Sentences per second over all training steps so far, evaluation and saving left out.
        first: The first entry of each kind (``loss``, ``eval_loss``), ``last``: the latest.
    """

    def __init__(self, metrics: Path, sentences_per_step: int) -> None:
        self.metrics = metrics
        self.sentences_per_step = sentences_per_step
        self.first: dict[str, float] = {}
        self.last: dict[str, float] = {}
        self._steps = 0
        self._seconds = 0.0
        self._step_began = 0.0

    @property
    def speed(self) -> float:
        """Sentences per second."""
        return self._steps * self.sentences_per_step / self._seconds if self._seconds else 0.0

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the step's clock."""
        self._step_began = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stop it."""
        self._seconds += time.monotonic() - self._step_began
        self._steps += 1

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write and show one entry."""
        logs = logs or {}
        kinds = [kind for kind in ("loss", "eval_loss") if kind in logs]
        if not kinds:
            return
        for kind in kinds:
            self.first.setdefault(kind, logs[kind])
            self.last[kind] = logs[kind]
        entry = {"step": state.global_step, **logs, "sentences_per_second": round(self.speed, 1)}
        with self.metrics.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")
        place = f"step {state.global_step:>{len(str(state.max_steps))}}/{state.max_steps}"
        if "loss" in logs:
            left = (state.max_steps - state.global_step) * self._seconds / max(self._steps, 1)
            logger.info(
                "%s  epoch %.2f  loss %.4f  %.0f sentences/s  %s left",
                place, state.epoch, logs["loss"], self.speed, show_duration(left),
            )  # fmt: skip
        else:
            logger.info("%s  held-out loss %.4f", place, logs["eval_loss"])


class DecoderWarmup(TrainerCallback):
    """Freezes the encoder for the first steps, while the decoder's new weights learn.

    Cross-attention and, for most sentence encoders, the head begin at random; their first gradients
    would go through the encoder and tear down what it knows. The weights are frozen, not given a
    learning rate of zero, so that the optimizer gathers no state for them and backward is cheaper.
    """

    def __init__(self, encoder: nn.Module, steps: int) -> None:
        self.steps = steps
        self._parameters = [p for p in encoder.parameters() if p.requires_grad]

    def _set(self, state: TrainerState) -> None:
        for parameter in self._parameters:
            parameter.requires_grad_(state.global_step >= self.steps)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Freeze the encoder, unless the run is resumed after the warm-up."""
        self._set(state)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Let the encoder learn once the warm-up is over."""
        if state.global_step == self.steps:
            self._set(state)
            logger.info("The decoder is warmed up: from step %d on the encoder learns too.", self.steps)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Leave the encoder as it was found."""
        for parameter in self._parameters:
            parameter.requires_grad_(True)
