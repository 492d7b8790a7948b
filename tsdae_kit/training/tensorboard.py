"""TensorBoard events in the run folder: one curve for a run, however often it was interrupted.

The library creates a folder with a new name at each start, so that TensorBoard would show a resumed run as several.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import integration_utils

from tsdae_kit.errors import first_line

FOLDER = "tensorboard"

logger = logging.getLogger("tsdae_kit")
TensorBoardCallback: Any = integration_utils.TensorBoardCallback  # without types


class RunTensorBoard(TensorBoardCallback):  # type: ignore[misc]
    """The library's callback, writing into ``RUN/tensorboard`` (or ``TENSORBOARD_LOGGING_DIR``)."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Continue after the checkpoint's step: later events of the interrupted run are not shown."""
        self.logging_dir = os.environ.get("TENSORBOARD_LOGGING_DIR") or str(Path(str(args.output_dir)) / FOLDER)
        if state.is_world_process_zero:
            self.tb_writer = self._SummaryWriter(self.logging_dir, purge_step=state.global_step + 1)
        super().on_train_begin(args, state, control, **kwargs)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Write one entry; a full disk must not end the run."""
        try:
            super().on_log(args, state, control, **kwargs)
        except OSError as error:
            logger.warning("!!! %s could not be written: %s.", self.logging_dir, error.strerror or first_line(error))
