"""Command prepare: raw text in, a data set of noisy/clean pairs out. ``python -m tsdae_kit.prepare corpus.txt``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tsdae_kit.config.command_line import make_main, make_settings
from tsdae_kit.config.settings import PrepareSettings
from tsdae_kit.console import show_messages
from tsdae_kit.distributed import on_rank_0


def prepare_corpus(**given: Any) -> Path:
    """Turn texts into noisy/clean pairs; return the folder written.

    Args:
        **given: Fields of :class:`tsdae_kit.config.settings.PrepareSettings`, for example
            ``files=["corpus.txt"], output="data/prepared"``.

    Raises:
        KitError: For missing, empty or unreadable input, or an output folder that holds other data.
            Nothing is left under the output's name then.
    """
    settings = make_settings(PrepareSettings, given)
    from tsdae_kit.corpus.preparation import prepare  # pyarrow and the readers: after parsing

    with show_messages():
        return on_rank_0(lambda: prepare(settings), "prepare")


main = make_main(
    "prepare", prepare_corpus, PrepareSettings, "Turn raw text into noisy/clean sentence pairs for denoising training."
)


if __name__ == "__main__":
    main()
