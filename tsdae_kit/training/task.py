"""What a stage that trains must say of itself: its data, its loss, its trainer's arguments and callbacks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from tsdae_kit import distributed
from tsdae_kit.config.fields import flag
from tsdae_kit.config.settings import RunSettings
from tsdae_kit.errors import KitError
from tsdae_kit.training.resuming import BASE

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
    from torch import nn

    from tsdae_kit.evaluation.validation_sets import Goal
    from tsdae_kit.models.weight_averaging import BaseWeightAverage
    from tsdae_kit.training.measurements import Examples


class TrainingData(Protocol):
    """What a stage trains on."""

    @property
    def fingerprint(self) -> str:
        """A digest by which changed data is known."""

    @property
    def size(self) -> int:
        """How many rows there are to train on."""

    @property
    def held_out_size(self) -> int:
        """How many there are to evaluate on."""


Data = TypeVar("Data", bound=TrainingData)
Settings = TypeVar("Settings", bound=RunSettings)


class TrainingTask(ABC, Generic[Settings, Data]):
    """What differs from stage to stage; methods are called in the order in which they stand here."""

    kind: ClassVar[type[RunSettings]]

    @abstractmethod
    def load_data(self, settings: Settings) -> Data:
        """Return what is trained on."""

    @abstractmethod
    def training_texts(self, settings: Settings, data: Data) -> Iterator[tuple[str, Iterable[Iterable[object]]]]:
        """Yield the place of each part of the training data and, in batches, its texts (other values do not matter)."""

    def read_validation_sets(self, settings: Settings, data: Data) -> list[Goal]:
        """Return what the encoder is scored by while it is trained: the goals that ``--eval-data`` sets."""
        from tsdae_kit.evaluation.validation_sets import read_validation_set

        goals = [read_validation_set(name, settings) for name in settings.eval_data]
        for name in ("require_gain", "patience"):
            if getattr(settings, name) and not goals:  # a resumed run has them in its record
                raise KitError(f"{flag(name)} needs data on which a gain would show. Pass --eval-data.")
        return goals

    def warn_of_validation_overlap(self, settings: Settings, data: Data, goals: list[Goal]) -> None:
        """Say which texts of the goals are trained on."""
        from tsdae_kit.evaluation.overlap import warn_of_overlap

        tasks = [task for goal in goals for task in goal.tasks]
        for place, texts in self.training_texts(settings, data) if tasks else ():
            warn_of_overlap(tasks, texts, place)

    def load_encoder(self, settings: Settings, data: Data, device: torch.device) -> SentenceTransformer:
        """Return the model to start from, without adapters."""
        from tsdae_kit.models.adapters import merge_adapters
        from tsdae_kit.models.loading import load_encoder

        encoder = load_encoder(settings.model, device, settings.trust_remote_code)
        merge_adapters(encoder)
        return encoder

    def load_base(self, settings: Settings, data: Data, device: torch.device) -> SentenceTransformer:
        """Return the model that the run began with: the run's own copy, once there is one."""
        from tsdae_kit.models.loading import load_encoder

        kept = settings.output / BASE
        if kept.is_dir() and not settings.overwrite:
            return load_encoder(str(kept), device, settings.trust_remote_code)
        return self.load_encoder(settings, data, device).float()

    @abstractmethod
    def make_loss(self, settings: Settings, encoder: SentenceTransformer, data: Data) -> nn.Module:
        """Return the objective, with new weights of its own where it has some."""

    def fit_memory(self, settings: Settings, encoder: SentenceTransformer, loss: nn.Module, data: Data) -> Settings:
        """Say what a step takes in memory; return the settings with a batch size that was left open filled in."""
        return settings

    def resolve(self, settings: Settings, steps: int) -> Settings:
        """Return the settings with what depends on the run's length filled in."""
        return settings

    def complete_data(self, settings: Settings, encoder: SentenceTransformer, data: Data) -> Data:
        """Return the data with what the encoder finds for it; nothing of the run is written yet."""
        return data

    @abstractmethod
    def make_arguments(
        self, settings: Settings, encoder: SentenceTransformer, evaluates: bool, steps: int
    ) -> SentenceTransformerTrainingArguments:
        """Return the library's training arguments."""

    @abstractmethod
    def describe(self, settings: Settings, data: Data, loss: nn.Module) -> dict[str, str]:
        """Return what card and report say of data and objective; of files their names without folders."""

    def keep_base(self, settings: Settings, data: Data, loss: nn.Module) -> BaseWeightAverage | None:
        """Write a copy of the base model, if the run needs it to the end; return what it contributes to the weights."""
        from tsdae_kit.models.saving import write_model
        from tsdae_kit.models.weight_averaging import BaseWeightAverage

        regularization: Any = getattr(loss, "regularization", None)
        known = regularization and regularization.base
        if not (known or settings.base_weight):
            return None

        def load() -> SentenceTransformer:
            return known or self.load_base(settings, data, next(loss.parameters()).device)

        kept = settings.output / BASE
        distributed.on_rank_0(lambda: None if kept.is_dir() else write_model(load(), kept))
        return BaseWeightAverage(settings.base_weight, load) if settings.base_weight else None

    @abstractmethod
    def introduce(self, settings: Settings, data: Data, loss: nn.Module, steps: int) -> None:
        """Say what is trained, on what."""

    @abstractmethod
    def trainer_parts(self, settings: Settings, encoder: SentenceTransformer, data: Data) -> dict[str, Any]:
        """Return the trainer's ``train_dataset``, ``eval_dataset`` and ``callbacks``."""

    @abstractmethod
    def examples(self, settings: Settings, data: Data) -> Examples:
        """Return texts by which the report shows what the run did."""

    def begins_with_a_model(self, settings: Settings) -> bool:
        """Return whether there is a model to compare the final one with."""
        return True

    def tokens_per_word(self, encoder: SentenceTransformer, data: Data) -> float | None:
        """Return what makes a loss per token a perplexity per word, if the held-out loss is one."""
        return None
