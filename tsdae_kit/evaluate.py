"""Scores models side by side on retrieval, reranking and pairs, and says which differences are shown.

``python -m tsdae_kit.evaluate all-MiniLM-L6-v2 runs/tsdae/final --data DIR``. The first model is the
reference. All data and models are read before anything is scored, so that mistakes show at once; the
models wait in the machine's memory for their turn on the device.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from tsdae_kit.console import quiet_frameworks, show_duration, show_messages
from tsdae_kit.errors import KitError, run_command
from tsdae_kit.folders import write_json
from tsdae_kit.options import make_settings, parse_arguments
from tsdae_kit.settings import EvaluateSettings

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from tsdae_kit.evaluation.bootstrap import Difference
    from tsdae_kit.evaluation.samples import Sample
    from tsdae_kit.evaluation.tables import Result
    from tsdae_kit.evaluation.tasks import Task

logger = logging.getLogger("tsdae_kit")
_LIBRARIES = ("tsdae_kit", "sentence-transformers", "transformers", "torch", "numpy")
Samples = Mapping[str, "Sample"]


def score_models(**given: Any) -> dict[str, Any]:
    """Score models on evaluation data; return what is written to ``output``.

    Args:
        **given: Fields of :class:`tsdae_kit.settings.EvaluateSettings`, for example
            ``models=["all-MiniLM-L6-v2", "runs/tsdae/final"], data=["data/health"]``.

    Returns:
        Settings, versions, and under ``results`` a row for each task, model and metric, with its score (out of 100),
        the difference from the first model, the 95 % interval of that (in the same points) and the verdict.

    Raises:
        KitError: For models or data that are missing or are not as they should be.
    """
    settings = make_settings(EvaluateSettings, given)
    with show_messages():
        return _evaluate(settings)


def _evaluate(settings: EvaluateSettings) -> dict[str, Any]:
    from tsdae_kit.evaluation.tables import average_over, show_all, show_task

    started = time.monotonic()
    groups = _read_all(settings)
    settings.output.absolute().parent.mkdir(parents=True, exist_ok=True)
    import tsdae_kit.training.models  # noqa: F401  # before quiet_frameworks, which touches what is imported

    with quiet_frameworks():
        scored = _score_all(settings, groups)
    results = [result for group in groups for task in group for result in _compare(task, settings.models, scored)]
    for group in groups:
        for task in group:
            logger.info("\n%s", show_task([result for result in results if result.task is task]))
    if sum(map(len, groups)) > 1:
        logger.info("\n%s", show_all(results, settings.models))
    rows = [row for result in results for row in _rows(result)]
    for model, (value, difference) in average_over(results, settings.models).items():
        rows.append(_row("average", "", model, "main score", value, difference))
    report = {"settings": asdict(settings), "versions": _versions(), "results": rows}
    write_json(settings.output, report)
    seconds = show_duration(time.monotonic() - started)
    logger.info("\nScored in %s; all metrics, differences and versions: %s", seconds, settings.output)
    return report


def _read_all(settings: EvaluateSettings) -> list[list[Task]]:
    from tsdae_kit.evaluation.data import read_tasks

    groups = [read_tasks(name, settings.split) for name in settings.data]
    names = [task.name for group in groups for task in group]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise KitError(f"Two of --data are called {twice[0]!r}. Rename a folder, so that the rows can be told apart.")
    return groups


def _score_all(settings: EvaluateSettings, groups: Sequence[Sequence[Task]]) -> dict[tuple[str, str], Samples]:
    """Return the metrics by model and task."""
    from tsdae_kit.evaluation.bm25 import NAME, check_bm25, score_with_bm25
    from tsdae_kit.training.models import choose_device, load_encoder

    device = choose_device(settings.device)
    encoders: dict[str, SentenceTransformer | None] = {}
    for name in settings.models:
        if name == NAME:
            check_bm25()
        encoders[name] = None if name == NAME else load_encoder(name, choose_device("cpu"), settings.trust_remote_code)
    scored: dict[tuple[str, str], Samples] = {}
    for name, encoder in encoders.items():
        if encoder is None:
            for group in groups:
                scored |= {(name, task.name): found for task in group if (found := score_with_bm25(task))}
            continue
        encoder.to(device)
        for group in groups:
            scored |= _score_group(encoder, name, group, settings.batch_size)
        encoder.to("cpu")
    return scored


def _score_group(
    encoder: SentenceTransformer, name: str, group: Sequence[Task], batch_size: int
) -> dict[tuple[str, str], Samples]:
    from tsdae_kit.evaluation.scoring import Embeddings, score_task

    embeddings = Embeddings(encoder, name, batch_size)
    scored: dict[tuple[str, str], Samples] = {}
    for task in group:
        began = time.monotonic()
        scored[name, task.name] = score_task(task, embeddings)
        logger.info("%s on %s, %s: %s", name, task.name, task.size, show_duration(time.monotonic() - began))
    return scored


def _compare(task: Task, models: Sequence[str], scored: Mapping[tuple[str, str], Samples]) -> list[Result]:
    from tsdae_kit.evaluation.bootstrap import compare
    from tsdae_kit.evaluation.samples import score
    from tsdae_kit.evaluation.tables import Result

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


def _rows(result: Result) -> list[dict[str, Any]]:
    name, size = result.task.name, result.task.size
    return [
        _row(name, size, result.model, metric, value, result.differences.get(metric))
        for metric, value in result.scores.items()
    ]


def _row(task: str, size: str, model: str, metric: str, value: float, difference: Difference | None) -> dict[str, Any]:
    row: dict[str, Any] = {"task": task, "size": size, "model": model, "metric": metric, "score": value}
    if difference is not None:
        row |= {"difference": difference.value, "interval": difference.interval, "verdict": difference.verdict}
    return row


def _versions() -> dict[str, str]:
    found = {name: version(name) for name in _LIBRARIES}
    with suppress(PackageNotFoundError):  # an extra
        found["bm25s"] = version("bm25s")
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Run ``python -m tsdae_kit.evaluate``."""
    prog = "python -m tsdae_kit.evaluate"
    description = "Score models side by side on retrieval, reranking and pairs; the first one is the reference."
    run_command(prog, lambda: score_models(**parse_arguments(EvaluateSettings, prog, description, argv)))


if __name__ == "__main__":
    main()
