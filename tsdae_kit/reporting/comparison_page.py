"""One page for several runs: their last figures, what they were scored, the settings in which they differ, curves."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from tsdae_kit.reporting.html import make_page, make_section, make_table
from tsdae_kit.reporting.run_page import RunFiles, draw_curve_charts, make_score_table, show_value

_FIGURES = {
    "training loss": "loss", "held-out loss": "eval_loss", "perplexity a word": "eval_perplexity",
    "sentences/s": "sentences_per_second",
}  # fmt: skip


def summarise(runs: Mapping[str, RunFiles]) -> list[tuple[str, ...]]:
    """Return a header and a row for each run: how far it came, its last figures, its base model's and best score."""
    return [("run", "step", *_FIGURES, "score at step 0", "best score"), *(_row(n, run) for n, run in runs.items())]


def _row(name: str, run: RunFiles) -> tuple[str, ...]:
    last = [points[-1][1] if (points := run.curve(metric)) else None for metric in _FIGURES.values()]
    scores = dict(run.curve("eval_score"))
    shown = [*last, scores.get(0), max(scores.values(), default=None)]
    state = f"{run.last_step:,}" + ("" if "finished_step" in run.record else " (not finished)")
    return name, state, *("" if value is None else f"{value:.4g}" for value in shown)


def draw_comparison(runs: Mapping[str, RunFiles]) -> str:
    """Return the page."""
    header, *rows = summarise(runs)
    scored = [
        f"<h3>{escape(name)}</h3>{shown}"
        for name, run in runs.items()
        if (shown := make_score_table(run.scores) or make_score_table(run.outcome.get("scores", []), chosen=True))
    ]
    return make_page(
        f"{len(runs)} runs",
        make_table(rows, header, css="numbers"),
        make_section("Before and after", *scored),
        make_section("Curves", draw_curve_charts(runs)),
        make_section("Settings that differ", make_table(*_differences(runs))),
    )


def _differences(runs: Mapping[str, RunFiles]) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    settings: list[dict[str, Any]] = [run.record["settings"] for run in runs.values()]
    names = list(dict.fromkeys(name for one in settings for name in one))
    rows = [
        (name, *(show_value(one.get(name, "")) for one in settings))
        for name in names
        if any(one.get(name) != settings[0].get(name) for one in settings)
    ]
    return rows, ("setting", *runs)
