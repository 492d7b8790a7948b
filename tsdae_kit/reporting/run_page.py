"""One run's page: verdict, scores, curves, data, neighbours, rebuilt sentences, settings; from the run's folder alone.

It can be made at any time, also while the run goes on: what is not there yet is left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from tsdae_kit.errors import KitError
from tsdae_kit.filesystem import atomic_file, path_digests
from tsdae_kit.reporting.charts import Points, draw_curves
from tsdae_kit.reporting.html import make_list, make_note, make_page, make_section, make_table
from tsdae_kit.reporting.verdict import PROXY, explain, main_rows

PAGE, OUTCOME = "report.html", "outcome.json"
_PART = "loss_"
_RECORD, _METRICS, _SCORES = "run.json", "metrics.jsonl", "scores.json"


@dataclass(frozen=True)
class RunFiles:
    """What a run's folder says.

    Attributes:
        folder: Where it is.
        record: ``run.json``.
        entries: The lines of ``metrics.jsonl``.
        outcome: ``outcome.json``; empty until the run is finished.
        scores: Rows of a ``scores.json`` of the command ``evaluate``.
    """

    folder: Path
    record: dict[str, Any]
    entries: list[dict[str, Any]]
    outcome: dict[str, Any]
    scores: list[dict[str, Any]]

    @property
    def last_step(self) -> int:
        """The last step that is known of."""
        return max((entry["step"] for entry in self.entries), default=0)

    def curve(self, name: str) -> Points:
        """Return the points (step, value) of one of the metrics."""
        return [(entry["step"], entry[name]) for entry in self.entries if isinstance(entry.get(name), (int, float))]


def read_run(folder: Path, scores: Path | None = None) -> RunFiles:
    """Return what a run's folder says.

    Args:
        folder: The run's.
        scores: A file of the command ``evaluate``; without it, the folder's own ``scores.json``, if there is one.

    Raises:
        KitError: If the folder holds no run, or the file no scores.
    """
    record = read_json(folder / _RECORD)
    if not isinstance(record.get("settings"), dict):
        raise KitError(f"{folder} holds no run: there is no {_RECORD} in it that can be read. Name a run's folder.")
    rows = read_json(scores or _own_scores(folder)).get("results", [])
    if scores and not rows:
        raise KitError(f"{scores} holds no scores. Name what python -m tsdae_kit.evaluate wrote (--output).")
    return RunFiles(folder, record, read_entries(folder / _METRICS), read_json(folder / OUTCOME), rows)


def _own_scores(folder: Path) -> Path:
    """Return the run's ``scores.json``, unless its digests say that no model in it was the final one as it is now."""
    known = read_json(folder / _SCORES).get("digests")
    if isinstance(known, dict) and any(now not in known.values() for now in path_digests([folder / "final"]).values()):
        return folder / "none"
    return folder / _SCORES


