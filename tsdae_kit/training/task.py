"""What one kind of training run says of itself; :mod:`tsdae_kit.training.runner` does the rest for all kinds."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import pyarrow as pa
import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from torch import nn

from tsdae_kit import distributed
from tsdae_kit.config.settings.training import RunSettings
from tsdae_kit.models.adapters import merge_adapters
from tsdae_kit.models.loading import load_encoder
from tsdae_kit.run_folder import RunFolder, TaskName


class TrainingData(Protocol):
    """What a task trains on."""

    @property
    def fingerprint(self) -> str:
        """A digest of the content."""

    @property
    def size(self) -> int:
        """The number of training rows."""

    @property
    def held_out_size(self) -> int:
        """The number of held-out rows."""

    def texts(self) -> Iterator[tuple[str, Iterable[Iterable[object]]]]:
        """Yield the place of each part of the data and its texts, in batches (other values are ignored)."""


@dataclass(frozen=True)
class Examples:
    """Texts of the training data that the report shows.

    Attributes:
        texts: Their nearest neighbours are shown.
        searched: The texts among which neighbours are searched.
        pairs: Noisy and clean sentences, to be rebuilt by the decoder.
    """

    texts: list[str]
    searched: list[str]
    pairs: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class TrainerInputs:
    """What a task gives the trainer, and says about it.

    Attributes:
        arguments: The library's training arguments.
        train_dataset: The training rows.
        eval_dataset: The held-out rows, if any.
        callbacks: Of the task.
        description: Facts of data and objective, for card and report; files by their names, without folders.
        messages: Lines that introduce the run.
        tokens_per_word: Turns the held-out loss per token into a perplexity per word, where it is such a loss.
        run_files: Tables to be written into the run folder, by file name, so that a resumed run reads them.
    """

    arguments: SentenceTransformerTrainingArguments
    train_dataset: Any
    eval_dataset: Any = None
    callbacks: tuple[Any, ...] = ()
    description: dict[str, str] = field(default_factory=dict)
    messages: tuple[str, ...] = ()
    tokens_per_word: float | None = None
    run_files: dict[str, pa.Table] = field(default_factory=dict)


NEIGHBOUR_TEXTS, SEARCHED_SENTENCES, REBUILT_SENTENCES = 10, 1000, 5  # of the examples in a report
Data = TypeVar("Data", bound=TrainingData)
Settings = TypeVar("Settings", bound=RunSettings)


class TrainingTask(ABC, Generic[Settings, Data]):
    """One kind of training run. The methods are called in the order in which they stand here."""

    name: ClassVar[TaskName]
    settings_type: ClassVar[type[RunSettings]]

    @abstractmethod
    def load_data(self, settings: Settings) -> Data:
        """Return the training data."""

    def load_encoder(self, settings: Settings, data: Data, device: torch.device) -> SentenceTransformer:
        """Return the base model, without adapters."""
        encoder = load_encoder(settings.model, device, settings.trust_remote_code)
        merge_adapters(encoder)
        return encoder

    def load_base(self, settings: Settings, data: Data, device: torch.device) -> SentenceTransformer:
        """Return the model that the run began with: the run's own copy, once there is one."""
        copy = RunFolder(settings.output).base
        if copy.is_dir() and not settings.overwrite:
            return load_encoder(str(copy), device, settings.trust_remote_code)
        return self.load_encoder(settings, data, device).float()

    def resolve(self, settings: Settings) -> Settings:
        """Return the settings with what depends on the base model filled in."""
        return settings

    @abstractmethod
    def make_loss(self, settings: Settings, encoder: SentenceTransformer, data: Data) -> nn.Module:
        """Return the loss, with new weights of its own where it has some."""

    def resolve_size(self, settings: Settings, encoder: SentenceTransformer, loss: nn.Module, data: Data) -> Settings:
        """Return the settings with batch size, and what depends on the number of steps, filled in."""
        return settings

    @abstractmethod
    def trainer_inputs(
        self, settings: Settings, encoder: SentenceTransformer, loss: nn.Module, data: Data
    ) -> TrainerInputs:
        """Return the trainer's inputs; nothing of the run is written yet."""

    @abstractmethod
    def examples(self, data: Data) -> Examples:
        """Return the texts that the report shows."""


def sentences_per_step(settings: RunSettings) -> int:
    """Return the number of rows in a step, over all processes."""
    return settings.batch_size * distributed.world_size() * settings.gradient_accumulation_steps


def count_steps(settings: RunSettings, rows: int) -> int:
    """Return the number of optimizer steps of the whole run."""
    batches = math.ceil(rows / (settings.batch_size * distributed.world_size()))
    per_epoch = math.ceil(batches / settings.gradient_accumulation_steps)
    return settings.max_steps or math.ceil(settings.epochs * per_epoch)


def has_evaluation(settings: RunSettings, data: TrainingData) -> bool:
    """Return whether a run has something to evaluate on: held-out rows, or validation sets."""
    return data.held_out_size > 0 or bool(settings.eval_data)
