"""Progress of a run: one dense line for a person, one JSON line for a program."""

from __future__ import annotations

import json
import logging
import math
import shutil
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tsdae_kit.console import progress_bar, show_duration
from tsdae_kit.errors import first_line

KINDS = ("loss", "eval_loss", "eval_score")

logger = logging.getLogger("tsdae_kit")
_COMPONENT = "loss_"
_WIDTH = 120  # of a line in a file


class Progress(TrainerCallback):
    """Writes each log entry to ``metrics.jsonl`` and shows it as a line with speed and time left.

    Attributes:
        speed: Sentences per second over all training so far, with the making of batches, without evaluation and saving.
        first: The first value of each kind (``loss``, ``eval_loss``, ``eval_score``); ``last`` has the latest.
    """

    def __init__(self, metrics: Path, sentences_per_step: int, tokens_per_word: float | None = None) -> None:
        self.metrics = metrics
        self._tokens_per_word = tokens_per_word
        self.sentences_per_step = sentences_per_step
        self.first: dict[str, float] = {}
        self.last: dict[str, float] = {}
        self._steps = 0
        self._seconds = 0.0
        self._began = 0.0
        self._bar: Any = None

    @property
    def speed(self) -> float:
        """Sentences per second."""
        return self._steps * self.sentences_per_step / self._seconds if self._seconds else 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start a progress bar, if there is a terminal."""
        if state.is_world_process_zero:
            self._bar = progress_bar(state.max_steps, state.global_step)

    def close(self) -> None:
        """Remove the progress bar."""
        if self._bar is not None:
            self._bar.close()

    def _start_clock(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._began = time.monotonic()

    on_epoch_begin = on_evaluate = on_save = _start_clock

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Add the time since the last step, or since an evaluation or a save."""
        now = time.monotonic()
        self._seconds += now - self._began
        self._began = now
        self._steps += 1
        if self._bar is not None:
            self._bar.update(state.global_step - self._bar.n)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write and show one log entry."""
        logs = logs or {}
        kinds = [kind for kind in KINDS if kind in logs]
        if not kinds:
            return
        if "eval_loss" in logs and self._tokens_per_word:
            logs = {**logs, "eval_perplexity": math.exp(min(logs["eval_loss"] * self._tokens_per_word, 700))}
        if logs.get("loss") == 0 and "loss" not in self.first:
            logger.warning("!!! The loss is 0: from this data, in batches of this size, the model learns nothing.")
        for kind in kinds:
            self.first.setdefault(kind, logs[kind])
            self.last[kind] = logs[kind]
        if state.is_world_process_zero:
            self._write({"step": state.global_step, **logs, "sentences_per_second": round(self.speed, 1)})
            self._show(logs, state)

    def _write(self, entry: dict[str, float]) -> None:
        try:
            with self.metrics.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(entry) + "\n")
        except OSError as error:  # a full disk must not end the run
            logger.warning("!!! %s could not be written: %s.", self.metrics, error.strerror or first_line(error))

    def _show(self, logs: dict[str, float], state: TrainerState) -> None:
        step = f"step {state.global_step:>{len(str(state.max_steps))}}/{state.max_steps}"
        if "loss" in logs:
            seconds_left = (state.max_steps - state.global_step) * self._seconds / max(self._steps, 1)
            start = f"{step}  epoch {state.epoch:.2f}  loss {logs['loss']:.4f}"
            end = f"  {self.speed:.0f} sentences/s  {show_duration(seconds_left)} left"
            width = shutil.get_terminal_size((_WIDTH, 24)).columns - len(start + end)
            logger.info("%s%s%s", start, _show_components(logs, width), end)
            return
        formats = {"eval_loss": "held-out loss {:.4f}", "eval_perplexity": "perplexity {:.4g} a word",
                   "eval_score": "score {:.2f}"}  # fmt: skip
        shown = [text.format(logs[name]) for name, text in formats.items() if name in logs]
        logger.info("%s  %s", step, "  ".join(shown))


def _show_components(logs: dict[str, float], width: int) -> str:
    """Return a loss's components, where there are several and the line has room for them."""
    parts = {name.removeprefix(_COMPONENT): value for name, value in logs.items() if name.startswith(_COMPONENT)}
    shown = f" ({', '.join(f'{name} {value:.3g}' for name, value in parts.items())})"
    return shown if len(parts) > 1 and len(shown) <= width else ""
