"""Command report: writes a run's page again, or compares several runs. ``python -m tsdae_kit.report RUN...``."""

from __future__ import annotations

from pathlib import Path

from tsdae_kit.config.command_line import make_main
from tsdae_kit.config.conversion import make_settings
from tsdae_kit.config.keywords import keywords_of
from tsdae_kit.config.settings.finished_models import ReportSettings
from tsdae_kit.console import logger, show_messages
from tsdae_kit.distributed import on_rank_0


@keywords_of(ReportSettings)
def write_report(**settings: object) -> Path:
    """Write the page of a run, or one that compares several; return its path.

    Args:
        **settings: The fields of :class:`tsdae_kit.config.settings.ReportSettings`.

    Raises:
        KitError: If a folder holds no run, or a file no scores.
    """
    resolved = make_settings(ReportSettings, settings)

    def run() -> Path:
        from tsdae_kit.reporting.pages import write_pages  # numpy and Jinja: --help must not wait for them

        return write_pages(resolved)

    with show_messages():
        page = on_rank_0(run, "report")
        logger.info("Written: %s", page)
    return page


main = make_main(
    "report", write_report, ReportSettings, "Make a run's page again, or one page that compares several runs."
)


if __name__ == "__main__":
    main()
