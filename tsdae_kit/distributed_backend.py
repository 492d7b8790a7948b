"""The process group of torch: what :mod:`tsdae_kit.distributed` needs where a run has several processes."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from accelerate.state import AcceleratorState, PartialState
from torch import distributed

_TIMEOUT = timedelta(hours=12)  # while rank 0 evaluates, writes a report or uploads


def connect() -> None:
    """Make the process group, once: a second group in the same process would meet the addresses of the first.

    It serves the CPU and the accelerator, whichever a run trains on, and is destroyed when the process ends.
    """
    if distributed.is_initialized():
        return
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    backend = "gloo"
    if device is not None and device.type != "mps":
        backend = f"cpu:gloo,{device.type}:{distributed.get_default_backend_for_device(device)}"
    distributed.init_process_group(backend, timeout=_TIMEOUT)
    atexit.register(distributed.destroy_process_group)


@contextmanager
def connected_for_training(on_cpu: bool) -> Iterator[None]:
    """Connect the processes for a block that trains; all leave it together."""
    connect()
    AcceleratorState._reset_state(reset_partial_state=True)  # a run before may have had another device
    PartialState(cpu=on_cpu or not torch.accelerator.is_available())
    yield
    distributed.barrier()  # none leaves while another still needs it


def gather(value: Any) -> list[Any]:
    """Return the value of every process, by rank."""
    connect()
    values = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def broadcast(value: Any) -> Any:
    """Return the value of rank 0."""
    values = [value]
    distributed.broadcast_object_list(values)
    return values[0]
