"""Measures a finished run: scores and nearest neighbours before and after, and rebuilt sentences.

Everything is measured once and kept in ``outcome.json``, so that a page can be made again, and runs compared, without a
model. The models are loaded one after the other. What cannot be measured (its model is gone, memory is short) is logged
and left out: the final model is written by then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

from tsdae_kit.config.settings.training import SCRATCH, RunSettings, TrainSettings
from tsdae_kit.errors import KitError, warn_on_error
from tsdae_kit.evaluation.results import Metrics, compare_models, make_rows
from tsdae_kit.evaluation.scoring import Embeddings, score_task
from tsdae_kit.evaluation.validation_sets import ValidationSet
from tsdae_kit.filesystem import write_json
from tsdae_kit.models.adapters import add_adapters
from tsdae_kit.models.devices import choose_device
from tsdae_kit.models.loading import load_encoder
from tsdae_kit.models.nearest_neighbours import find_nearest_neighbours
from tsdae_kit.models.prompts import text_prompt
from tsdae_kit.reporting.run_page import write_run_page
from tsdae_kit.run_folder import LOSS_WEIGHTS, RunFolder, RunRecord, checkpoint_step, read_json
from tsdae_kit.training.checkpoints import select_checkpoint, verify_checkpoint
from tsdae_kit.training.model_selection import read_validation_sets
from tsdae_kit.training.task import Examples, TrainingData, TrainingTask
from tsdae_kit.training.trainer import load_loss_state_dict
from tsdae_kit.tsdae.loss import TSDAELoss
from tsdae_kit.tsdae.reconstruction import reconstruct

logger = logging.getLogger("tsdae_kit")
NEIGHBOURS = 3  # shown for each text


@dataclass(frozen=True)
class Measurements:
    """The content of ``outcome.json``.

    Attributes:
        scores: Rows as in scores.json, of the base model and the final one.
        neighbours: A text, and its nearest neighbours before and after; from scratch there is no before.
        searched: The number of texts searched.
        rebuilt: Noisy, clean and rebuilt sentences.
        rebuilt_at: The step of the decoder that rebuilt them.
    """

    scores: list[dict[str, Any]]
    neighbours: list[dict[str, Any]]
    searched: int
    rebuilt: list[dict[str, str]]
    rebuilt_at: int | None


def report_run(task: TrainingTask[Any, Any], settings: RunSettings, data: TrainingData) -> None:
    """Measure a finished run, unless this final model was measured already, and write its page.

    Args:
        task: The run's.
        settings: The run's, resolved.
        data: The training data.
    """
    run_folder = RunFolder(settings.output)
    with warn_on_error("The report could not be written", "The model is whole."):
        record: Any = run_folder.read_record() or {}
        version = [record.get(name) for name in ("finished", "finished_step", "best_step")]
        is_measured = read_json(run_folder.measurements_file).get("of") == version
        if is_measured and run_folder.page.exists():
            return
        if not is_measured:
            measured = _measure(task, settings, data, record)
            write_json(run_folder.measurements_file, {"of": version, **asdict(measured)})
        logger.info("What it did, as a page: %s", write_run_page(run_folder.path))


def _measure(
    task: TrainingTask[Any, Any], settings: RunSettings, data: TrainingData, record: RunRecord
) -> Measurements:
    validation_sets: list[ValidationSet] = []
    with _optional("A score"):
        recorded = record.get("goals", {})
        validation_sets = [one for one in read_validation_sets(settings) if recorded.get(one.name) == one.digest]
    loaders: dict[str, Callable[[], SentenceTransformer]] = {}
    with _optional("What the models make of texts"):
        device = choose_device(settings.device)
        if record.get("best_step") and settings.model != SCRATCH:
            loaders["before"] = partial(task.load_base, settings, data, device)
        final = str(RunFolder(settings.output).final)
        loaders["after"] = partial(load_encoder, final, device, settings.trust_remote_code)
    examples = task.examples(data)
    scores, neighbours = _compare_models(settings, examples, validation_sets, loaders)
    rebuilt: list[dict[str, str]] = []
    step = None
    if examples.pairs and isinstance(settings, TrainSettings):
        with _optional("What the decoder rebuilds"):
            rebuilt, step = _rebuild(settings, record, examples.pairs)
    return Measurements(scores, neighbours, len(examples.searched), rebuilt, step)


def _optional(name: str) -> AbstractContextManager[None]:
    """Let what fails in this block be missing from the report."""
    return warn_on_error(f"{name} cannot be in the report", "The model is whole.")


def _compare_models(
    settings: RunSettings,
    examples: Examples,
    validation_sets: Sequence[ValidationSet],
    loaders: Mapping[str, Callable[[], SentenceTransformer]],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the scores' rows, and each text's neighbours, of the models ``before`` and ``after``.

    Args:
        settings: The run's.
        examples: Of its data.
        validation_sets: What it was scored by.
        loaders: Return the encoders; without ``before`` there is nothing to compare.
    """
    names = {"before": settings.model, "after": str(RunFolder(settings.output).final)}
    scored: dict[tuple[str, str], Metrics] = {}
    found: dict[str, Any] = {}
    for when, load in loaders.items():
        with _optional(f"What the model makes of texts {when} the run"):
            encoder = load()
            for one in validation_sets:
                embeddings = Embeddings(encoder, names[when], settings.batch_size)
                scored |= {(names[when], task.name): score_task(task, embeddings) for task in one.tasks}
            found[when] = find_nearest_neighbours(encoder, examples.texts, examples.searched, NEIGHBOURS)
            del encoder
    models = list(names.values())
    results = [
        result for one in validation_sets for task in one.tasks for result in compare_models(task, models, scored)
    ]
    neighbours = [
        {"text": text, **{when: lists[i] for when, lists in found.items()}} for i, text in enumerate(examples.texts)
    ]
    return make_rows(results, models), neighbours


