"""Implementation of the command ``report``: writes the page of one run, or a page that compares several.

A run leaves everything that the pages show in its folder. So nothing is measured here and no model is loaded, and a
run that still goes on has a page too.
"""

from __future__ import annotations

import logging
from pathlib import Path

from tsdae_kit.config.settings.finished_models import ReportSettings
from tsdae_kit.console import table
from tsdae_kit.filesystem import atomic_file, check_overwritable, check_writable
from tsdae_kit.reporting.comparison_page import SUMMARY_HEADER, make_comparison_page, summarise
from tsdae_kit.reporting.rendering import is_page
from tsdae_kit.reporting.run_page import write_run_page
from tsdae_kit.reporting.run_report import read_run
from tsdae_kit.run_folder import RunFolder

logger = logging.getLogger("tsdae_kit")


def write_pages(settings: ReportSettings) -> Path:
    """Write the page of one run into its folder, or one page that compares several runs; return its path.

    Raises:
        KitError: If a folder holds no run, a file no scores, or the page cannot be written.
    """
    folders = [Path(name) for name in settings.runs]
    if len(folders) == 1:
        check_writable(RunFolder(folders[0]).page)
        return write_run_page(folders[0], settings.scores)
    check_writable(settings.output)
    check_overwritable(settings.output, is_page)
    runs = {str(folder): read_run(folder, settings.scores) for folder in folders}
    logger.info("%s", table([(name, *summarise(run)) for name, run in runs.items()], SUMMARY_HEADER))
    settings.output.absolute().parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(settings.output) as page:
        page.write_text(make_comparison_page(runs), encoding="utf-8", errors="xmlcharrefreplace")
    return settings.output
