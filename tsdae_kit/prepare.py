"""Command prepare: raw text in, a data set of noisy/clean pairs out. ``python -m tsdae_kit.prepare corpus.txt``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tsdae_kit.config.command_line import make_main
from tsdae_kit.config.conversion import make_settings
from tsdae_kit.config.keywords import keywords_of
from tsdae_kit.config.python_objects import DatasetLike, with_placeholder
from tsdae_kit.config.settings.preparation import PrepareSettings
from tsdae_kit.console import show_messages
from tsdae_kit.distributed import on_rank_0


@keywords_of(PrepareSettings)
def prepare_corpus(*, texts: Iterable[str] | DatasetLike | None = None, **settings: object) -> Path:
    """Turn texts into noisy/clean pairs; return the folder written.

    Args:
        texts: Texts, or a ``datasets.Dataset`` with a column ``text`` (or ``column``), instead of ``files``.
        **settings: The fields of :class:`tsdae_kit.config.settings.PrepareSettings`.

    Returns:
        The folder, to pass to :func:`tsdae_kit.adapt` as ``data``.

    Raises:
        KitError: For missing, empty or unreadable input, or an output folder that holds other data.
            Nothing is left under the output's name then.
    """
    resolved = make_settings(PrepareSettings, with_placeholder(settings, texts, "texts"))
    from tsdae_kit.corpus.preparation import prepare  # pyarrow: --help must not wait for it

    with show_messages():
        return on_rank_0(lambda: prepare(resolved, texts), "prepare")


main = make_main(
    "prepare", prepare_corpus, PrepareSettings, "Turn raw text into noisy/clean sentence pairs for denoising training."
)


if __name__ == "__main__":
    main()
