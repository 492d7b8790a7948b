"""The report as one HTML page: no script, nothing from the network, light and dark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsdae_kit.text.look import Look

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --faint: #68707a; --line: #d8dde3; --bar: #2f6f9f; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ec; --paper: #15181c; --faint: #98a1ab; --line: #343b43; --bar: #6fb1e0; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 56rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; width: 100% } td, th { border-bottom: 1px solid var(--line); padding: .3rem .6rem;
  text-align: left; vertical-align: top; overflow-wrap: anywhere } .numbers td:last-child { text-align: right;
  font-variant-numeric: tabular-nums } .numbers { width: auto }
.charts { display: flex; flex-wrap: wrap; gap: 1.5rem } figure { margin: 0 } figcaption, .faint { color: var(--faint) }
svg { display: block } rect { fill: var(--bar) } text { fill: var(--faint); font-size: 11px }
"""


def make_page(title: str, counts: Sequence[tuple[str, str]], rejects: dict[str, list[str]], look: Look) -> str:
    """Return the page.

    Args:
        title: The heading.
        counts: Label and number of what was read, dropped and kept.
        rejects: Examples of what was dropped, by reason.
        look: What is left.
    """
    charts = "".join(_histogram(unit, values) for unit, values in look.lengths.items())
    dropped = [(reason, text) for reason, texts in rejects.items() for text in texts]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style><h1>{escape(title)}</h1>"
        + _table([*counts, *look.rows], css="numbers")
        + f'<h2>Length of a sentence</h2><div class="charts">{charts}</div>'
        + '<p class="faint">Lengths and tokens from a sample of the sentences to train on, evenly spaced. '
        "The last bar holds all longer ones.</p>"
        + "<h2>Noisy and clean</h2>"
        + _table([(noisy, clean) for clean, noisy in look.examples], ("noisy", "clean"))
        + ("<h2>Dropped, for example</h2>" + _table(dropped, ("reason", "text")) if dropped else "")
        + "</html>\n"
    )


def _table(rows: Iterable[tuple[str, ...]], header: tuple[str, ...] = (), css: str = "") -> str:
    head = "<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in header) + "</tr>" if header else ""
    body = "".join("<tr>" + "".join(f'<td dir="auto">{escape(cell)}</td>' for cell in row) + "</tr>" for row in rows)
    return f'<table class="{css}">{head}{body}</table>'


def _histogram(unit: str, values: NDArray[Any], bars: int = 30, width: int = 270, height: int = 110) -> str:
    top = max(int(np.percentile(values, 99, method="higher")), 1)
    step = -(-top // bars)
    counts = np.bincount(np.minimum(values // step, top // step))
    wide, highest = width / len(counts), counts.max()
    drawn = "".join(
        f'<rect x="{i * wide:.1f}" y="{height * (1 - count / highest):.1f}" width="{wide - 1:.1f}" '
        f'height="{height * count / highest:.1f}"><title>{i * step} to {i * step + step - 1}: {count:,}</title></rect>'
        for i, count in enumerate(counts)
    )
    label = f'y="{height + 13}"'
    return (
        f'<figure><svg width="{width}" height="{height + 16}" role="img" aria-label="Histogram of {unit}">{drawn}'
        f'<text x="0" {label}>0</text><text x="{width}" {label} text-anchor="end">{top:,}</text></svg>'
        f"<figcaption>{unit}</figcaption></figure>"
    )
