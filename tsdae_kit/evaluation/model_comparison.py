"""Scores models side by side on retrieval, reranking and pairs; the first model is the reference.

All data is read and all models are loaded before the first one is scored, so that mistakes show at once. Models wait
in main memory for their turn on the device.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

from tsdae_kit.config.conversion import to_record
from tsdae_kit.config.settings.evaluation import EvaluateSettings
from tsdae_kit.config.settings.reading import ReadingSettings
from tsdae_kit.console import show_duration
from tsdae_kit.errors import KitError, warn_on_error
from tsdae_kit.evaluation.bm25 import BM25, require_bm25, score_with_bm25
from tsdae_kit.evaluation.loading import read_tasks
from tsdae_kit.evaluation.overlap import read_training_texts, warn_of_overlap
from tsdae_kit.evaluation.result_tables import format_summary_table, format_task_table
from tsdae_kit.evaluation.results import Metrics, Result, compare_models, make_rows
from tsdae_kit.evaluation.scoring import Embeddings, score_task
from tsdae_kit.evaluation.tasks import Task
from tsdae_kit.filesystem import check_overwritable, check_writable, path_digests, write_json
from tsdae_kit.framework_output import quiet_frameworks
from tsdae_kit.models.devices import choose_device
from tsdae_kit.models.loading import load_encoder
from tsdae_kit.models.model_objects import borrowed_encoders
from tsdae_kit.run_folder import run_of_model

logger = logging.getLogger("tsdae_kit")
_LIBRARIES = ("tsdae_kit", "sentence-transformers", "transformers", "torch", "numpy")
MetricsByModel = dict[tuple[str, str], Metrics]  # by model and task name


def evaluate_models(settings: EvaluateSettings, objects: Mapping[str, object]) -> dict[str, Any]:
    """Score the models, write the scores and show the tables; return the content of the file.

    Args:
        settings: The command's.
        objects: Encoders that the caller passed as objects, by their name among the models.
    """
    started = time.monotonic()
    check_writable(settings.output)
    check_overwritable(settings.output, _holds_scores)
    task_groups = _read_task_groups(settings)
    tasks = [task for group in task_groups for task in group]
    settings.output.absolute().parent.mkdir(parents=True, exist_ok=True)
    digests = path_digests([*settings.models, *settings.data])

    with quiet_frameworks(), borrowed_encoders(objects) as loaded:
        device = choose_device(settings.device)
        encoders = _load_encoders(
            {name: loaded.get(name, name) for name in settings.models}, settings.trust_remote_code
        )
        metrics_by_model = _score_encoders(encoders, task_groups, device, settings.batch_size)

    results = [result for task in tasks for result in compare_models(task, settings.models, metrics_by_model)]
    rows = make_rows(results, settings.models)
    report = {"settings": to_record(settings), "digests": digests, "versions": _versions(), "results": rows}
    write_json(settings.output, report)

    with warn_on_error("The tables could not be shown", f"The scores are written: {settings.output}."):
        _show_tables(results, tasks, settings.models)
    for source in dict.fromkeys(source for model in settings.models for source in _trained_on(model)):
        _warn_of_training_overlap(source, tasks)
    duration = show_duration(time.monotonic() - started)
    logger.info("\nScored in %s; all metrics, differences and versions: %s", duration, settings.output)
    return report


def _holds_scores(text: str) -> bool:
    content = json.loads(text)
    return isinstance(content, dict) and content.keys() >= {"settings", "versions", "results"}


def _read_task_groups(settings: EvaluateSettings) -> list[list[Task]]:
    """Return the tasks of each folder or file.

    Raises:
        KitError: Also for two tasks of one name.
    """
    groups = [read_tasks(name, settings.split, settings) for name in settings.data]
    names = [task.name for group in groups for task in group]
    duplicates = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if duplicates:
        raise KitError(f"Two tasks of --data are called {duplicates[0]!r}. Rename a folder to tell their rows apart.")
    return groups


def _load_encoders(
    models: Mapping[str, SentenceTransformer | str], trust_remote_code: bool
) -> dict[str, SentenceTransformer | None]:
    """Return the encoders by name, on the CPU; ``None`` for BM25.

    Args:
        models: By the name for tables and rows: a loaded encoder, which is returned as it is, or what to load.
        trust_remote_code: As for :func:`load_encoder`.
    """
    encoders: dict[str, SentenceTransformer | None] = {}
    for name, model in models.items():
        if isinstance(model, SentenceTransformer):
            encoders[name] = model
        elif model == BM25:
            require_bm25()
            encoders[name] = None
        else:
            encoders[name] = load_encoder(model, choose_device("cpu"), trust_remote_code)
    return encoders


def _score_encoders(
    encoders: Mapping[str, SentenceTransformer | None],
    task_groups: Sequence[Sequence[Task]],
    device: torch.device,
    batch_size: int,
) -> MetricsByModel:
    """Return the metrics of each model on each task that it can do."""
    metrics_by_model: MetricsByModel = {}
    for name, encoder in encoders.items():
        if encoder is None:
            tasks = (task for group in task_groups for task in group)
            metrics_by_model |= {(name, task.name): metrics for task in tasks if (metrics := score_with_bm25(task))}
            continue
        encoder.to(device)
        for group in task_groups:
            embeddings = Embeddings(encoder, name, batch_size)  # a new cache for each folder
            metrics_by_model |= {(name, task.name): _score_task(task, embeddings, name) for task in group}
        encoder.to("cpu")
    return metrics_by_model


def _score_task(task: Task, embeddings: Embeddings, model: str) -> Metrics:
    started = time.monotonic()
    metrics = score_task(task, embeddings)
    logger.info("%s on %s, %s: %s", model, task.name, task.size, show_duration(time.monotonic() - started))
    return metrics


def _show_tables(results: Sequence[Result], tasks: Sequence[Task], models: Sequence[str]) -> None:
    for task in tasks:
        logger.info("\n%s", format_task_table([result for result in results if result.task is task]))
    if len(tasks) > 1:
        logger.info("\n%s", format_summary_table(results, models))


def _warn_of_training_overlap(source: tuple[Path, ReadingSettings, str], tasks: Sequence[Task]) -> None:
    """Log which evaluation texts are in the data that a model was trained on, if that can still be read."""
    try:
        warn_of_overlap(tasks, read_training_texts(*source), str(source[0]))
    except KitError as error:
        logger.info("Not compared with the evaluation data: %s", error)


def _trained_on(model: str) -> Iterator[tuple[Path, ReadingSettings, str]]:
    """Yield path, format and fingerprint of the data of the run that made a model, and of the runs before it."""
    place = Path(model).resolve()
    seen: set[Path] = set()
    while place not in seen and (run := run_of_model(place)):
        seen.add(place)
        with suppress(KitError):  # a damaged record
            if record := run.read_record():
                known = record["settings"]
                names = [entry.name for entry in fields(ReadingSettings) if entry.name in known]
                reading = ReadingSettings(**{name: known[name] for name in names})
                for name in (known.get("data"), known.get("pairs"), *known.get("files", ())):
                    if name:
                        yield Path(name), reading, record["data"]
                place = Path(known["model"]).resolve()


def _versions() -> dict[str, str]:
    versions = {name: version(name) for name in _LIBRARIES}
    with suppress(PackageNotFoundError):  # an optional package
        versions["bm25s"] = version("bm25s")
    return versions
