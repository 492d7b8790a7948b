"""The page of one run, made from the run's folder alone, at any time: a part that is not there yet is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tsdae_kit.filesystem import atomic_file
from tsdae_kit.reporting.charts import Mark
from tsdae_kit.reporting.metric_charts import make_metric_charts
from tsdae_kit.reporting.rendering import render
from tsdae_kit.reporting.run_report import RunReport, read_run
from tsdae_kit.reporting.score_table import make_score_rows
from tsdae_kit.reporting.verdict import make_verdict


def write_run_page(folder: Path, scores: Path | None = None) -> Path:
    """Write the page into the run's folder; return its path.

    Args:
        folder: The run's.
        scores: As in :func:`read_run`.

    Raises:
        KitError: As :func:`read_run`.
    """
    run = read_run(folder, scores)
    page = make_run_page(run)
    with atomic_file(run.folder.page) as path:
        path.write_text(page, encoding="utf-8", errors="xmlcharrefreplace")
    return run.folder.page


def make_run_page(run: RunReport) -> str:
    """Return the page as HTML."""
    settings, record, measurements = run.settings, run.record, run.measurements
    finished = f", finished {record['finished']}" if record.get("finished") else ""
    warmup = settings.get("decoder_warmup_steps")
    mark = Mark(warmup, "the encoder learns too") if warmup else None
    return render(
        "run.html.j2",
        title=f"{settings['model']} to {run.folder.final}",
        begun=f"Begun {record.get('started', 'at an unknown time')}{finished}.",
        verdict=make_verdict(run),
        scores=make_score_rows(run.scores),
        selection_scores=make_score_rows(run.selection_scores),
        charts=make_metric_charts({"": run}, mark),
        mark=mark,
        about=record.get("about", {}),
        neighbours=measurements.get("neighbours", []),
        searched=measurements.get("searched", 0),
        rebuilt=[(row["clean"], row["noisy"], row["rebuilt"]) for row in measurements.get("rebuilt", [])],
        rebuilt_at=measurements.get("rebuilt_at"),
        settings=[(name, show_setting(value)) for name, value in settings.items() if not _is_unset(value)],
        versions=list(record.get("versions", {}).items()),
    )


def _is_unset(value: object) -> bool:
    return value is None or value is False or value == []


def show_setting(value: Any) -> str:
    """Return a setting's value as text."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
