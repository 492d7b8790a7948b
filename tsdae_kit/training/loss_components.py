"""The components of a loss by name, averaged over the steps between two log entries, as the loss is.

The library does so for a loss that returns a dictionary, but it asks the device for each value in each step, rounds the
means, and counts batches where the loss counts steps: its components do not add up to the logged loss. Here they do.
Nothing of this is in a checkpoint: after a resume, loss and components are the means of the steps since then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor


class LossComponents:
    """Sums of a loss's components since the last log entry, on the device."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._logged = 0  # the last step that was logged

    def begin(self, step: int) -> None:
        """Reset the sums: training begins, or continues, after this step."""
        self._sums, self._logged = {}, step

    def add(self, parts: Mapping[str, Tensor], batches: int, finite: Tensor | None, step: int) -> None:
        """Add the components of one batch.

        Args:
            parts: Numbers without a gradient, by name.
            batches: The number of batches in a step.
            finite: Whether the loss is finite; a loss that is not counts as the mean so far, as in the trainer.
            step: The last finished step.
        """
        for name, value in parts.items():
            value, so_far = value / batches, self._sums.get(name, value.new_zeros(()))
            if finite is not None:
                value = torch.where(finite, value, so_far / (1 + step - self._logged))
            self._sums[name] = so_far + value

    def take(self, step: int, mean: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Return the means over the steps since the last entry, and reset the sums.

        Args:
            step: The last finished step.
            mean: Averages over the processes.
        """
        sums, steps = self._sums, step - self._logged
        self.begin(step)
        if not sums or steps < 1:
            return {}
        values = mean(torch.stack(list(sums.values()))).tolist()
        return {f"loss_{name}": value / steps for name, value in zip(sums, values, strict=True)}
