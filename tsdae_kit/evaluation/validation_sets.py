"""Validation sets: evaluation data reduced to one score, by which a run selects its best step."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from sentence_transformers import SentenceTransformer

from tsdae_kit.config.settings.reading import ReadingSettings
from tsdae_kit.evaluation.loading import DEFAULT_READING, holds_split, read_tasks
from tsdae_kit.evaluation.metrics import score
from tsdae_kit.evaluation.scoring import Embeddings, score_task
from tsdae_kit.evaluation.tasks import Retrieval, Task, main_metric


@dataclass(frozen=True)
class ValidationSet:
    """Tasks of one kind and their common metric: retrieval if the folder has any, else reranking, else pairs.

    Attributes:
        name: The folder and the metric.
        split: ``dev``, or ``test`` if the folder has no dev split.
        tasks: The tasks to score; the score is their mean.
    """

    name: str
    split: str
    tasks: tuple[Task, ...]

    @property
    def digest(self) -> str:
        """A digest of what is scored; scores under different digests cannot be compared."""
        # Run records hold this digest: its text must not change with a name in the code.
        tasks = repr(tuple(map(_DigestedTask, self.tasks)))
        text = f"Goal(name={self.name!r}, split={self.split!r}, tasks={tasks})"
        for task in self.tasks:
            if isinstance(task, Retrieval) and task.identical_docs:
                text += repr(task.identical_docs)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class _DigestedTask:
    """A task whose ``repr`` is that of version 0.1, when retrieval had a field ``proxy``."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def __repr__(self) -> str:
        text = repr(self.task)
        return f"{text[:-1]}, proxy=False)" if isinstance(self.task, Retrieval) else text


def read_validation_set(name: str, reading: ReadingSettings = DEFAULT_READING) -> ValidationSet:
    """Return the validation set of a folder (or a file) of evaluation data.

    Args:
        name: The folder or file.
        reading: The encoding and quoting of its files.

    Raises:
        KitError: If there is nothing to score, or a file is invalid.
    """
    split = "dev" if holds_split(Path(name), "dev") else "test"
    first, *others = read_tasks(name, split, reading)
    same_kind = (task for task in others if type(task) is type(first) and task.metric_names == first.metric_names)
    return ValidationSet(f"{Path(name).resolve().name} {main_metric(first)}", split, (first, *same_kind))


def score_validation_set(validation_set: ValidationSet, encoder: SentenceTransformer, batch_size: int) -> float:
    """Return the encoder's score, from 0 to 100."""
    embeddings = Embeddings(encoder, "the encoder", batch_size)
    scores = [score(score_task(task, embeddings)[main_metric(task)]) for task in validation_set.tasks]
    return sum(scores) / len(scores)
