"""What a run's scores say, in sentences that promise no more than was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Rows = Sequence[Mapping[str, Any]]


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
    ours = [row for row in scores if Path(row["model"]) == final or Path(row["model"]).resolve() == final.resolve()]
    own = [row for row in main_rows(ours) if "verdict" in row]
    if own:
        return _of_scores(own)
    if found := [row for row in main_rows(chosen_by) if "verdict" in row]:
        kind, sentences = _of_scores(found)
        return kind, [
            *sentences,
            "The best step was chosen by these scores, which flatters it. On other data: "
            f"python -m tsdae_kit.evaluate {settings['model']} {final} --data DIR",
        ]
    return "", [
        "Whether it helps is not known: it was not scored.",
        "A lower loss says that the decoder has learned, not that the embeddings are better. With labelled data: "
        f"python -m tsdae_kit.evaluate {settings['model']} {final} --data DIR --output {run / 'scores.json'}, "
        f"then python -m tsdae_kit.report {run}",
    ]


def _of_scores(rows: Rows) -> tuple[str, list[str]]:
    head, *others = sorted(rows, key=lambda row: row["task"] != "average")
    sentences = [_of_row(row) for row in (head, *others)]
    kind = str(head["verdict"])
    return kind if kind in ("better", "worse") else "", sentences


def _of_row(row: Mapping[str, Any]) -> str:
    low, high = row["interval"]
    verdict = str(row["verdict"])
    where = "on average" if row["task"] == "average" else f"on {row['task']}"
    return (
        f"{verdict[0].upper()}{verdict[1:]} {where}: {row['metric']} {row['score']:.1f}, {row['difference']:+.1f} "
        f"(95 % interval {low:+.1f} to {high:+.1f})."
    )
