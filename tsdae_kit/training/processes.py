"""Several processes as one run: who is first, what all must know, and when all must wait.

``torchrun`` and ``accelerate launch`` start the same command several times and tell each its number in
the environment. The first process reads and writes the run's folder; what it decides reaches the others
through here. With one process everything in this module is free.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Any, TypeVar

from tsdae_kit.errors import KitError, RunStopped

T = TypeVar("T")
LONGEST_WAIT = timedelta(hours=12)  # while the first process evaluates, reports or uploads
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
Handler = Callable[[int, FrameType | None], Any]


def count() -> int:
    """Return the number of processes of this run."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def number() -> int:
    """Return this process's number; the first is 0."""
    return int(os.environ.get("RANK", "0")) if count() > 1 else 0


@contextmanager
def joined(on_cpu: bool) -> Iterator[None]:
    """Connect the processes for this block."""
    if count() == 1:
        yield
        return
    from accelerate import PartialState
    from torch import distributed

    PartialState(cpu=on_cpu, timeout=LONGEST_WAIT)
    try:
        yield
        distributed.barrier()  # none leaves while another still needs it
    finally:
        distributed.destroy_process_group()


def from_first(action: Callable[[], T]) -> T:
    """Return what ``action`` returns in the first process, once all have come here; the others do not run it.

    Raises:
        KitError: In the first process, what ``action`` raises; the others then end quietly with its exit code.
    """
    if count() == 1:
        return action()
    from torch import distributed

    answer: list[Any] = [None, False]
    error: KitError | None = None
    distributed.barrier()  # none may still be reading what the first is about to write
    if number() == 0:
        try:
            answer = [action(), True]
        except KitError as raised:
            error = raised
    distributed.broadcast_object_list(answer)
    if error:
        raise error
    if not answer[1]:
        raise SystemExit(2)
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


def smallest(value: int) -> int:
    """Return the smallest value over the processes."""
    if count() == 1:
        return value
    from torch import distributed

    values = [0] * count()
    distributed.all_gather_object(values, value)
    return min(values)


def first_of(value: T | None) -> T | None:
    """Return the first value that is not ``None`` over the processes: one's fault or signal concerns all."""
    if count() == 1:
        return value
    from torch import distributed

    values: list[T | None] = [None] * count()
    distributed.all_gather_object(values, value)
    return next((v for v in values if v is not None), None)
