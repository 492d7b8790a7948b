"""Pages of runs: one run's is made again from its folder, several are put beside each other.

``python -m tsdae_kit.report RUN...``. Nothing is measured here and no model is loaded: a run leaves what
it has to show in its folder, so a page can be made anywhere the folder is, also of a run that still goes on.
"""

from __future__ import annotations

import logging
from pathlib import Path

from tsdae_kit.config.settings import ReportSettings
from tsdae_kit.console import table
from tsdae_kit.filesystem import atomic_file, check_overwritable, check_writable
from tsdae_kit.reporting.comparison_page import draw_comparison, summarise
from tsdae_kit.reporting.html import is_page
from tsdae_kit.reporting.run_page import PAGE, read_run, write_run_page

logger = logging.getLogger("tsdae_kit")


def write_pages(settings: ReportSettings) -> Path:
    """Write the page of one run into its folder, or one page for several runs; return its path."""
    folders = [Path(name) for name in settings.runs]
    if len(folders) == 1:
        check_writable(folders[0] / PAGE)
        return write_run_page(folders[0], settings.scores)
    check_writable(settings.output)
    check_overwritable(settings.output, is_page)
    runs = {str(folder): read_run(folder, settings.scores) for folder in folders}
    header, *rows = summarise(runs)
    logger.info("%s", table(rows, header))
    settings.output.absolute().parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(settings.output) as page:
        page.write_text(draw_comparison(runs), encoding="utf-8", errors="xmlcharrefreplace")
    return settings.output
