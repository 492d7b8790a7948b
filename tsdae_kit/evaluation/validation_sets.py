"""One number for a folder of evaluation data: what a run is steered by."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from sentence_transformers import SentenceTransformer

from tsdae_kit.config.settings import ReadingSettings
from tsdae_kit.evaluation.data import UTF8, holds_split, read_tasks
from tsdae_kit.evaluation.metrics import score
from tsdae_kit.evaluation.scoring import Embeddings, score_task
from tsdae_kit.evaluation.tasks import Retrieval, Task


@dataclass(frozen=True)
class ValidationSet:
    """The mean of one metric over a folder's tasks of one kind: retrieval if it has any, else reranking, else pairs.

    Attributes:
        name: The folder and the metric.
        split: ``dev``, or ``test`` where the folder has no dev part.
        tasks: What is scored.
    """

    name: str
    split: str
    tasks: tuple[Task, ...]

    @property
    def digest(self) -> str:
        """What is scored, as a number: scores on other texts cannot be compared."""
        itself = [task.itself for task in self.tasks if isinstance(task, Retrieval) and task.itself]
        return hashlib.blake2b((repr(self) + "".join(map(repr, itself))).encode(), digest_size=16).hexdigest()


def read_validation_set(name: str, reading: ReadingSettings = UTF8) -> ValidationSet:
    """Return the goal that a folder (or a file) of evaluation data sets.

    Args:
        name: The folder or file.
        reading: How its files are written.

    Raises:
        KitError: If there is nothing to score, or a file is not as it should be.
    """
    split = "dev" if holds_split(Path(name), "dev") else "test"
    tasks = read_tasks(name, split, reading)
    alike = tuple(task for task in tasks if type(task) is type(tasks[0]) and task.metrics == tasks[0].metrics)
    return ValidationSet(f"{Path(name).resolve().name} {tasks[0].metrics[0]}", split, alike)


def score_validation_set(goal: ValidationSet, encoder: SentenceTransformer, batch_size: int) -> float:
    """Return the encoder's score, from 0 to 100."""
    embeddings = Embeddings(encoder, "the encoder", batch_size)
    values = [score(score_task(task, embeddings)[task.metrics[0]]) for task in goal.tasks]
    return sum(values) / len(values)
