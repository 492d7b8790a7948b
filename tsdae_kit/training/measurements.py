"""What a finished run has to show: scores and neighbours before and after, and sentences rebuilt.

All of it is measured from the folder, once, and kept in ``outcome.json``: the page that shows it can be
made again, and runs compared, without a model. The models are loaded one after the other. A part that
cannot be measured (its model is gone, memory is short) is said and left out: the run is whole by now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsdae_kit.config.settings import RunSettings, TrainSettings
from tsdae_kit.errors import KitError, warn_on_error
from tsdae_kit.training.checkpoints import checkpoint_step, select_checkpoint, verify_checkpoint
from tsdae_kit.training.resuming import FINAL

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

    from tsdae_kit.evaluation.results import Samples
    from tsdae_kit.evaluation.validation_sets import Goal
    from tsdae_kit.tsdae.loss import TSDAELoss

REBUILT, LOOKED_UP, NEAREST = 5, 10, 3  # sentences
SEARCHED = 1000


@dataclass(frozen=True)
class Examples:
    """Texts of a run's data by which a person sees what it did.

    Attributes:
        texts: Whose neighbours are shown.
        searched: Where they are looked for.
        pairs: Noisy and clean sentences, to be rebuilt.
    """

    texts: list[str]
    searched: list[str]
    pairs: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """What is kept in ``outcome.json``.

    Attributes:
        scores: Rows as in scores.json, of the model that the run began with and of the final one.
        neighbours: A text, and its nearest before and after; before is missing for a model from scratch.
        searched: Among how many.
        rebuilt: Noisy, clean and rebuilt sentences.
        rebuilt_at: The step of the decoder that did it.
    """

    scores: list[dict[str, Any]]
    neighbours: list[dict[str, Any]]
    searched: int
    rebuilt: list[dict[str, str]]
    rebuilt_at: int | None


def part(name: str) -> AbstractContextManager[None]:
    """Let what fails in this block be missing from the report."""
    return warn_on_error(f"{name} cannot be in the report", "The model is whole.")


def measure_outcome(
    settings: RunSettings,
    record: dict[str, Any],
    examples: Examples,
    goals: Sequence[Goal],
    loads: Mapping[str, Callable[[], SentenceTransformer]],
) -> dict[str, Any]:
    """Return what ``outcome.json`` holds.

    Args:
        settings: The run's.
        record: The run's.
        examples: Of its data.
        goals: What it was scored by.
        loads: Give the encoders ``before`` and ``after``; without the first there is nothing to compare.
    """
    from tsdae_kit.evaluation.results import compare_models, make_rows
    from tsdae_kit.models.nearest_neighbours import find_nearest_neighbours

    tasks = [task for goal in goals for task in goal.tasks]
    scored: dict[tuple[str, str], Samples] = {}
    found: dict[str, Any] = {}
    names = {"before": settings.model, "after": str(settings.output / FINAL)}
    for when, load in loads.items():
        with part(f"What the model makes of texts {when} the run"):
            encoder = load()
            scored |= _score(encoder, names[when], goals, settings)
            found[when] = find_nearest_neighbours(encoder, examples.texts, examples.searched, NEAREST)
            del encoder
    models = list(names.values())
    results = [result for task in tasks for result in compare_models(task, models, scored)]
    rebuilt: list[dict[str, str]] = []
    step = None
    if examples.pairs and isinstance(settings, TrainSettings):
        with part("What the decoder rebuilds"):
            rebuilt, step = _rebuild(settings, record, examples.pairs)
    return asdict(
        Outcome(
            scores=make_rows(results, models),
            neighbours=[
                {"text": text, **{when: lists[i] for when, lists in found.items()}}
                for i, text in enumerate(examples.texts)
            ],
            searched=len(examples.searched),
            rebuilt=rebuilt,
            rebuilt_at=step,
        )
    )


def _score(
    encoder: SentenceTransformer, name: str, goals: Sequence[Goal], settings: RunSettings
) -> dict[tuple[str, str], Samples]:
    from tsdae_kit.evaluation.scoring import Embeddings, score_task

    scored: dict[tuple[str, str], Samples] = {}
    for goal in goals:
        embeddings = Embeddings(encoder, name, settings.batch_size)
        scored |= {(name, task.name): score_task(task, embeddings) for task in goal.tasks}
    return scored


def _rebuild(
    settings: TrainSettings, record: dict[str, Any], pairs: Sequence[tuple[str, str]]
) -> tuple[list[dict[str, str]], int]:
    from tsdae_kit.models.devices import choose_device
    from tsdae_kit.models.prompts import text_prompt
    from tsdae_kit.tsdae.reconstruction import rebuild

    checkpoint = find_decoder(settings.output, record)
    loss = load_trained(settings, checkpoint, choose_device(settings.device))
    noisy, clean = zip(*pairs, strict=True)
    texts = rebuild(loss, noisy, clean, text_prompt(loss.encoder))
    rows = [{"noisy": n, "clean": c, "rebuilt": r} for n, c, r in zip(noisy, clean, texts, strict=True)]
    return rows, checkpoint_step(checkpoint)


def find_decoder(run: Path, record: dict[str, Any]) -> Path:
    """Return the checkpoint of the best step, or the newest good one where that one's is gone (or is the base model).

    Raises:
        KitError: If there is none.
    """
    best = run / f"checkpoint-{record.get('best_step')}"
    if best.is_dir() and verify_checkpoint(best, record["id"]) is None:
        return best
    newest = select_checkpoint(run, record["id"])
    if newest is None:
        raise KitError(f"{run} has no checkpoint, and only a checkpoint holds the decoder. Train with --save-steps.")
    return newest


def load_trained(settings: TrainSettings, checkpoint: Path, device: torch.device) -> TSDAELoss:
    """Return encoder and decoder as they were saved, to be looked at.

    Raises:
        KitError: If they cannot be loaded.
    """
    from tsdae_kit.models.adapters import train_adapters
    from tsdae_kit.models.loading import load_encoder
    from tsdae_kit.training.trainer import LOSS_WEIGHTS, load_loss_state_dict
    from tsdae_kit.tsdae.loss import TSDAELoss

    encoder = load_encoder(str(checkpoint), device, settings.trust_remote_code)
    encoder.float()
    if settings.lora_rank:
        train_adapters(encoder, settings.lora_rank)
    loss = TSDAELoss(encoder, decoder=settings.decoder)
    load_loss_state_dict(loss, encoder, checkpoint / LOSS_WEIGHTS)
    loss.eval()
    return loss
