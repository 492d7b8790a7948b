"""Several models' scores on a task beside each other, as objects and as the rows that are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tsdae_kit.evaluation.bootstrap import Difference, average, compare
from tsdae_kit.evaluation.metrics import Sample, score
from tsdae_kit.evaluation.tasks import Task, is_proxy

AVERAGE = "average"
Samples = Mapping[str, Sample]


@dataclass(frozen=True)
class Result:
    """One model's scores on one task.

    Attributes:
        task: The task.
        model: As it was given.
        scores: By metric, from 0 to 100, the main one first; empty where the model cannot do the task.
        differences: From the reference, by metric; empty for the reference itself, or without it.
    """

    task: Task
    model: str
    scores: Mapping[str, float]
    differences: Mapping[str, Difference]


def compare_models(task: Task, models: Sequence[str], scored: Mapping[tuple[str, str], Samples]) -> list[Result]:
    """Return each model's scores on a task, and their differences from the first model's.

    Args:
        task: The task.
        models: Their names, the reference first.
        scored: Metrics by model and task; a model that cannot do the task is not in it.
    """
    reference = scored.get((models[0], task.name), {})
    results = []
    for model in models:
        samples = scored.get((model, task.name), {})
        differences = {
            metric: compare(sample, reference[metric], task.name)
            for metric, sample in samples.items()
            if model != models[0] and metric in reference
        }
        results.append(Result(task, model, {metric: score(sample) for metric, sample in samples.items()}, differences))
    return results


def average_over(results: Sequence[Result], models: Sequence[str]) -> dict[str, tuple[float, Difference | None]]:
    """Return each model's mean of the main metrics and its difference, for models that did every task.

    Proxies are left out: a mean of theirs and labelled scores would mean nothing.
    """
    results = [result for result in results if not is_proxy(result.task)]
    averages: dict[str, tuple[float, Difference | None]] = {}
    for model in models:
        own = [result for result in results if result.model == model]
        if len(own) > 1 and all(result.scores for result in own):
            values = [result.scores[result.task.metrics[0]] for result in own]
            differences = [d for result in own if (d := result.differences.get(result.task.metrics[0]))]
            difference = average(differences) if len(differences) == len(own) else None
            averages[model] = (sum(values) / len(values), difference)
    return averages


def make_rows(results: Sequence[Result], models: Sequence[str]) -> list[dict[str, Any]]:
    """Return what scores.json holds: a row for each task, model and metric, the main one first; then the averages."""
    rows = [
        _row(result.task.name, result.task.size, result.model, metric, value, result.differences.get(metric))
        | ({"proxy": True} if is_proxy(result.task) else {})
        for result in results
        for metric, value in result.scores.items()
    ]
    averages = average_over(results, models)
    rows += [_row(AVERAGE, "", model, "main score", *of_model) for model, of_model in averages.items()]
    return rows


def _row(task: str, size: str, model: str, metric: str, value: float, difference: Difference | None) -> dict[str, Any]:
    row: dict[str, Any] = {"task": task, "size": size, "model": model, "metric": metric, "score": value}
    if difference is not None:
        row |= {"difference": difference.value, "interval": difference.interval, "verdict": difference.verdict}
    return row
