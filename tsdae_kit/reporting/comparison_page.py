"""The page that compares runs: last figures, scores, curves, and the settings in which the runs differ."""

from __future__ import annotations

from collections.abc import Mapping

from tsdae_kit.reporting.metric_charts import make_metric_charts
from tsdae_kit.reporting.rendering import render
from tsdae_kit.reporting.run_page import show_setting
from tsdae_kit.reporting.run_report import RunReport
from tsdae_kit.reporting.score_table import ScoreRow, make_score_rows

_METRICS = {
    "training loss": "loss", "held-out loss": "eval_loss", "perplexity a word": "eval_perplexity",
    "sentences/s": "sentences_per_second",
}  # fmt: skip
SUMMARY_HEADER = ("run", "step", *_METRICS, "score at step 0", "best score")


def summarise(run: RunReport) -> tuple[str, ...]:
    """Return the last step, the last value of each metric, the score at step 0 and the best score, as texts."""
    last = [points[-1][1] if (points := run.curve(metric)) else None for metric in _METRICS.values()]
    scores = dict(run.curve("eval_score"))
    values = [*last, scores.get(0), max(scores.values(), default=None)]
    step = f"{run.last_step:,}" + ("" if run.finished else " (not finished)")
    return step, *("" if value is None else f"{value:.4g}" for value in values)


def make_comparison_page(runs: Mapping[str, RunReport]) -> str:
    """Return the page as HTML.

    Args:
        runs: By the name that the page shows.
    """
    score_tables = [(name, *_choose_scores(run)) for name, run in runs.items()]
    return render(
        "comparison.html.j2",
        title=f"{len(runs)} runs",
        summary_header=SUMMARY_HEADER,
        summary=[(name, *summarise(run)) for name, run in runs.items()],
        score_tables=[entry for entry in score_tables if entry[1]],
        charts=make_metric_charts(runs),
        differences_header=("setting", *runs),
        differences=_find_differences(runs),
    )


def _choose_scores(run: RunReport) -> tuple[list[ScoreRow], bool]:
    """Return the scores of ``evaluate``, or else the selection scores; and whether they are the latter."""
    if run.scores:
        return make_score_rows(run.scores), False
    return make_score_rows(run.selection_scores), True


def _find_differences(runs: Mapping[str, RunReport]) -> list[tuple[str, ...]]:
    """Return the settings that are not the same in all runs: name, and value in each run."""
    settings = [run.settings for run in runs.values()]
    names = dict.fromkeys(name for one in settings for name in one)
    return [
        (name, *(show_setting(one.get(name, "")) for one in settings))
        for name in names
        if any(one.get(name) != settings[0].get(name) for one in settings)
    ]
