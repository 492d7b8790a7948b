"""The verdict on a run: whether its scores show a gain, in sentences that promise no more than was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tsdae_kit.config.settings.training import SCRATCH
from tsdae_kit.reporting.run_report import RunReport
from tsdae_kit.reporting.score_table import select_main_rows


@dataclass(frozen=True)
class Verdict:
    """A verdict; the first sentence is its heading.

    Attributes:
        kind: Empty, unless the run's model was shown to be better or worse than its base model.
        sentences: Plain text.
    """

    kind: Literal["", "better", "worse"]
    sentences: list[str]


def make_verdict(run: RunReport) -> Verdict:
    """Return the verdict: by the scores of ``evaluate``; without them, by the selection scores."""
    output, final = run.folder, run.folder.final
    if not run.finished:
        command = "train" if run.task == "tsdae" else "finetune"
        return Verdict("", [
            f"Not finished: step {run.last_step:,} is the last that is known.",
            f"python -m tsdae_kit.{command} --resume --output {output} continues it.",
        ])  # fmt: skip
    if run.record.get("goals") and not run.record.get("best_step"):
        heading = "No gain: no step scored above the model it began with, which is the final model, unchanged."
        return Verdict("", [heading])
    base = run.settings["model"]
    final_rows = [row for row in select_main_rows(run.scores) if Path(row["model"]).resolve() == final.resolve()]
    if verdict := _of_scores(final_rows, _find_reference(run.scores), base):
        return verdict
    reference = "" if base == SCRATCH else f"{base} "
    command = f"python -m tsdae_kit.evaluate {reference}{final} --data DIR"
    selection_rows = select_main_rows(run.selection_scores)
    if verdict := _of_scores(selection_rows, _find_reference(run.selection_scores), base):
        caveat = f"These scores are optimistic: they selected the best step. Evaluate on other data: {command}"
        return Verdict(verdict.kind, [*verdict.sentences, caveat])
    return Verdict("", [
        "Whether it helps is not known: it was not scored on labelled data.",
        "A lower loss says that the decoder has learned, not that the embeddings are better. With labelled data: "
        f"{command} --output {output.scores_file}, then python -m tsdae_kit.report {output}",
    ])  # fmt: skip


def _find_reference(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the model that the others were compared with."""
    return next((row["model"] for row in rows if "verdict" not in row), "")


def _of_scores(rows: Sequence[Mapping[str, Any]], reference: str, base: str) -> Verdict | None:
    """Return the verdict of rows that were compared with a reference, the average first."""
    compared = [row for row in rows if "verdict" in row]
    if not compared:
        return None
    compared.sort(key=lambda row: row["task"] != "average")
    kind = compared[0]["verdict"]
    is_base = reference == base or Path(reference).resolve() == Path(base).resolve()
    return Verdict(
        kind if is_base and kind in ("better", "worse") else "", [_describe(row, reference) for row in compared]
    )


def _describe(row: Mapping[str, Any], reference: str) -> str:
    low, high = row["interval"]
    verdict = {"better": f"Better than {reference}", "worse": f"Worse than {reference}"}.get(
        row["verdict"], f"No difference from {reference} shown"
    )
    where = "on average" if row["task"] == "average" else f"on {row['task']}"
    return (
        f"{verdict} {where}: {row['metric']} {row['score']:.1f}, {row['difference']:+.1f} "
        f"(95 % interval {low:+.1f} to {high:+.1f})."
    )
