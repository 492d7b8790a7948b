"""Scores models side by side on retrieval, reranking and pairs, and says which differences are shown.

``python -m tsdae_kit.evaluate all-MiniLM-L6-v2 runs/tsdae/final --data DIR``. The first model is the
reference. All data and models are read before anything is scored, so that mistakes show at once; the
models wait in the machine's memory for their turn on the device.
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

from sentence_transformers import SentenceTransformer

from tsdae_kit.config.conversion import to_record
from tsdae_kit.config.settings import EvaluateSettings, ReadingSettings
from tsdae_kit.console import quiet_frameworks, show_duration
from tsdae_kit.errors import KitError, warn_on_error
from tsdae_kit.evaluation.bm25 import NAME, check_bm25, score_with_bm25
from tsdae_kit.evaluation.data import read_tasks
from tsdae_kit.evaluation.overlap import read_training_texts, warn_of_overlap
from tsdae_kit.evaluation.result_tables import show_all, show_task
from tsdae_kit.evaluation.results import Samples, compare_models, make_rows
from tsdae_kit.evaluation.scoring import Embeddings, score_task
from tsdae_kit.evaluation.tasks import Task
from tsdae_kit.filesystem import check_overwritable, check_writable, path_digests, write_json
from tsdae_kit.models.devices import choose_device
from tsdae_kit.models.loading import load_encoder
from tsdae_kit.run_folder import run_of_model

logger = logging.getLogger("tsdae_kit")
_LIBRARIES = ("tsdae_kit", "sentence-transformers", "transformers", "torch", "numpy")


def score(settings: EvaluateSettings, loaded: Mapping[str, SentenceTransformer]) -> dict[str, Any]:
    """Score the models, write the scores and show the tables; return what was written."""
    check_writable(settings.output)
    started = time.monotonic()
    check_overwritable(settings.output, _holds_scores)
    groups = _read_all(settings)
    settings.output.absolute().parent.mkdir(parents=True, exist_ok=True)
    digests = path_digests([*settings.models, *settings.data])
    with quiet_frameworks():
        scored = _score_all(settings, groups, loaded)
    results = [result for group in groups for task in group for result in compare_models(task, settings.models, scored)]
    rows = make_rows(results, settings.models)
    report = {"settings": to_record(settings), "digests": digests, "versions": _versions(), "results": rows}
    write_json(settings.output, report)
    with warn_on_error("The tables could not be shown", f"The scores are whole: {settings.output}."):
        for group in groups:
            for task in group:
                logger.info("\n%s", show_task([result for result in results if result.task is task]))
        if sum(map(len, groups)) > 1:
            logger.info("\n%s", show_all(results, settings.models))
    for source in dict.fromkeys(source for model in settings.models for source in _trained_on(model)):
        _compare(source, [task for group in groups for task in group])
    seconds = show_duration(time.monotonic() - started)
    logger.info("\nScored in %s; all metrics, differences and versions: %s", seconds, settings.output)
    return report


def _holds_scores(text: str) -> bool:
    content = json.loads(text)
    return isinstance(content, dict) and content.keys() >= {"settings", "versions", "results"}


def _read_all(settings: EvaluateSettings) -> list[list[Task]]:
    groups = [read_tasks(name, settings.split, settings) for name in settings.data]
    names = [task.name for group in groups for task in group]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise KitError(f"Two of --data are called {twice[0]!r}. Rename a folder, so that the rows can be told apart.")
    return groups


def _compare(source: tuple[Path, ReadingSettings, str], tasks: Sequence[Task]) -> None:
    """Say which texts of the data stand in what a model was trained on, if that is still there."""
    try:
        warn_of_overlap(tasks, read_training_texts(*source), str(source[0]))
    except KitError as error:
        logger.info("Not compared with the evaluation data: %s", error)


def _trained_on(model: str) -> Iterator[tuple[Path, ReadingSettings, str]]:
    """Yield data, how it is written and its fingerprint, of the run that made a model and of those before it."""
    place = Path(model).resolve()
    seen: set[Path] = set()
    while place not in seen and (run := run_of_model(place)):
        seen.add(place)
        with suppress(KitError):  # a record that is damaged
            if record := run.read_record():
                known = record["settings"]
                names = [entry.name for entry in fields(ReadingSettings) if entry.name in known]
                reading = ReadingSettings(**{name: known[name] for name in names})
                for name in (known.get("data"), known.get("pairs"), *known.get("files", ())):
                    if name:
                        yield Path(name), reading, record["data"]
                place = Path(known["model"]).resolve()


def _score_all(
    settings: EvaluateSettings, groups: Sequence[Sequence[Task]], loaded: Mapping[str, SentenceTransformer]
) -> dict[tuple[str, str], Samples]:
    """Return the metrics by model and task."""
    device = choose_device(settings.device)
    encoders: dict[str, SentenceTransformer | None] = {}
    for name in settings.models:
        if name == NAME:
            check_bm25()
        encoders[name] = (
            None
            if name == NAME
            else loaded.get(name) or load_encoder(name, choose_device("cpu"), settings.trust_remote_code)
        )
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
    embeddings = Embeddings(encoder, name, batch_size)
    scored: dict[tuple[str, str], Samples] = {}
    for task in group:
        began = time.monotonic()
        scored[name, task.name] = score_task(task, embeddings)
        logger.info("%s on %s, %s: %s", name, task.name, task.size, show_duration(time.monotonic() - began))
    return scored


def _versions() -> dict[str, str]:
    found = {name: version(name) for name in _LIBRARIES}
    with suppress(PackageNotFoundError):  # an extra
        found["bm25s"] = version("bm25s")
    return found
