"""The page of a prepared corpus: what was read, dropped and kept, histograms, examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from tsdae_kit.reporting.charts import draw_histogram
from tsdae_kit.reporting.html import make_note, make_page, make_section, make_table


def make_prepared_page(
    rows: Sequence[tuple[str, str]],
    lengths: Mapping[str, NDArray[Any]],
    examples: Sequence[tuple[str, str]],
    rejects: Mapping[str, Sequence[str]],
) -> str:
    """Return the page.

    Args:
        rows: Label and value of each line of the closing table.
        lengths: Of each sentence of a sample, by unit.
        examples: Pairs of clean and noisy text.
        rejects: Examples of what was dropped, by reason.
    """
    charts = "".join(draw_histogram(unit, values) for unit, values in lengths.items())
    sampled = (
        "Lengths and tokens from a sample of the sentences to train on, evenly spaced. "
        "The last bar holds all longer ones."
    )
    dropped = [(reason, text) for reason, texts in rejects.items() for text in texts]
    return make_page(
        "The prepared corpus",
        make_table(rows, css="numbers"),
        make_section("Length of a sentence", f'<div class="charts">{charts}</div>', make_note(sampled)),
        make_section("Noisy and clean", make_table([pair[::-1] for pair in examples], ("noisy", "clean"))),
        make_section("Dropped, for example", make_table(dropped, ("reason", "text")) if dropped else ""),
    )
