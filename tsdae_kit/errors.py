"""Errors and signals that end a command, with their line and exit code."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

logger = logging.getLogger("tsdae_kit")


class KitError(Exception):
    """An error that the user can mend: one line, exit code 2, no traceback."""

    def __str__(self) -> str:
        return " ".join(super().__str__().splitlines())  # names of files and columns may hold line ends


class RunStopped(BaseException):  # no error: the run waits to be resumed, whatever a library catches
    """A signal ended the run and its state is saved: one line, exit code 75 (EX_TEMPFAIL): a scheduler requeues."""


class NoGain(Exception):  # noqa: N818  # the run is well, its result is not
    """No step of a run beat the base model: one line, exit code 1, where ``--require-gain`` asks for it."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, without its full stop; of an error without text, its type's name."""
    lines = str(error).strip().splitlines()
    return (lines and lines[0].strip().rstrip(".")) or type(error).__name__


@contextmanager
def warn_on_error(failure: str, reassurance: str) -> Iterator[None]:
    """Turn any error in this block (or function, as a decorator) into one warning, with a traceback for level DEBUG.

    Args:
        failure: What failed.
        reassurance: What is complete all the same; a sentence.
    """
    try:
        yield
    except Exception as error:  # whatever it is, it must not cost the work that is done
        debug = logger.isEnabledFor(logging.DEBUG)
        logger.warning("!!! %s (%s). %s", failure, first_line(error), reassurance, exc_info=debug)


def discard_output(stream: TextIO) -> None:
    """Discard what is in the buffer and what is written later: nobody reads the other end any more."""
    with suppress(OSError, ValueError, AttributeError):  # it may be no file at all
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def end_output() -> None:
    """Flush standard output; a closed pipe (``... | head``) is no error."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except (OSError, ValueError):
        discard_output(sys.stdout)


def exit_code(error: BaseException) -> int:
    """Return the exit code of a command that raises this error."""
    codes = {KitError: 2, NoGain: 1, RunStopped: 75, KeyboardInterrupt: 130}
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        return error.code
    if isinstance(error, OSError) and error.errno is not None:
        return 2
    return next((code for kind, code in codes.items() if isinstance(error, kind)), 1)


def run_command(prog: str, command: Callable[[], object]) -> None:
    """Run a command; an error that the user can mend becomes one line on standard error and exit code 2."""
    try:
        command()
    except (KitError, NoGain, RunStopped) as error:
        message, code = str(error), exit_code(error)
    except KeyboardInterrupt as error:
        message, code = "Interrupted; what was saved before is whole.", exit_code(error)
    except OSError as error:
        if error.errno is None:
            raise
        where = f"{error.filename}: " if error.filename else ""
        message, code = f"{where}{error.strerror}. Check the place's permissions and free space.", exit_code(error)
    else:
        return
    finally:
        end_output()
    with suppress(OSError, AttributeError):  # it may be closed too
        sys.stderr.write(f"{prog}: {message}\n")
    sys.exit(code)
