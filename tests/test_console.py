"""What a terminal shows and a pipe does not: colours, and a bar under the lines."""

from __future__ import annotations

import fcntl
import io
import logging
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from tqdm import tqdm

from tests.tiny import make_sentences
from tsdae_kit import adapt
from tsdae_kit.console import log_file, show_messages

logger = logging.getLogger("tsdae_kit")
GREEN, RED, YELLOW, PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[33m", "\x1b[0m"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


Show = Callable[..., str]


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Show:
    """Return what shows one line and gives what was written; a program without logging of its own."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)

    def write(
        line: str, level: int = logging.INFO, stream: io.StringIO | None = None, own: logging.Handler | None = None
    ) -> str:
        stream = stream or Terminal()
        monkeypatch.setattr(logger, "propagate", False)
        monkeypatch.setattr(logger, "handlers", [own] if own else [])  # none of pytest's
        monkeypatch.setattr("sys.stdout", stream)
        with show_messages(), log_file(Path("train.log")):
            logger.log(level, "%s", line)
        return stream.getvalue()

    return write


@pytest.mark.parametrize(
    ("line", "coloured"),
    [
        ("a/model  84.1  +1.6  better\nbase     82.6", f"a/model  84.1  +1.6  {GREEN}better{PLAIN}\nbase     82.6"),
        ("field  84.1 (worse)  80.0", f"field  84.1 ({RED}worse{PLAIN})  80.0"),
        ("a against b: +1.0 (+0.5 to +1.5), better.", f"a against b: +1.0 (+0.5 to +1.5), {GREEN}better{PLAIN}."),
        ("3 evaluations without a better score.", "3 evaluations without a better score."),
    ],
)
def test_a_verdict_has_its_colour(show: Show, line: str, coloured: str) -> None:
    assert show(line) == coloured + "\n"


@pytest.mark.parametrize(
    ("environment", "is_yellow"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False)],
)
def test_a_warning_is_yellow_on_a_terminal_that_wants_it(
    show: Show, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], is_yellow: bool
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert show("careful", logging.WARNING) == (f"{YELLOW}careful{PLAIN}\n" if is_yellow else "careful\n")
    assert Path("train.log").read_text().endswith("  careful\n")  # which is no terminal


@pytest.mark.parametrize(("force", "written"), [("", "careful\n"), ("1", f"{YELLOW}careful{PLAIN}\n")])
def test_a_pipe_has_colours_only_by_force(
    show: Show, monkeypatch: pytest.MonkeyPatch, force: str, written: str
) -> None:
    monkeypatch.setenv("FORCE_COLOR", force)
    assert show("careful", logging.WARNING, io.StringIO()) == written


def test_a_program_with_logging_of_its_own_gets_plain_lines(show: Show) -> None:
    terminal = Terminal()
    assert not show("careful", logging.WARNING, own=logging.StreamHandler(terminal))
    assert terminal.getvalue() == "careful\n"


@pytest.mark.parametrize(
    ("level", "shown"), [(logging.NOTSET, "a\nb\n"), (logging.WARNING, "b\n"), (logging.DEBUG, "a\nb\n")]
)
def test_a_program_sets_the_level_of_our_lines(
    level: int, shown: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "level", level)
    logger.manager._clear_cache()  # type: ignore[attr-defined]
    with show_messages(), show_messages():
        logger.info("a")
        logger.warning("b")
    assert capsys.readouterr().out == shown
    assert (logger.level, logger.handlers) == (level, [])


def test_threads_that_show_messages_leave_the_logger_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first to come need not be the last to go: its handler went while the other still spoke."""
    stream = io.StringIO()
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr("sys.stdout", stream)
    first, second = show_messages(), show_messages()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    logger.info("still here")
    second.__exit__(None, None, None)
    logger.info("no longer")
    assert stream.getvalue() == "still here\n"
    assert (logger.level, logger.handlers) == (logging.NOTSET, [])


def test_a_reader_that_has_gone_is_no_error(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """As in ``... | head``; a run must go on, and its log have the lines."""
    ours, its = os.pipe()
    os.close(ours)
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [])
    with os.fdopen(its, "w") as stream:
        monkeypatch.setattr("sys.stdout", stream)
        with show_messages(), log_file(Path("train.log")):
            logger.info("one")
            logger.info("two")
        monkeypatch.undo()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "arguments", [["schema"], ["train", "--help"], ["--help"], ["prepare", "corpus.txt", "--output", "out"]]
)
def test_a_command_whose_output_nobody_reads_ends_quietly(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("\n".join(make_sentences(50)))
    ours, its = os.pipe()
    os.close(ours)
    done = subprocess.run(
        [sys.executable, "-m", "tsdae_kit", *arguments], cwd=tmp_path, stdout=its, stderr=subprocess.PIPE, text=True
    )
    os.close(its)
    assert (done.returncode, done.stderr) == (0, "")
    assert "prepare" not in arguments or (tmp_path / "out" / "report.html").is_file()


@pytest.mark.parametrize(
    ("encoding", "shown"), [("ascii", "na?ve ?: ?\n"), ("latin-1", "naïve ?: ?\n"), ("utf-8", "naïve 心: ?\n")]
)
def test_what_the_terminal_cannot_encode_is_replaced_and_the_log_has_it(
    encoding: str, shown: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The last is a byte of a file's name that is no UTF-8."""
    raw = io.BytesIO()
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding=encoding))
    with show_messages(), log_file(Path("train.log")):
        logger.info("naïve 心: \udcff")
    assert raw.getvalue().decode(encoding) == shown
    assert Path("train.log").read_text(encoding="utf-8").endswith("naïve 心: \\udcff\n")
    assert capfd.readouterr().err == ""


def run(command: list[str], terminal: bool) -> str:
    """Run a command on a terminal, or with a pipe; return what came out."""
    if not terminal:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    with subprocess.Popen(command, stdout=its, stderr=its) as process:
        os.close(its)
        shown = b""
        with suppress(OSError):  # Linux says so that the other end is closed
            while part := os.read(ours, 4096):
                shown += part
        assert process.wait() == 0
    os.close(ours)
    return shown.decode().replace("\r\n", "\n")


STEPS = """
import logging
from tsdae_kit import adapt
from tsdae_kit.console import progress_bar, show_messages
with show_messages():
    bar = progress_bar(total=3, done=1)
    for step in (2, 3):
        bar.update(1)
        logging.getLogger("tsdae_kit").info("loss of step %d", step)
    bar.close()
"""


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_has_a_bar_under_whole_lines_and_a_pipe_the_lines_alone(terminal: bool) -> None:
    shown = run([sys.executable, "-c", STEPS], terminal)
    assert ("| step 1/3" in shown and "| step 3/3" in shown) == terminal
    left = [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in shown.split("\n")]  # the rest is overwritten
    assert left == ["loss of step 2", "loss of step 3", ""]


def test_a_resumed_runs_bar_begins_where_it_continues(
    tiny_model: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars = []

    def make_bar(total: int, done: int) -> tqdm:
        bars.append(tqdm(total=total, initial=done, file=io.StringIO()))
        return bars[-1]

    monkeypatch.setattr("tsdae_kit.training.progress.progress_bar", make_bar)
    given = {"model": str(tiny_model), "data": tiny_data, "batch_size": 8, "save_steps": 2, "device": "cpu"}
    for steps in (2, 5):
        adapt(**given, max_steps=steps, decoder_warmup_steps=0, resume=True)
    assert [(bar.total, bar.initial, bar.n, bar.disable) for bar in bars] == [(2, 0, 2, True), (5, 2, 5, True)]
