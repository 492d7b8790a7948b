"""Warm-up of the decoder: in the first steps of a run the encoder is frozen."""

from __future__ import annotations

import logging
from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

logger = logging.getLogger("tsdae_kit")


class DecoderWarmup(TrainerCallback):
    """Freezes the encoder for the first steps, while the decoder's new weights learn.

    Cross-attention and, for most sentence encoders, the head begin with random weights; their first gradients would
    damage the encoder. The weights are frozen, not given a learning rate of zero, so that the optimizer keeps no state
    for them and the backward pass is cheaper.
    """

    def __init__(self, encoder: nn.Module, steps: int) -> None:
        """Take the encoder's trainable weights.

        Args:
            encoder: The sentence encoder that the loss trains.
            steps: The number of steps in which it is frozen.
        """
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
        """Train the encoder once the warm-up is over."""
        if state.global_step == self.steps:
            self._set(state)
            logger.info("The decoder is warmed up: from step %d on the encoder learns too.", self.steps)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Unfreeze the encoder."""
        for parameter in self._parameters:
            parameter.requires_grad_(True)
