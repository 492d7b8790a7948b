"""Command report: writes a run's page again, or compares several runs. ``python -m tsdae_kit.report RUN...``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tsdae_kit.config.command_line import make_main, make_settings
from tsdae_kit.config.settings import ReportSettings
from tsdae_kit.console import logger, show_messages
from tsdae_kit.distributed import on_rank_0


def write_report(**given: Any) -> Path:
    """Write the page of a run, or one that compares several; return its path.

    Args:
        **given: Fields of :class:`tsdae_kit.config.settings.ReportSettings`, for example ``runs=["runs/tsdae"]``.

    Raises:
        KitError: If a folder holds no run, or a file no scores.
    """
    settings = make_settings(ReportSettings, given)
    from tsdae_kit.reporting.pages import write_pages  # numpy and Jinja: after parsing

    with show_messages():
        page = on_rank_0(lambda: write_pages(settings), "report")
        logger.info("Written: %s", page)
    return page


main = make_main(
    "report", write_report, ReportSettings, "Make a run's page again, or one page that compares several runs."
)


if __name__ == "__main__":
    main()
