"""What a run's scores say, in sentences that promise no more than was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Rows = Sequence[Mapping[str, Any]]
PROXY = " (a proxy)"


def main_rows(rows: Rows) -> list[Mapping[str, Any]]:
    """Return the rows of each task's main metric, which stands first."""
    main: dict[str, str] = {}
    for row in rows:
        main.setdefault(row["task"], row["metric"])
    return [row for row in rows if row["metric"] == main[row["task"]]]


def explain(
    run: Path, record: Mapping[str, Any], chosen_by: Rows, scores: Rows, last_step: int
) -> tuple[str, list[str]]:
    """Return ``better``, ``worse`` or nothing, and the verdict, its first sentence the heading.

    Args:
        run: Its folder.
        record: The run's.
        chosen_by: Rows of the data that the best step was chosen by.
        scores: Rows of other data.
        last_step: As far as the run has come.
    """
    settings = record["settings"]
    final = run / "final"
    stage = "finetune" if "files" in settings else "train"
    if "finished_step" not in record:
        return "", [
            f"Not finished: step {last_step:,} is the last that is known.",
            f"python -m tsdae_kit.{stage} --resume --output {run} continues it.",
        ]
    if record.get("goals") and not record.get("best_step"):
        return "", ["No gain: no step scored above the model it began with, which is the final model, unchanged."]
    own = [row for row in main_rows(scores) if Path(row["model"]).resolve() == final.resolve()]
    began = settings["model"]
    if verdict := _of_scores(own, scores, began):
        return verdict
    reference = "" if began == "scratch" else f"{began} "
    command = f"python -m tsdae_kit.evaluate {reference}{final} --data DIR"
    if verdict := _of_scores(main_rows(chosen_by), chosen_by, began):
        flattered = "The best step was chosen by these scores, which flatters it. On other data: "
        return verdict[0], [*verdict[1], flattered + command]
    return "", [
        "Whether it helps is not known: it was not scored on labelled data.",
        "A lower loss says that the decoder has learned, not that the embeddings are better. With labelled data: "
        f"{command} --output {run / 'scores.json'}, then python -m tsdae_kit.report {run}",
    ]


def _of_scores(rows: Rows, beside: Rows, began: str) -> tuple[str, list[str]] | None:
    """Return the verdict of rows that were compared with a reference; a proxy gives none.

    It has a colour only if the reference is the model that the run began with.
    """
    rows = sorted(
        (row for row in rows if "verdict" in row and not row.get("proxy")), key=lambda row: row["task"] != "average"
    )
    if not rows:
        return None
    reference = next((row["model"] for row in beside if "verdict" not in row), "")
    kind = str(rows[0]["verdict"])
    same = reference == began or Path(reference).resolve() == Path(began).resolve()
    return kind if same and kind in ("better", "worse") else "", [_of_row(row, reference) for row in rows]


def _of_row(row: Mapping[str, Any], reference: str) -> str:
    low, high = row["interval"]
    verdict = {"better": f"Better than {reference}", "worse": f"Worse than {reference}"}.get(
        row["verdict"], f"No difference from {reference} shown"
    )
    where = "on average" if row["task"] == "average" else f"on {row['task']}"
    return (
        f"{verdict} {where}: {row['metric']} {row['score']:.1f}, {row['difference']:+.1f} "
        f"(95 % interval {low:+.1f} to {high:+.1f})."
    )
