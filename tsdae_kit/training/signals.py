"""Stops a run on SIGTERM, SIGINT or SIGUSR1: the step is finished, a checkpoint saved, the run ends.

The framework's own mechanism (``enable_jit_checkpoint``) knows SIGTERM alone, does not look during an evaluation, and
may save in the middle of a step, after its random numbers were drawn: a run resumed from that does not end in the same
bits. So the signal is only recorded here, and read where the state is complete: at the end of a step, after a save,
between the batches of an evaluation.
"""

from __future__ import annotations

import os
import signal
from contextlib import AbstractContextManager, suppress
from types import FrameType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tsdae_kit import distributed


def ignore_signals(worker: int) -> None:
    """Keep a DataLoader's worker alive (a ``worker_init_fn``): schedulers and terminals signal whole process groups.

    Torch's own handler would end the worker, and the trainer with it, in the middle of a step.
    """
    for number in distributed.SIGNALS:
        signal.signal(number, signal.SIG_IGN)


class EvaluationStopped(Exception):  # noqa: N818  # not an error
    """Ends an evaluation early; the trainer saves and ends the run."""


class StopOnSignal(TrainerCallback):
    """Ends the run at the next moment at which its state is complete.

    Attributes:
        received: The signal's name, once one arrived.
    """

    def __init__(self) -> None:
        self.received: str | None = None

    def listening(self) -> AbstractContextManager[None]:
        """Handle the signals in a block."""
        return distributed.handled_signals(self._record)

    def _record(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.received = signal.Signals(number).name
        # Not through logging, whose buffers the signal may have interrupted.
        with suppress(OSError):  # a terminal that is gone must not end the run before its state is saved
            os.write(2, b"Stopping after this step; the same signal again stops at once.\n")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Save now and stop; an evaluation that is due is broken off, and done when the run is resumed."""
        self.received = distributed.first_over_ranks(self.received)  # all stop at the same step
        if self.received:
            control.should_save = True
            control.should_training_stop = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stop without another step if the signal came during the save."""
        self.received = distributed.first_over_ranks(self.received)
        if self.received:
            control.should_training_stop = True

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Break an evaluation off."""
        self.received = distributed.first_over_ranks(self.received)
        if self.received:
            raise EvaluationStopped
