"""Several processes as one run: who is first, what all must know, and when all must wait.

``torchrun`` and ``accelerate launch`` start the same command several times and tell each its number in
the environment. The first process reads and writes the run's folder; what it decides reaches the others
through here. With one process everything in this module is free, and torch is not imported.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Any, TypeVar

from tsdae_kit.errors import KitError, RunStopped, exit_code

T = TypeVar("T")
TIMEOUT = timedelta(hours=12)  # while the first process evaluates, reports or uploads
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
Handler = Callable[[int, FrameType | None], Any]
_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")  # accelerate reads them all


def world_size() -> int:
    """Return the number of processes of this run."""
    return _launched()[1]


def rank() -> int:
    """Return this process's number; the first is 0."""
    return _launched()[0]


def local_world_size() -> int:
    """Return how many of the processes share this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE") or 1) if world_size() > 1 else 1


def _launched() -> tuple[int, int]:
    """Return this process's number and how many there are.

    Raises:
        KitError: If the environment says that there are several, and not how they find each other: a scheduler's does.
    """
    name = next((name for name in _SIZES if os.environ.get(name)), "WORLD_SIZE")
    size = os.environ.get(name) or "1"
    if size.strip() == "1":
        return 0, 1
    advice = f"Start with torchrun or accelerate launch, or unset {name}"
    needed = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    if missing := [name for name in needed if not os.environ.get(name)]:
        raise KitError(f"{name} is {size}, and no launcher has set {', '.join(missing)}. {advice}.")
    numbers = {name: os.environ[name] for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_PORT")}
    numbers["LOCAL_WORLD_SIZE"] = os.environ.get("LOCAL_WORLD_SIZE") or "1"
    for name, value in numbers.items():
        if not value.strip().isdecimal() or (name.endswith("SIZE") and not int(value)):
            raise KitError(f"{name} is {value!r}, which is no number of a launcher. {advice}.")
    if int(numbers["RANK"]) >= int(size):
        raise KitError(f"RANK is {numbers['RANK']}, and WORLD_SIZE is {size}. {advice}.")
    return int(numbers["RANK"]), int(size)


@contextmanager
def process_group(on_cpu: bool) -> Iterator[None]:
    """Connect the processes for a block that trains; all leave it together."""
    if world_size() == 1:
        yield
        return
    import torch
    from accelerate.state import AcceleratorState, PartialState
    from torch import distributed

    _connect()
    AcceleratorState._reset_state(reset_partial_state=True)  # a stage before may have had another device
    PartialState(cpu=on_cpu or not torch.accelerator.is_available())
    yield
    distributed.barrier()  # none leaves while another still needs it


def _connect() -> None:
    """Make the processes' group, once: a second one in the same process meets the addresses of the first.

    It serves the CPU and the accelerator, whichever a stage trains on, and is taken apart when the process ends.
    """
    import torch
    from torch import distributed

    if distributed.is_initialized():
        return
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    backend = "gloo"
    if device is not None and device.type != "mps":
        backend = f"cpu:gloo,{device.type}:{distributed.get_default_backend_for_device(device)}"
    distributed.init_process_group(backend, timeout=TIMEOUT)
    atexit.register(distributed.destroy_process_group)


def on_rank_0(action: Callable[[], T], name: str = "") -> T:
    """Return what ``action`` returns in the first process, once all have come here; the others do not run it.

    Args:
        action: Is run in the first process.
        name: The same in all processes; else they would exchange what does not belong together.

    Raises:
        KitError: If the processes call for different work.
        BaseException: In the first process, what ``action`` raises; the others then end quietly with its exit code.
    """
    if world_size() == 1:
        return action()
    from torch import distributed

    called = [""] * world_size()
    distributed.all_gather_object(called, name)  # none may still be reading what the first is about to write
    if len(set(called)) > 1:
        names = " and ".join(sorted(name or "training" for name in set(called)))
        raise KitError(f"The processes of one launch do different work ({names}). Let each call the same functions.")
    answer: list[Any] = [None, 0]
    error: BaseException | None = None
    if rank() == 0:
        try:
            answer[0] = action()
        except BaseException as raised:  # noqa: BLE001  # raised below, when the others know
            error, answer = raised, [None, exit_code(raised)]
    distributed.broadcast_object_list(answer)
    if error:
        raise error
    if answer[1]:
        raise SystemExit(answer[1])
    result: T = answer[0]
    return result


@contextmanager
def handled_signals(handler: Handler) -> Iterator[None]:
    """Hand the signals to ``handler`` in this block (in the main thread; elsewhere Python does not allow it)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handled in before.items():
            signal.signal(number, handled)


def stop_at_once(number: int, frame: FrameType | None) -> None:
    """End a run that trains no step at the moment: a model is loaded or written; what was saved is whole.

    Raises:
        RunStopped: Always.
    """
    name = signal.Signals(number).name
    raise RunStopped(f"Stopped by {name}, outside of training; what was saved is whole. Continue with --resume.")


def min_over_ranks(value: int) -> int:
    """Return the smallest value over the processes."""
    if world_size() == 1:
        return value
    from torch import distributed

    values = [0] * world_size()
    distributed.all_gather_object(values, value)
    return min(values)


def first_over_ranks(value: T | None) -> T | None:
    """Return the first value that is not ``None`` over the processes: one's fault or signal concerns all."""
    if world_size() == 1:
        return value
    from torch import distributed

    values: list[T | None] = [None] * world_size()
    distributed.all_gather_object(values, value)
    return next((v for v in values if v is not None), None)