def read_entries(metrics: Path) -> list[dict[str, Any]]:
    """Return the lines of a ``metrics.jsonl``; one that is cut off (it may just be written) is left out."""
    entries = []
    with suppress(OSError):
        for line in metrics.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):
                entries.append(json.loads(line))
    return [entry for entry in entries if isinstance(entry.get("step"), int)]


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file's object; an empty one if there is none."""
    with suppress(OSError, ValueError):
        content = json.loads(path.read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    return {}


def write_run_page(folder: Path, scores: Path | None = None) -> Path:
    """Write the page into the run's folder and return its path.

    Raises:
        KitError: As :func:`read_run`.
    """
    page = draw_run(read_run(folder, scores))
    with atomic_file(folder / PAGE) as path:
        path.write_text(page, encoding="utf-8", errors="xmlcharrefreplace")
    return folder / PAGE


def draw_run(run: RunFiles) -> str:
    """Return the page."""
    settings, outcome, about = run.record["settings"], run.outcome, run.record.get("about", {})
    kind, sentences = explain(run.folder, run.record, run.outcome.get("scores", []), run.scores, run.last_step)
    verdict = "".join(f"<p>{'<b>' * (not i)}{escape(s)}{'</b>' * (not i)}</p>" for i, s in enumerate(sentences))
    finished = f", finished {done}" if (done := run.record.get("finished")) else ""
    given = [
        (name, show_value(value))
        for name, value in settings.items()
        if value is not None and value is not False and value != []
    ]
    versions = [(name, str(value)) for name, value in run.record.get("versions", {}).items()]
    return make_page(
        f"{settings['model']} to {run.folder / 'final'}",
        make_note(f"Begun {run.record.get('started', 'at an unknown time')}{finished}."),
        f'<div class="verdict {kind}">{verdict}</div>',
        make_section(
            "Before and after", make_score_table(run.scores), make_score_table(outcome.get("scores", []), chosen=True)
        ),
        make_section("Curves", draw_curve_charts({"": run}, settings.get("decoder_warmup_steps"))),
        make_section("Data", make_table(about.items(), css="facts") if about else ""),
        make_section("Nearest neighbours", _show_neighbours(outcome)),
        make_section("Rebuilt from the embedding", _show_rebuilt(outcome)),
        make_section(
            "Settings and versions",
            f'<div class="pair">{make_table(given, css="facts")}{make_table(versions, css="facts")}</div>',
        ),
    )


def draw_curve_charts(runs: Mapping[str, RunFiles], warmup: int | None = None) -> str:
    """Return a chart for each metric, with a curve for each run (by its name; of a single run by the metric's)."""
    mark = (warmup, "the encoder learns too") if warmup else None
    charts = [
        _draw(runs, "loss", {"training": "loss", "held-out": "eval_loss"}, mark),
        _draw(runs, "parts of the loss, weighted", _parts(runs), mark),
        _draw(runs, "score on the evaluation data", {"score": "eval_score"}, mark),
        _draw(runs, "learning rate of the encoder", {"rate": "learning_rate"}, mark),
        _draw(runs, "sentences a second", {"speed": "sentences_per_second"}, None),
    ]
    if not any(charts):
        return ""
    note = make_note(f"Dashed: after step {warmup:,} {mark[1]}; before, the decoder alone.") if mark else ""
    return f'<div class="charts">{"".join(charts)}</div>{note}'


def _parts(runs: Mapping[str, RunFiles]) -> dict[str, str]:
    """Return the metrics of the loss's parts by what they are called, of a single run whose loss has several."""
    names = {name for run in runs.values() for entry in run.entries for name in entry if name.startswith(_PART)}
    return {name.removeprefix(_PART): name for name in sorted(names)} if len(runs) == 1 < len(names) else {}


def _draw(runs: Mapping[str, RunFiles], name: str, metrics: Mapping[str, str], mark: tuple[int, str] | None) -> str:
    curves = {
        " ".join(part for part in (run_name, label if len(metrics) > 1 else "") if part) or name: [
            point for point in run.curve(metric) if point[0] or metric != "sentences_per_second"
        ]
        for run_name, run in runs.items()
        for label, metric in metrics.items()
    }
    return draw_curves(name, curves, mark)


def make_score_table(rows: Sequence[Mapping[str, Any]], chosen: bool = False) -> str:
    """Return a table of the main metrics, a row for each task and model."""
    if not rows:
        return ""
    compared = any("difference" in row for row in rows)
    cells = [
        (
            row["task"] + PROXY * bool(row.get("proxy")),
            row["model"],
            row["metric"],
            f"{row['score']:.1f}",
            *_difference(row, compared),
        )
        for row in main_rows(rows)
    ]
    header = ("data", "model", "metric", "score", "difference", "95 % interval", "verdict")
    note = "By these scores the best step was chosen, which flatters it." if chosen else ""
    return make_table(cells, header, css="numbers scores") + (make_note(note) if note else "")


def _difference(row: Mapping[str, Any], compared: bool) -> tuple[str, str, str]:
    if "difference" not in row:
        return "", "", "reference" if compared else ""
    low, high = row["interval"]
    return f"{row['difference']:+.1f}", f"{low:+.1f} to {high:+.1f}", row["verdict"]


def _show_neighbours(outcome: Mapping[str, Any]) -> str:
    found = outcome.get("neighbours", [])
    blocks = []
    for entry in found:
        columns = "".join(
            f"<div><p class=faint>{when}</p>{make_list(f'{score:.2f}  {text}' for score, text in entry[when])}</div>"
            for when in ("before", "after")
            if when in entry
        )
        blocks.append(
            f'<div class="keep"><h3 dir="auto">{escape(entry["text"])}</h3><div class="pair">{columns}</div></div>'
        )
    note = f"Among {outcome.get('searched', 0):,} texts trained on, by cosine similarity." if blocks else ""
    return "".join([make_note(note) if note else "", *blocks])


def _show_rebuilt(outcome: Mapping[str, Any]) -> str:
    rows = outcome.get("rebuilt", [])
    if not rows:
        return ""
    note = (
        f"By the decoder of step {outcome['rebuilt_at']:,}, from the embedding of the noisy sentence alone, the "
        "likeliest word each time. It shows what the embedding holds; the decoder is thrown away."
    )
    keys = ("clean", "noisy", "rebuilt")
    return make_note(note) + make_table([[row[key] for key in keys] for row in rows], keys, css="even")


def show_value(value: Any) -> str:
    """Return a setting's value as text."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
