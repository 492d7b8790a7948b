"""The score table of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class ScoreRow(NamedTuple):
    """A row of the table, as texts."""

    data: str
    model: str
    metric: str
    score: str
    difference: str
    interval: str
    verdict: str


def select_main_rows(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the rows of each task's main metric, which stands first."""
    main: dict[str, str] = {}
    for row in rows:
        main.setdefault(row["task"], row["metric"])
    return [row for row in rows if row["metric"] == main[row["task"]]]


def make_score_rows(rows: Sequence[Mapping[str, Any]]) -> list[ScoreRow]:
    """Return a table row for the main metric of each task and model."""
    is_comparison = any("difference" in row for row in rows)
    return [
        ScoreRow(
            row["task"],
            row["model"],
            row["metric"],
            f"{row['score']:.1f}",
            *_show_difference(row, is_comparison),
        )
        for row in select_main_rows(rows)
    ]


def _show_difference(row: Mapping[str, Any], is_comparison: bool) -> tuple[str, str, str]:
    if "difference" not in row:
        return "", "", "reference" if is_comparison else ""
    low, high = row["interval"]
    return f"{row['difference']:+.1f}", f"{low:+.1f} to {high:+.1f}", row["verdict"]
