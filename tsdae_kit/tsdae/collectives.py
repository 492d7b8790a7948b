"""What each of several processes must know of the others' share of a batch, so that they follow one with all of it."""

from __future__ import annotations

import torch
from torch import Tensor, distributed
from torch.distributed.nn.functional import all_gather
from torch.nn.functional import pad


def _together() -> bool:
    """Return whether a step of several processes is computed; an evaluation is each one's own."""
    return torch.is_grad_enabled() and distributed.is_initialized() and distributed.get_world_size() > 1


def _counts(count: int, device: torch.device) -> list[int]:
    counts = torch.zeros(distributed.get_world_size(), dtype=torch.long, device=device)
    counts[distributed.get_rank()] = count
    distributed.all_reduce(counts)
    return counts.tolist()


def mean_over_ranks(count: int, device: torch.device) -> float:
    """Return what to divide a sum over ``count`` by: the processes' mean is then the mean over them all."""
    return sum(_counts(count, device)) / distributed.get_world_size() if _together() else count


def gather_rows(rows: Tensor) -> tuple[Tensor, int]:
    """Return the rows of all processes, through which gradients reach each, and where this one's begin.

    Args:
        rows: This process's, (rows, width); how many may differ.
    """
    if not _together():
        return rows, 0
    counts = _counts(len(rows), rows.device)
    equal = all_gather(pad(rows, (0, 0, 0, max(counts) - len(rows))))
    parts = [part[:count] for part, count in zip(equal, counts, strict=True)]
    return torch.cat(parts), sum(counts[: distributed.get_rank()])
