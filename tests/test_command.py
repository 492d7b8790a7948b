"""The command ``tsdae``: what a shell completes of it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tsdae_kit.__main__ import main

COMPLETE = """
source completion.bash
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
$(complete -p tsdae | sed 's/.*-F \\([^ ]*\\).*/\\1/') && echo "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("tsdae comp", "completion"),
        ("tsdae train --dec", "--decoder --decoder-learning-rate --decoder-warmup-steps"),
        ("tsdae train --decoder ", "auto cross-attention prefix"),
        ("tsdae train --add-words cor", "corpus.txt"),
        ("tsdae prepare --output out cor", "corpus.txt"),
        ("tsdae evaluate cor", "corpus.txt"),
        ("tsdae run cor", "corpus.txt"),
        ("tsdae train --seed cor", ""),
    ],
)
def test_bash_completes(typed: str, offered: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["completion", "bash"])
    Path("completion.bash").write_text(capsys.readouterr().out)
    Path("corpus.txt").touch()
    done = subprocess.run(
        ["bash", "-c", COMPLETE, "bash", *typed.split(" ")], capture_output=True, text=True, check=True
    )
    assert (done.stdout.strip(), done.stderr) == (offered, "")


def test_the_script_for_zsh_knows_the_values(capsys: pytest.CaptureFixture[str]) -> None:
    main(["completion", "zsh"])
    script = capsys.readouterr().out
    assert script.startswith("#compdef tsdae")
    assert ":decoder:(auto cross-attention prefix)" in script
