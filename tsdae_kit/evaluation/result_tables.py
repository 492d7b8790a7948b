"""The tables that ``evaluate`` shows: one for each task, and a summary over all tasks."""

from __future__ import annotations

from collections.abc import Sequence

from tsdae_kit.console import table
from tsdae_kit.evaluation.bootstrap import Difference
from tsdae_kit.evaluation.results import AVERAGE, Result, average_scores
from tsdae_kit.evaluation.tasks import main_metric


def format_task_table(results: Sequence[Result]) -> str:
    """Return the table of one task: a row for each model."""
    task = results[0].task
    scored = [result for result in results if result.scores]
    rows = [tuple(f"{result.scores[name]:.1f}" for name in task.metric_names) for result in scored]
    header: tuple[str, ...] = task.metric_names
    if len(scored) > 1:
        header += (f"difference in {main_metric(task)}", "95 % interval", "verdict")
        cells = [_format_difference(result.differences.get(main_metric(task))) for result in scored]
        rows = [(*scores, *difference) for scores, difference in zip(rows, cells, strict=True)]
    named_rows = [(result.model, *row) for result, row in zip(scored, rows, strict=True)]
    return f"{task.name}: {task.size}\n{table(named_rows, ('model', *header))}"


def _format_difference(difference: Difference | None) -> tuple[str, str, str]:
    if difference is None:
        return "", "", "reference"
    low, high = difference.interval
    return f"{difference.value:+.1f}", f"{low:+.1f} to {high:+.1f}", difference.verdict


def format_summary_table(results: Sequence[Result], models: Sequence[str]) -> str:
    """Return a table of main metrics: a row for each task, a column for each model, the average below."""
    by_task: dict[str, list[Result]] = {}
    for result in results:
        by_task.setdefault(result.task.name, []).append(result)
    rows = [(name, main_metric(own[0].task), *map(_format_score, own)) for name, own in by_task.items()]
    averages = average_scores(results, models)
    if averages:
        cells = [f"{averages[model].score:.1f}" if model in averages else "-" for model in models]
        rows.append((AVERAGE, "", *cells))
    lines = [table(rows, ("main score", "", *models))]
    for model, mean in averages.items():
        if mean.difference is not None:
            value, interval, verdict = _format_difference(mean.difference)
            lines.append(f"{model} against {models[0]}, on average: {value} ({interval}), {verdict}.")
    return "\n".join(lines)


def _format_score(result: Result) -> str:
    """Return the main score, followed by the verdict if it is ``better`` or ``worse``."""
    metric = main_metric(result.task)
    if metric not in result.scores:
        return "-"
    difference = result.differences.get(metric)
    verdict = f" ({difference.verdict})" if difference and difference.verdict in ("better", "worse") else ""
    return f"{result.scores[metric]:.1f}{verdict}"
