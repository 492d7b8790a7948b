"""Pages of runs: one run's is made again from its folder, several are put beside each other.

``python -m tsdae_kit.report RUN...``. Nothing is measured here and no model is loaded: a run leaves what
it has to show in its folder, so a page can be made anywhere the folder is, also of a run that still goes on.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from tsdae_kit.console import show_messages, table
from tsdae_kit.folders import check_own_file, check_place, new_file
from tsdae_kit.options import make_main, make_settings
from tsdae_kit.pages.comparison import draw_comparison, summarise
from tsdae_kit.pages.elements import is_page
from tsdae_kit.pages.run import PAGE, read_run, write_run_page
from tsdae_kit.processes import once
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
    with show_messages():
        page = once("report", lambda: _write(settings))
        logger.info("Written: %s", page)
    return page


def _write(settings: ReportSettings) -> Path:
    folders = [Path(name) for name in settings.runs]
    if len(folders) == 1:
        check_place(folders[0] / PAGE)
        return write_run_page(folders[0], settings.scores)
    check_place(settings.output)
    check_own_file(settings.output, is_page)
    runs = {str(folder): read_run(folder, settings.scores) for folder in folders}
    header, *rows = summarise(runs)
    logger.info("%s", table(rows, header))
    settings.output.absolute().parent.mkdir(parents=True, exist_ok=True)
    with new_file(settings.output) as page:
        page.write_text(draw_comparison(runs), encoding="utf-8", errors="xmlcharrefreplace")
    return settings.output


main = make_main(
    "report", write_report, ReportSettings, "Make a run's page again, or one page that compares several runs."
)


if __name__ == "__main__":
    main()
