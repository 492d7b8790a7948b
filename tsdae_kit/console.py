"""Messages, tables and progress bars on the screen, without the frameworks' output.

Everything goes through the logger ``tsdae_kit``, so that the same lines reach the screen and a run's ``train.log``; a
program that configures logging itself gets them its own way. Colours and progress bars are for a terminal (with
ipywidgets, the bar is for a notebook too); pipes and files get the lines alone.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from tsdae_kit import distributed
from tsdae_kit.errors import discard_output

logger = logging.getLogger("tsdae_kit")
_VERDICT = re.compile(r"(?m)(?<=  | \(|, )(?:better|worse)(?=\)|\.?$)")  # as evaluation/tables.py writes them
_COLOURS = {"better": "32", "worse": "31"}  # green, red
_YELLOW = "33"


class _Screen(logging.StreamHandler[TextIO]):
    """A handler for standard output, with colours on a terminal; lines are written above a progress bar.

    A closed output (a pipe's reader is gone, a terminal hung up) ends no run: ``train.log`` has the lines.
    """

    def format(self, record: logging.LogRecord) -> str:
        text = _encodable(super().format(record), self.stream)
        if not _has_colours(self.stream):
            return text
        if record.levelno >= logging.WARNING:
            return _paint(text, _YELLOW)
        return _VERDICT.sub(lambda found: _paint(found[0], _COLOURS[found[0]]), text)

    def emit(self, record: logging.LogRecord) -> None:
        with tqdm.external_write_mode(self.stream):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        if isinstance(sys.exc_info()[1], (OSError, ValueError)):  # ValueError: Python's own stream was closed
            discard_output(self.stream)
        else:
            super().handleError(record)


def _encodable(text: str, stream: TextIO) -> str:
    """Return the text with question marks for the characters that the stream cannot encode."""
    encoding = stream.encoding or "utf-8"
    try:
        text.encode(encoding, stream.errors or "strict")
    except UnicodeEncodeError:
        return text.encode(encoding, "replace").decode(encoding)
    return text


def _has_colours(stream: TextIO) -> bool:
    """Return whether to use colours: https://no-color.org, https://force-color.org."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (stream.isatty() and os.environ.get("TERM") != "dumb")


def _paint(text: str, colour: str) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m"


def progress_bar(total: int, done: int) -> Any:
    """Return a progress bar of steps, to be updated and closed; shown only where our messages reach a terminal."""
    from tqdm import auto  # a notebook's bar is chosen, and looked for, at this import

    ours = logger.isEnabledFor(logging.INFO) and any(isinstance(handler, _Screen) for handler in logger.handlers)
    shown = "{l_bar}{bar}| step {n_fmt}/{total_fmt}"  # the lines know the time left
    return auto.tqdm(total=total, initial=done, disable=None if ours else True, leave=False, bar_format=shown)


@contextmanager
def show_messages() -> Iterator[None]:
    """Show our messages on standard output, unless the program has set up logging or a level of its own.

    Of several processes, rank 0 shows messages, the others errors alone. Blocks may be nested and in several threads:
    the first one sets up, the last one restores.
    """
    _shown.enter()
    try:
        yield
    finally:
        _shown.leave()


class _Shown:
    """The logger's set-up while messages are shown, and how to undo it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._undo: list[Callable[[], object]] = []

    def enter(self) -> None:
        others = distributed.rank() > 0
        with self._lock:
            self._inside += 1
            if self._inside > 1:
                return
            if not logger.hasHandlers():
                handler = _Screen(sys.stdout)
                handler.setFormatter(logging.Formatter("%(message)s"))
                logger.addHandler(handler)
                self._undo.append(partial(logger.removeHandler, handler))
            if others or (logger.level == logging.NOTSET and logger.getEffectiveLevel() > logging.INFO):
                self._undo.append(partial(logger.setLevel, logger.level))
                logger.setLevel(logging.ERROR if others else logging.INFO)

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            while not self._inside and self._undo:
                self._undo.pop()()


_shown = _Shown()


class _LogFile(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        """Ignore the error: a full disk must not end a run, and the screen has the line."""


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Append our messages, with times, to a file."""
    handler = _LogFile(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s"))
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        with suppress(OSError):  # what a full disk did not take is in the buffer still
            handler.close()


def table(rows: Sequence[tuple[str, ...]], header: tuple[str, ...] = ()) -> str:
    """Return rows as aligned text: the first column to the left, the others to the right."""
    lines = [header, *rows] if header else list(rows)
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    shown = ["  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
             for line in lines]  # fmt: skip
    if header:
        shown.insert(1, "-" * len(shown[0]))
    return "\n".join(shown)


def show_duration(seconds: float) -> str:
    """Return ``1h02m``, ``3m20s`` or ``12s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


def show_bytes(count: float) -> str:
    """Return ``310 MB`` or ``1.2 GB``, in powers of ten as disks are sold."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
