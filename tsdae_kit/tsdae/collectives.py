"""Collectives that make N processes compute the loss of one process with the whole batch."""

from __future__ import annotations

import torch
from torch import Tensor, distributed
from torch.distributed.nn.functional import all_gather
from torch.nn.functional import pad


def mean_over_ranks(count: int, device: torch.device) -> float:
    """Return the mean of a count over the processes.

    DistributedDataParallel averages the gradients of the processes. A sum that each process divides by this mean
    therefore has the gradient of the mean over all rows. In an evaluation, which each process does alone, it is the
    count itself.
    """
    if not _in_distributed_step():
        return count
    return sum(_gather_counts(count, device)) / distributed.get_world_size()


def gather_rows(rows: Tensor) -> tuple[Tensor, int]:
    """Return the rows of all processes, with gradients to each process, and the index of this process's first row.

    Args:
        rows: This process's rows, (rows, width); their number may differ between processes.
    """
    if not _in_distributed_step():
        return rows, 0
    counts = _gather_counts(len(rows), rows.device)
    padded = all_gather(pad(rows, (0, 0, 0, max(counts) - len(rows))))
    gathered = [part[:count] for part, count in zip(padded, counts, strict=True)]
    return torch.cat(gathered), sum(counts[: distributed.get_rank()])


def _in_distributed_step() -> bool:
    """Return whether several processes compute a training step together."""
    return torch.is_grad_enabled() and distributed.is_initialized() and distributed.get_world_size() > 1


def _gather_counts(count: int, device: torch.device) -> list[int]:
    """Return the count of each process, by rank."""
    counts = torch.zeros(distributed.get_world_size(), dtype=torch.long, device=device)
    counts[distributed.get_rank()] = count
    distributed.all_reduce(counts)
    return counts.tolist()
