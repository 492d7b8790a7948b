"""The data of a page's charts. ``templates/charts.html.j2`` draws them as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Points = Sequence[tuple[int, float]]  # (step, value)
_COLOURS = 6  # of the style sheet
_BARS = 30


@dataclass(frozen=True)
class Mark:
    """A vertical line in a chart.

    Attributes:
        step: Where it stands.
        label: What happens after this step.
    """

    step: int
    label: str


@dataclass(frozen=True)
class Axes:
    """The plot area of a chart, in units of the SVG, and the values that it spans.

    Attributes:
        last_step: The step at the right edge; the left edge is step 0.
        low: The value at the bottom.
        high: The value at the top.
    """

    last_step: int
    low: float
    high: float
    width: int = 360
    height: int = 200
    left: int = 46
    right: int = 352
    top: int = 8
    bottom: int = 178

    def x(self, step: float) -> float:
        """Return the position of a step."""
        return self.left + (self.right - self.left) * step / self.last_step

    def y(self, value: float) -> float:
        """Return the position of a value."""
        return self.top + (self.bottom - self.top) * (self.high - value) / (self.high - self.low)


@dataclass(frozen=True)
class Curve:
    """One curve of a chart; ``colour`` is a number of the style sheet's palette."""

    label: str
    colour: int
    points: Points


@dataclass(frozen=True)
class CurveChart:
    """A chart of curves over steps."""

    name: str
    axes: Axes
    curves: list[Curve]
    mark: Mark | None


def make_curve_chart(name: str, curves: Mapping[str, Points], mark: Mark | None = None) -> CurveChart | None:
    """Return a chart, or ``None`` if no curve has a finite point.

    Args:
        name: The chart's caption.
        curves: Points by label.
        mark: Drawn only between the first and the last step.
    """
    finite = {label: [point for point in points if math.isfinite(point[1])] for label, points in curves.items()}
    finite = {label: points for label, points in finite.items() if points}
    if not finite:
        return None
    steps, values = zip(*(point for points in finite.values() for point in points), strict=True)
    last, low, high = max(*steps, 1), min(values), max(values)
    if low == high:
        low, high = low - abs(low) / 2, high + abs(high) / 2 or 1.0
    drawn = [Curve(label, i % _COLOURS, points) for i, (label, points) in enumerate(finite.items())]
    return CurveChart(name, Axes(last, low, high), drawn, mark if mark and 0 < mark.step < last else None)


@dataclass(frozen=True)
class Bar:
    """A bar of a histogram: its geometry, and how many values lie from ``first`` to ``last``."""

    x: float
    width: float
    height: float
    first: int
    last: int
    count: int


@dataclass(frozen=True)
class Histogram:
    """A histogram of whole numbers from 0.

    Attributes:
        unit: What was counted.
        counts: The number of values in each bar; the last bar holds all higher values too.
        bar_span: How many whole numbers a bar spans.
        highest: The 99th percentile.
    """

    unit: str
    counts: list[int]
    bar_span: int
    highest: int
    width: int = 270
    height: int = 110

    def bars(self) -> Iterator[Bar]:
        """Yield the bars from left to right."""
        distance, most = self.width / len(self.counts), max(self.counts)
        for i, count in enumerate(self.counts):
            first = i * self.bar_span
            height = self.height * count / most
            yield Bar(i * distance, distance - 1, height, first, first + self.bar_span - 1, count)


def make_histogram(unit: str, values: NDArray[Any]) -> Histogram:
    """Return the histogram of whole numbers."""
    highest = max(int(np.percentile(values, 99, method="higher")), 1)
    span = -(-highest // _BARS)
    return Histogram(unit, np.bincount(np.minimum(values // span, highest // span)).tolist(), span, highest)
