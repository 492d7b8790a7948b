"""Runs a function on many things in processes of its own, and gives the results in order.

Each worker is a fresh interpreter on two pipes, so that it ends by itself when its owner is killed
(multiprocessing's forked workers wait for ever then), needs no ``if __name__ == "__main__"`` in a
user's script and inherits no locks; the price is 0.3 s to start.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from tsdae_kit.errors import KitError

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ordered(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Yield ``function(item)`` for each item, in order; few items are in flight at a time.

    Raises:
        KitError: What the function raises, or that a worker was killed.
    """
    if workers == 1:
        yield from map(function, items)
        return
    started = [_start(function) for _ in range(workers)]
    idle: queue.SimpleQueue[subprocess.Popen[bytes]] = queue.SimpleQueue()
    for process in started:
        idle.put(process)

    def work(item: Item) -> Result:
        process = idle.get()
        try:
            result: Result = _ask(process, item)
        finally:
            idle.put(process)
        return result

    threads = ThreadPoolExecutor(workers)  # each only waits for its process
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(threads.submit(work, item))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for process in started:
            process.kill()
        threads.shutdown(cancel_futures=True)
        for process in started:
            process.communicate()


def _start(function: Any) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", "from tsdae_kit.corpus.process_pool import serve; serve()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    pickle.dump(function, process.stdin)  # type: ignore[arg-type]
    return process


def _ask(process: subprocess.Popen[bytes], item: Any) -> Any:
    try:
        pickle.dump(item, process.stdin)  # type: ignore[arg-type]
        process.stdin.flush()  # type: ignore[union-attr]
        result, trace = pickle.load(process.stdout)  # type: ignore[arg-type]
    except (OSError, EOFError, pickle.UnpicklingError) as error:
        raise KitError("A worker process died (out of memory?). Try again, with fewer --workers.") from error
    if isinstance(result, KitError):
        raise result
    if isinstance(result, Exception):
        raise result from RuntimeError(trace)
    return result


def serve() -> None:
    """Be a worker: read a function, then items, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the owner decides
    with os.fdopen(os.dup(1), "wb") as answers, os.fdopen(os.dup(0), "rb") as questions:
        os.dup2(2, 1)  # whatever a user's function prints must not fall among the answers
        try:
            function = pickle.load(questions)
            while True:
                item = pickle.load(questions)
                try:
                    answer = (function(item), "")
                except Exception as error:  # noqa: BLE001  # the owner raises it
                    answer = (error, traceback.format_exc())
                pickle.dump(answer, answers, protocol=pickle.HIGHEST_PROTOCOL)
                answers.flush()
        except (EOFError, BrokenPipeError):
            pass
