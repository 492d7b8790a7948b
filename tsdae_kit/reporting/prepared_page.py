"""The page of a prepared corpus: counts, histograms of lengths, examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from tsdae_kit.reporting.charts import make_histogram
from tsdae_kit.reporting.rendering import render


def make_prepared_page(
    rows: Sequence[tuple[str, str]],
    lengths: Mapping[str, NDArray[Any]],
    examples: Sequence[tuple[str, str]],
    rejects: Mapping[str, Sequence[str]],
) -> str:
    """Return the page as HTML.

    Args:
        rows: Name and value of each figure.
        lengths: The length of each sampled sentence, by unit.
        examples: Pairs of clean and noisy text.
        rejects: Examples of dropped texts, by reason.
    """
    return render(
        "prepared.html.j2",
        title="The prepared corpus",
        rows=rows,
        histograms=[make_histogram(unit, values) for unit, values in lengths.items()],
        examples=[(noisy, clean) for clean, noisy in examples],
        dropped=[(reason, text) for reason, texts in rejects.items() for text in texts],
    )
