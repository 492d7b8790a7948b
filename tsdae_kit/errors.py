"""What ends a command before its work is done, and the line and exit code that it ends with."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

logger = logging.getLogger("tsdae_kit")


class KitError(Exception):
    """Something the user can mend: shown as one line, exit code 2, no traceback."""

    def __str__(self) -> str:
        return " ".join(super().__str__().splitlines())  # names of files and columns may hold line ends


class RunStopped(BaseException):  # no error: the run waits to be resumed, whatever a library catches
    """A signal ended the run, its state whole: one line, exit code 75 (EX_TEMPFAIL), for a scheduler to requeue."""


class NoGain(Exception):  # noqa: N818  # the run is well, its result is not
    """No step of a run beat the base model: one line, exit code 1, where ``--require-gain`` asks for it."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, without its full stop; of an error without text, its type's name."""
    lines = str(error).strip().splitlines()
    return (lines and lines[0].strip().rstrip(".")) or type(error).__name__


@contextmanager
def warn_on_error(fault: str, consolation: str) -> Iterator[None]:
    """Turn any error in this block (or function, as a decorator) into one warning, with a traceback for level DEBUG.

    Args:
        fault: What did not go well.
        consolation: What is whole all the same; a sentence.
    """
    try:
        yield
    except Exception as error:  # whatever it is, it must not cost the work that is done
        debug = logger.isEnabledFor(logging.DEBUG)
        logger.warning("!!! %s (%s). %s", fault, first_line(error), consolation, exc_info=debug)


def discard_output(stream: TextIO) -> None:
    """Let what is written from now on, and what is in the buffer, go nowhere: nobody reads the other end any more."""
    with suppress(OSError, ValueError, AttributeError):  # it may be no file at all
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def end_output() -> None:
    """Flush standard output; where that fails (``... | head``), it is no error."""
    try:
        if sys.stdout:
            sys.stdout.flush()
    except (OSError, ValueError):
        discard_output(sys.stdout)


def exit_code(error: BaseException) -> int:
    """Return the code with which a command ends that raises this."""
    codes = {KitError: 2, NoGain: 1, RunStopped: 75, KeyboardInterrupt: 130}
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        return error.code
    if isinstance(error, OSError) and error.errno is not None:
        return 2
    return next((code for kind, code in codes.items() if isinstance(error, kind)), 1)


def run_command(prog: str, command: Callable[[], object]) -> None:
    """Run a stage's command; what the user can mend becomes one line on standard error and exit code 2."""
    try:
        command()
    except (KitError, NoGain, RunStopped) as error:
        fault, code = str(error), exit_code(error)
    except KeyboardInterrupt as error:
        fault, code = "Interrupted; what was saved before is whole.", exit_code(error)
    except OSError as error:
        if error.errno is None:
            raise
        where = f"{error.filename}: " if error.filename else ""
        fault, code = f"{where}{error.strerror}. Check the place's permissions and free space.", exit_code(error)
    else:
        return
    finally:
        end_output()
    with suppress(OSError, AttributeError):  # it may be closed too
        sys.stderr.write(f"{prog}: {fault}\n")
    sys.exit(code)
