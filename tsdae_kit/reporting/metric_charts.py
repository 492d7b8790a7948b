"""The charts of the metrics of one run or several."""

from __future__ import annotations

from collections.abc import Mapping

from tsdae_kit.reporting.charts import CurveChart, Mark, Points, make_curve_chart
from tsdae_kit.reporting.run_report import RunReport

_COMPONENT = "loss_"  # begins the name of a loss component's metric


def make_metric_charts(runs: Mapping[str, RunReport], mark: Mark | None = None) -> list[CurveChart]:
    """Return a chart for each metric that has points, with a curve for each run.

    Args:
        runs: By the name that the legend shows; the name of a single run may be empty.
        mark: The end of the decoder's warm-up.
    """
    charts = [
        _make_chart(runs, "loss", {"training": "loss", "held-out": "eval_loss"}, mark),
        _make_chart(runs, "parts of the loss, weighted", _find_components(runs), mark),
        _make_chart(runs, "score on the evaluation data", {"score": "eval_score"}, mark),
        _make_chart(runs, "learning rate of the encoder", {"rate": "learning_rate"}, mark),
        _make_chart(runs, "sentences a second", {"speed": "sentences_per_second"}, None),
    ]
    return [chart for chart in charts if chart]


def _find_components(runs: Mapping[str, RunReport]) -> dict[str, str]:
    """Return the metrics of the loss components by label; none for several runs, or for a loss of one component."""
    names = {name for run in runs.values() for entry in run.metrics for name in entry if name.startswith(_COMPONENT)}
    return {name.removeprefix(_COMPONENT): name for name in sorted(names)} if len(runs) == 1 < len(names) else {}


def _make_chart(
    runs: Mapping[str, RunReport], name: str, metrics: Mapping[str, str], mark: Mark | None
) -> CurveChart | None:
    curves = {
        " ".join(filter(None, (run_name, label if len(metrics) > 1 else ""))) or name: _points(run, metric)
        for run_name, run in runs.items()
        for label, metric in metrics.items()
    }
    return make_curve_chart(name, curves, mark)


def _points(run: RunReport, metric: str) -> Points:
    """Return a metric's curve; the speed has no value at step 0."""
    return [point for point in run.curve(metric) if point[0] or metric != "sentences_per_second"]
