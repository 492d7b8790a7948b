"""Several processes as one run: rank, world size, and work that rank 0 does for all.

``torchrun`` and ``accelerate launch`` start the same command several times and describe each process in its
environment. Rank 0 reads and writes the run's folder; what it decides reaches the others through here. With one
process, everything in this module costs nothing, and torch is not imported.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, ModuleType
from typing import Any, TypeVar

from tsdae_kit.errors import KitError, RunStopped, exit_code

T = TypeVar("T")
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
Handler = Callable[[int, FrameType | None], Any]
_WORLD_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")  # accelerate reads them all


def rank() -> int:
    """Return the number of this process, from 0."""
    return _environment()[0]


def world_size() -> int:
    """Return the number of processes."""
    return _environment()[1]


def local_world_size() -> int:
    """Return the number of processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE") or 1) if world_size() > 1 else 1


def _environment() -> tuple[int, int]:
    """Return rank and world size.

    Raises:
        KitError: If the environment names several processes, but not how they find each other (a scheduler's does not).
    """
    name = next((name for name in _WORLD_SIZES if os.environ.get(name)), "WORLD_SIZE")
    size = os.environ.get(name) or "1"
    if size.strip() == "1":
        return 0, 1
    advice = f"Start with torchrun or accelerate launch, or unset {name}"
    required = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    if missing := [name for name in required if not os.environ.get(name)]:
        raise KitError(f"{name} is {size}, and no launcher has set {', '.join(missing)}. {advice}.")
    values = {name: os.environ[name] for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_PORT")}
    values["LOCAL_WORLD_SIZE"] = os.environ.get("LOCAL_WORLD_SIZE") or "1"
    for name, value in values.items():
        if not value.strip().isdecimal() or (name.endswith("SIZE") and not int(value)):
            raise KitError(f"{name} is {value!r}, which is no number of a launcher. {advice}.")
    if int(values["RANK"]) >= int(size):
        raise KitError(f"RANK is {values['RANK']}, and WORLD_SIZE is {size}. {advice}.")
    return int(values["RANK"]), int(size)


def _backend() -> ModuleType:
    from tsdae_kit import distributed_backend  # torch: where there are several processes

    return distributed_backend


@contextmanager
def process_group(on_cpu: bool) -> Iterator[None]:
    """Connect the processes for a block that trains; all leave it together."""
    if world_size() == 1:
        yield
        return
    with _backend().connected_for_training(on_cpu):
        yield


def on_rank_0(action: Callable[[], T], name: str = "training") -> T:
    """Run an action on rank 0, once all processes have come here, and return its result on every rank.

    Args:
        action: Runs on rank 0 alone.
        name: The work that it belongs to, the same on every rank: else the ranks would exchange unrelated results.

    Raises:
        KitError: If the processes do different work.
        BaseException: On rank 0, what ``action`` raises; the other processes then end quietly with its exit code.
    """
    if world_size() == 1:
        return action()
    group = _backend()
    names = set(group.gather(name))  # and none may still be reading what rank 0 is about to write
    if len(names) > 1:
        raise KitError(
            f"The processes of one launch do different work ({' and '.join(sorted(names))}). "
            "Let each call the same functions."
        )
    result, code, error = None, 0, None
    if rank() == 0:
        try:
            result = action()
        except BaseException as raised:  # noqa: BLE001  # raised below, when the others know
            error, code = raised, exit_code(raised)
    result, code = group.broadcast((result, code))
    if error:
        raise error
    if code:
        raise SystemExit(code)
    return result  # type: ignore[no-any-return]


def min_over_ranks(value: int) -> int:
    """Return the smallest value of all processes."""
    return value if world_size() == 1 else int(min(_backend().gather(value)))


def first_over_ranks(value: T | None) -> T | None:
    """Return the first value that is not ``None``, by rank: one process's error or signal concerns all."""
    if world_size() == 1:
        return value
    return next((found for found in _backend().gather(value) if found is not None), None)


@contextmanager
def handled_signals(handler: Handler) -> Iterator[None]:
    """Let ``handler`` take the signals in this block (in the main thread; Python does not allow it elsewhere)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)


def stop_at_once(number: int, frame: FrameType | None) -> None:
    """End a run that is loading or writing a model: no step is under way, and what was saved is whole.

    Raises:
        RunStopped: Always.
    """
    name = signal.Signals(number).name
    raise RunStopped(f"Stopped by {name}, outside of training; what was saved is whole. Continue with --resume.")
