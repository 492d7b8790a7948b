"""The parts of a loss by name, averaged over the steps between two log entries as the loss itself is.

The library can do so for a loss that returns a dictionary, but asks the device for each value in each step, rounds the
means, and counts batches where the loss counts steps: its parts do not add up to the loss that stands beside them.
Here they do. Nothing of it is in a checkpoint: after a resume, loss and parts are the means of the steps since.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor


class LossComponents:
    """Sums of a loss's parts since the last log entry, on the device."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._logged = 0  # the last step that was

    def begin(self, step: int) -> None:
        """Forget what was summed: training begins, or goes on, after this step."""
        self._sums, self._logged = {}, step

    def add(self, parts: Mapping[str, Tensor], batches: int, finite: Tensor | None, step: int) -> None:
        """Add those of one batch.

        Args:
            parts: Numbers without a gradient, by name.
            batches: How many make a step.
            finite: Whether the loss is a number; one that is none counts as the mean so far, as in the trainer's loss.
            step: The last step that is done.
        """
        for name, value in parts.items():
            value, so_far = value / batches, self._sums.get(name, value.new_zeros(()))
            if finite is not None:
                value = torch.where(finite, value, so_far / (1 + step - self._logged))
            self._sums[name] = so_far + value

    def take(self, step: int, mean: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Return the means over the steps since the last entry, and begin anew.

        Args:
            step: The last step that is done.
            mean: Over the processes.
        """
        sums, steps = self._sums, step - self._logged
        self.begin(step)
        if not sums or steps < 1:
            return {}
        values = mean(torch.stack(list(sums.values()))).tolist()
        return {f"loss_{name}": value / steps for name, value in zip(sums, values, strict=True)}
