"""What a run's folder says about the run, as its page and the comparison show it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsdae_kit.errors import KitError
from tsdae_kit.filesystem import path_digests
from tsdae_kit.reporting.charts import Points
from tsdae_kit.run_folder import RunFolder, TaskName, current_settings, read_json


@dataclass(frozen=True)
class RunReport:
    """The content of a run's folder, read once. A run that still goes on has no measurements yet.

    Attributes:
        folder: The run's.
        record: The run's record, as it is in the file.
        metrics: The entries of the metrics.
        measurements: What was measured of the finished run.
        scores: Rows of the command ``evaluate``.
    """

    folder: RunFolder
    record: dict[str, Any]
    metrics: list[dict[str, Any]]
    measurements: dict[str, Any]
    scores: list[dict[str, Any]]

    @property
    def settings(self) -> dict[str, Any]:
        """The run's settings."""
        settings: dict[str, Any] = self.record["settings"]
        return settings

    @property
    def task(self) -> TaskName:
        """The run's task; records of earlier versions do not name it."""
        task: TaskName = self.record.get("task") or ("tsdae" if "data" in self.settings else "pairs")
        return task

    @property
    def finished(self) -> bool:
        """Whether the final model is written."""
        return "finished_step" in self.record

    @property
    def selection_scores(self) -> list[dict[str, Any]]:
        """Score rows on the validation sets that selected the best step."""
        rows: list[dict[str, Any]] = self.measurements.get("scores", [])
        return rows

    @property
    def last_step(self) -> int:
        """The last step in the metrics."""
        return max((entry["step"] for entry in self.metrics), default=0)

    def curve(self, metric: str) -> Points:
        """Return the values of a metric."""
        return [(entry["step"], entry[metric]) for entry in self.metrics if isinstance(entry.get(metric), (int, float))]


def read_run(folder: Path, scores: Path | None = None) -> RunReport:
    """Return the content of a run's folder.

    Args:
        folder: The run's.
        scores: A file of the command ``evaluate``; by default the scores file in the folder, if there is one.

    Raises:
        KitError: If the folder holds no run, or ``scores`` no scores.
    """
    run = RunFolder(folder)
    record = read_json(run.record_file)
    if not isinstance(record.get("settings"), dict):
        raise KitError(
            f"{folder} holds no run: there is no {run.record_file.name} in it that can be read. Name a run's folder."
        )
    record["settings"] = current_settings(record["settings"])
    rows = _read_scores(scores) if scores else _read_current_scores(run)
    measurements = read_json(run.measurements_file)
    if "scores" in measurements:
        measurements["scores"] = _select_labelled(measurements["scores"])
    return RunReport(run, record, run.read_metrics(), measurements, _select_labelled(rows))


def _select_labelled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows without those of version 0.1 that were scored on unlabelled text (``proxy``)."""
    return [row for row in rows if not row.get("proxy")]


def _read_scores(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_json(path).get("results", [])
    if not rows:
        raise KitError(f"{path} holds no scores. Name what python -m tsdae_kit.evaluate wrote (--output).")
    return rows


def _read_current_scores(run: RunFolder) -> list[dict[str, Any]]:
    """Return the rows of the run's scores file; none, if its digests say that the final model has changed since."""
    content = read_json(run.scores_file)
    digests = content.get("digests")
    if isinstance(digests, dict) and any(
        digest not in digests.values() for digest in path_digests([run.final]).values()
    ):
        return []
    rows: list[dict[str, Any]] = content.get("results", [])
    return rows
