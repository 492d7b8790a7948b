"""Scores of several models on a task, as objects and as rows of ``scores.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tsdae_kit.evaluation.bootstrap import Difference, average, compare
from tsdae_kit.evaluation.metrics import Metric, score
from tsdae_kit.evaluation.tasks import Task, main_metric

AVERAGE = "average"
Metrics = Mapping[str, Metric]  # by name


@dataclass(frozen=True)
class Result:
    """One model's scores on one task.

    Attributes:
        task: The task.
        model: The model's name, as the user wrote it.
        scores: From 0 to 100, by metric, the main one first; empty if the model cannot do the task.
        differences: From the reference, by metric; empty for the reference itself, or without one.
    """

    task: Task
    model: str
    scores: Mapping[str, float]
    differences: Mapping[str, Difference]


@dataclass(frozen=True)
class Average:
    """A model's mean of the main metrics over all tasks, and its difference from the reference's."""

    score: float
    difference: Difference | None


def compare_models(
    task: Task, models: Sequence[str], metrics_by_model: Mapping[tuple[str, str], Metrics]
) -> list[Result]:
    """Return each model's scores on a task, and their differences from the first model's.

    Args:
        task: The task.
        models: Their names, the reference first.
        metrics_by_model: Metrics by model and task name; a model that cannot do the task is not in it.
    """
    reference = metrics_by_model.get((models[0], task.name), {})
    results = []
    for model in models:
        metrics = metrics_by_model.get((model, task.name), {})
        differences = {
            name: compare(metric, reference[name], task.name)
            for name, metric in metrics.items()
            if model != models[0] and name in reference
        }
        results.append(Result(task, model, {name: score(metric) for name, metric in metrics.items()}, differences))
    return results


def average_scores(results: Sequence[Result], models: Sequence[str]) -> dict[str, Average]:
    """Return the averages by model, for models that did every task."""
    averages: dict[str, Average] = {}
    for model in models:
        of_model = [result for result in results if result.model == model]
        if len(of_model) > 1 and all(result.scores for result in of_model):
            scores = [result.scores[main_metric(result.task)] for result in of_model]
            differences = [d for result in of_model if (d := result.differences.get(main_metric(result.task)))]
            difference = average(differences) if len(differences) == len(of_model) else None
            averages[model] = Average(sum(scores) / len(scores), difference)
    return averages


def make_rows(results: Sequence[Result], models: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of ``scores.json``: one for each task, model and metric, the main one first; then averages."""
    rows = [
        _row(result.task.name, result.model, name, value, result.differences.get(name), result.task.size)
        for result in results
        for name, value in result.scores.items()
    ]
    averages = average_scores(results, models)
    rows += [_row(AVERAGE, model, "main score", mean.score, mean.difference) for model, mean in averages.items()]
    return rows


def _row(
    task: str, model: str, metric: str, value: float, difference: Difference | None, size: str = ""
) -> dict[str, Any]:
    row: dict[str, Any] = {"task": task, "size": size, "model": model, "metric": metric, "score": value}
    if difference is not None:
        row |= {"difference": difference.value, "interval": difference.interval, "verdict": difference.verdict}
    return row
