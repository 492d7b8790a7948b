"""The report of a preparation: the closing table in the log, and the same as a page."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from tsdae_kit.config.settings.preparation import PrepareSettings
from tsdae_kit.console import table
from tsdae_kit.corpus.corpus_statistics import CorpusStatistics, TableRow, compute_statistics
from tsdae_kit.corpus.formats import TEXT, TITLE
from tsdae_kit.corpus.prepared_folder import REPORT
from tsdae_kit.errors import warn_on_error
from tsdae_kit.filesystem import atomic_file
from tsdae_kit.reporting.prepared_page import make_prepared_page

logger = logging.getLogger("tsdae_kit")


@warn_on_error("The report could not be written", "The data is whole.")
def report_preparation(output: Path, manifest: dict[str, Any], settings: PrepareSettings) -> None:
    """Log the closing table, and write the page unless it is there already; an error costs the report alone."""
    statistics = compute_statistics(output, manifest, settings.model, settings.max_length)
    rows = [*_count_rows(manifest), *statistics.rows]
    logger.info("%s", table(rows))
    _log_titles(manifest, settings)
    _log_examples(manifest, statistics)
    page = make_prepared_page(rows, statistics.lengths, statistics.examples, manifest["examples"])
    path = output / REPORT
    if not path.exists() or path.read_text(encoding="utf-8") != page:
        with atomic_file(path) as temporary:
            temporary.write_text(page, encoding="utf-8", errors="xmlcharrefreplace")
    logger.info("Written to %s; the same as a page: %s", output, path)


def _count_rows(manifest: dict[str, Any]) -> list[TableRow]:
    rows = [("texts read", f"{manifest['read']:,}")]
    rows += [(f"  dropped: {reason}", f"{count:,}") for reason, count in manifest["dropped"].items()]
    rows += [("sentences to train on", f"{manifest['train']:,}"), ("sentences held out", f"{manifest['held_out']:,}")]
    return rows


def _log_titles(manifest: dict[str, Any], settings: PrepareSettings) -> None:
    columns = manifest.get("columns", {})
    titles = sum(count for name, count in columns.items() if name.lower() == TITLE)
    if titles and not settings.column:
        logger.info("%s of %s texts have a title, which stands before the text (--column text leaves titles out).",
                    f"{titles:,}", f"{columns.get(TEXT, 0):,}")  # fmt: skip


def _log_examples(manifest: dict[str, Any], statistics: CorpusStatistics) -> None:
    for reason, texts in manifest["examples"].items():
        logger.info("%s: %s", reason, " | ".join(f"{text:.60}" for text in texts if text.strip()))
    for clean, noisy in statistics.examples:
        logger.info("  clean: %.100s\n  noisy: %.100s", clean, noisy)