def _rebuild(
    settings: TrainSettings, record: RunRecord, pairs: Sequence[tuple[str, str]]
) -> tuple[list[dict[str, str]], int]:
    checkpoint = find_decoder(RunFolder(settings.output), record)
    loss = load_loss(settings, checkpoint, choose_device(settings.device))
    noisy, clean = zip(*pairs, strict=True)
    texts = reconstruct(loss, noisy, clean, text_prompt(loss.encoder))
    rows = [{"noisy": n, "clean": c, "rebuilt": r} for n, c, r in zip(noisy, clean, texts, strict=True)]
    return rows, checkpoint_step(checkpoint)


def find_decoder(run_folder: RunFolder, record: RunRecord) -> Path:
    """Return the best step's checkpoint; where it is gone (or is the base model), the newest one that verifies.

    Raises:
        KitError: If there is none.
    """
    best = run_folder.path / f"checkpoint-{record.get('best_step')}"
    if best.is_dir() and verify_checkpoint(best, record["id"]) is None:
        return best
    newest = select_checkpoint(run_folder, record["id"])
    if newest is None:
        raise KitError(
            f"{run_folder} has no checkpoint, and only a checkpoint holds the decoder. Train with --save-steps."
        )
    return newest


def load_loss(settings: TrainSettings, checkpoint: Path, device: torch.device) -> TSDAELoss:
    """Return encoder and decoder of a checkpoint, in evaluation mode.

    Raises:
        KitError: If they cannot be loaded.
    """
    encoder = load_encoder(str(checkpoint), device, settings.trust_remote_code)
    encoder.float()
    if settings.lora_rank:
        add_adapters(encoder, settings.lora_rank)
    loss = TSDAELoss(encoder, decoder=settings.decoder)
    load_loss_state_dict(loss, encoder, checkpoint / LOSS_WEIGHTS)
    loss.eval()
    return loss
