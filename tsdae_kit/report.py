"""Pages of runs: one run's is made again from its folder, several are put beside each other.

``python -m tsdae_kit.report RUN...``. Nothing is measured here and no model is loaded: a run leaves what
it has to show in its folder, so a page can be made anywhere the folder is, also of a run that still goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tsdae_kit.console import show_messages, table
from tsdae_kit.errors import run_command
from tsdae_kit.folders import new_file
from tsdae_kit.options import make_settings, parse_arguments
from tsdae_kit.pages.comparison import draw_comparison, summarise
from tsdae_kit.pages.run import read_run, write_run_page
from tsdae_kit.settings import ReportSettings

logger = logging.getLogger("tsdae_kit")


def write_report(**given: Any) -> Path:
    """Write the page of a run, or one that compares several; return its path.

    Args:
        **given: Fields of :class:`tsdae_kit.settings.ReportSettings`, for example ``runs=["runs/tsdae"]``.

    Raises:
        KitError: If a folder holds no run, or a file no scores.
    """
    settings = make_settings(ReportSettings, given)
    folders = [Path(name) for name in settings.runs]
    with show_messages():
        if len(folders) == 1:
            page = write_run_page(folders[0], settings.scores)
        else:
            runs = {str(folder): read_run(folder, settings.scores) for folder in folders}
            header, *rows = summarise(runs)
            logger.info("%s", table(rows, header))
            with new_file(settings.output) as page:
                page.write_text(draw_comparison(runs), encoding="utf-8")
            page = settings.output
        logger.info("Written: %s", page)
    return page


def main(argv: Sequence[str] | None = None) -> None:
    """Run ``python -m tsdae_kit.report``."""
    prog = "python -m tsdae_kit.report"
    description = "Make a run's page again, or one page that compares several runs."
    run_command(prog, lambda: write_report(**parse_arguments(ReportSettings, prog, description, argv)))


if __name__ == "__main__":
    main()
