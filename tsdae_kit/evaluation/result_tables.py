"""What a person sees of the scores: a table for each task, and one over all."""

from __future__ import annotations

from collections.abc import Sequence

from tsdae_kit.console import table
from tsdae_kit.evaluation.bootstrap import Difference
from tsdae_kit.evaluation.results import Result, average_over
from tsdae_kit.evaluation.tasks import is_proxy

PROXY = (
    "A proxy, for want of labels: it need not follow what labels say. A hundred labelled pairs of your own say more."
)


def show_task(results: Sequence[Result]) -> str:
    """Return the table of one task, a row for each model."""
    task = results[0].task
    main = task.metrics[0]
    rows = []
    for result in results:
        if result.scores:
            shown = [f"{result.scores[metric]:.1f}" for metric in task.metrics]
            rows.append((result.model, *shown, *_show_difference(result.differences.get(main))))
    compared = (f"difference in {main}", "95 % interval", "verdict") if len(rows) > 1 else ("", "", "")
    header = ("model", *task.metrics, *compared)
    lines = [f"{task.name}: {task.size}", table([_trim(row, rows) for row in rows], _trim(header, rows))]
    return "\n".join([*lines, PROXY] if is_proxy(task) else lines)


def _trim(row: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Return the row without the columns of comparison, if there is nothing to compare."""
    return row if len(rows) > 1 else row[:-3]


def _show_difference(difference: Difference | None) -> tuple[str, str, str]:
    if difference is None:
        return "", "", "reference"
    low, high = difference.interval
    return f"{difference.value:+.1f}", f"{low:+.1f} to {high:+.1f}", difference.verdict


def show_all(results: Sequence[Result], models: Sequence[str]) -> str:
    """Return one row for each task's main metric, a column for each model, and the average below."""
    by_task: dict[str, list[Result]] = {}
    for result in results:
        by_task.setdefault(result.task.name, []).append(result)
    rows = [(name, own[0].task.metrics[0], *(_show_cell(result) for result in own)) for name, own in by_task.items()]
    averages = average_over(results, models)
    if averages:
        cells = [f"{averages[model][0]:.1f}" if model in averages else "-" for model in models]
        rows.append(("average", "", *cells))
    lines = [table(rows, ("main score", "", *models))]
    for model in models:
        if model in averages and (difference := averages[model][1]) is not None:
            shown, interval, verdict = _show_difference(difference)
            lines.append(f"{model} against {models[0]}, on average: {shown} ({interval}), {verdict}.")
    return "\n".join(lines)


def _show_cell(result: Result) -> str:
    """Return the main score, with a word where the interval tells it from the reference's."""
    main = result.task.metrics[0]
    if main not in result.scores:
        return "-"
    difference = result.differences.get(main)
    told = f" ({difference.verdict})" if difference and difference.verdict in ("better", "worse") else ""
    return f"{result.scores[main]:.1f}{told}"
