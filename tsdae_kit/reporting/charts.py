"""Charts as inline SVG: a page needs neither script nor network, and follows the reader's light or dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

Points = Sequence[tuple[float, float]]
_WIDTH, _HEIGHT = 360, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 8, 22  # around what is drawn
_COLOURS = 6


def draw_curves(name: str, curves: Mapping[str, Points], mark: tuple[int, str] | None = None) -> str:
    """Return a chart of curves over steps; nothing, if none has a point.

    Args:
        name: What is drawn.
        curves: Points (step, value) by name.
        mark: A step, and what happened there.
    """
    curves = {
        label: finite for label, points in curves.items() if (finite := [p for p in points if math.isfinite(p[1])])
    }
    if not curves:
        return ""
    steps = [step for points in curves.values() for step, _ in points]
    values = [value for points in curves.values() for _, value in points]
    last, low, high = max(*steps, 1), min(values), max(values)
    if low == high:
        low, high = low - abs(low) / 2, high + abs(high) / 2 or 1.0

    def place(step: float, value: float) -> tuple[float, float]:
        x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * step / last
        return x, _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - value) / (high - low)

    drawn = [_axes(low, high, last)]
    if mark and 0 < mark[0] < last:
        x = place(mark[0], low)[0]
        drawn.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" stroke="var(--faint)" '
            f'stroke-dasharray="3 3"><title>{escape(mark[1])}</title></line>'
        )
    drawn += [_curve(label, points, i % _COLOURS, place) for i, (label, points) in enumerate(curves.items())]
    keys = "".join(
        f' <span style="color:var(--c{i % _COLOURS})">&#9632;</span>&nbsp;{escape(label)}'
        for i, label in enumerate(curves)
        if label != name
    )
    return _figure(name, _WIDTH, _HEIGHT, "".join(drawn), f"{escape(name)}{keys}")


def _axes(low: float, high: float, last: float) -> str:
    bottom = _HEIGHT - _BOTTOM
    lines = "".join(
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}" stroke="var(--line)"/>' for y in (_TOP, bottom)
    )
    labels = ((_LEFT - 5, _TOP + 9, "end", f"{high:.3g}"), (_LEFT - 5, bottom, "end", f"{low:.3g}"),
              (_LEFT, bottom + 16, "start", "0"), (_WIDTH - _RIGHT, bottom + 16, "end", f"step {last:,}"))  # fmt: skip
    return lines + "".join(_label(*label) for label in labels)


def _curve(label: str, points: Points, colour: int, place: Any) -> str:
    line = " ".join("{:.1f},{:.1f}".format(*place(*point)) for point in points)
    dots = ""
    if len(points) <= 60:
        for step, value in points:
            x, y = place(step, value)
            shown = f"{escape(label)}: {value:.6g} at step {step:,.0f}"
            dots += f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.2" fill="var(--c{colour})"><title>{shown}</title></circle>'
    return f'<polyline points="{line}" fill="none" stroke="var(--c{colour})" stroke-width="1.6"/>{dots}'


def draw_histogram(unit: str, values: NDArray[Any], bars: int = 30, width: int = 270, height: int = 110) -> str:
    """Return a histogram of whole numbers from 0; the last bar holds all above the 99th percentile."""
    top = max(int(np.percentile(values, 99, method="higher")), 1)
    step = -(-top // bars)
    counts = np.bincount(np.minimum(values // step, top // step))
    wide, highest = width / len(counts), counts.max()
    drawn = "".join(
        f'<rect x="{i * wide:.1f}" y="{height * (1 - count / highest):.1f}" width="{wide - 1:.1f}" fill="var(--c0)" '
        f'height="{height * count / highest:.1f}"><title>{i * step} to {i * step + step - 1}: {count:,}</title></rect>'
        for i, count in enumerate(counts)
    )
    drawn += _label(0, height + 13, "start", "0") + _label(width, height + 13, "end", f"{top:,}")
    return _figure(f"Histogram of {unit}", width, height + 16, drawn, escape(unit))


def _label(x: float, y: float, anchor: str, text: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="var(--faint)" font-size="11">{text}</text>'


def _figure(name: str, width: int, height: int, drawn: str, caption: str) -> str:
    return (
        f'<figure><svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(name)}">{drawn}</svg>'
        f"<figcaption>{caption}</figcaption></figure>"
    )
