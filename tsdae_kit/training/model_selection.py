"""Scores the encoder on validation sets during training, and selects the step that becomes the final model.

Step 0, the base model, takes part: a run may find that no step beats it. Each new best step is saved at once,
whatever ``--save-steps``. A resumed run reads the scores back from ``metrics.jsonl`` and from the checkpoint (after a
kill, either may lack the last one), so that it selects as if it had never been killed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tsdae_kit.config.fields import flag
from tsdae_kit.config.settings.training import RunSettings
from tsdae_kit.errors import KitError
from tsdae_kit.evaluation.validation_sets import ValidationSet, read_validation_set, score_validation_set
from tsdae_kit.models.weight_averaging import BaseWeightAverage
from tsdae_kit.run_folder import RunFolder
from tsdae_kit.training.checkpoints import verify_checkpoint

logger = logging.getLogger("tsdae_kit")
SCORE = "eval_score"


class ModelSelection(TrainerCallback):
    """The scores of the evaluated steps, by which the final model is selected.

    Attributes:
        scores: By step, from 0 to 100: the mean over the validation sets.
    """

    def __init__(
        self,
        validation_sets: Sequence[ValidationSet],
        batch_size: int,
        max_length: int | None,
        patience: int | None = None,
        averaging: BaseWeightAverage | None = None,
    ) -> None:
        """Take what is scored, and how.

        Args:
            validation_sets: The folders of ``--eval-data``.
            batch_size: Texts encoded at once.
            max_length: The base model's, in tokens; training may use a shorter one.
            patience: The run ends after this many evaluations in a row without a better score.
            averaging: Scored is the average with the base model's weights, as the final model will be.
        """
        self.scores: dict[int, float] = {}
        self.validation_sets = validation_sets
        self._batch_size = batch_size
        self._max_length = max_length
        self._patience = patience
        self._averaging = averaging

    @property
    def best(self) -> int:
        """The step with the highest score; of equal ones the first."""
        return min(self.scores, key=lambda step: (-self.scores[step], step))

    @property
    def exhausted(self) -> bool:
        """Whether patience ran out."""
        return self._patience is not None and sum(step > self.best for step in self.scores) >= self._patience

    def measure(self, encoder: SentenceTransformer) -> dict[str, float]:
        """Return the mean score and that of each validation set, as evaluation metrics."""
        length, training = encoder.max_seq_length, encoder.training
        encoder.max_seq_length = self._max_length
        try:
            with self._averaging.applied(encoder) if self._averaging else nullcontext():
                scores = {
                    f"eval_{one.name}": score_validation_set(one, encoder, self._batch_size)
                    for one in self.validation_sets
                }
        finally:
            encoder.max_seq_length = length
            encoder.train(training)
        return {SCORE: sum(scores.values()) / len(scores), **scores}

    def restore(self, run_folder: RunFolder, checkpoint: Path | None) -> None:
        """Read the scores of an interrupted run, up to its checkpoint (the metrics are trimmed to it already)."""
        self.scores |= {entry["step"]: entry[SCORE] for entry in run_folder.read_metrics() if SCORE in entry}
        if checkpoint is not None:
            state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
            if state.best_global_step is not None and state.best_metric is not None:
                self.scores[state.best_global_step] = state.best_metric

    def usable_steps(self, run_folder: RunFolder, run_id: str, last: int) -> Iterator[int]:
        """Yield the steps whose model is there, best first: the last, the base model, and verified checkpoints."""
        for step in sorted(self.scores, key=lambda step: (-self.scores[step], step)):
            checkpoint = run_folder.checkpoint(step)
            reason = None if step in (0, last) else verify_checkpoint(checkpoint, run_id)
            if reason is None:
                yield step
            else:
                logger.warning(
                    "!!! %s scored %.2f, but %s: the next best is taken.", checkpoint, self.scores[step], reason
                )

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Tell the trainer the best step so far, whose checkpoint is then not deleted."""
        self._set_best(state)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Record the score; save a new best step."""
        metrics: dict[str, float] = kwargs["metrics"]
        if SCORE in metrics:
            self.scores[state.global_step] = metrics[SCORE]
            self._set_best(state)
            control.should_save |= self.best == state.global_step > 0
            control.should_training_stop |= self.exhausted

    def _set_best(self, state: TrainerState) -> None:
        if self.scores:
            state.best_global_step = self.best
            state.best_metric = self.scores[self.best]


def read_validation_sets(settings: RunSettings) -> list[ValidationSet]:
    """Return the validation sets of ``--eval-data``.

    Raises:
        KitError: If one cannot be read, or a setting needs one and there is none.
    """
    validation_sets = [read_validation_set(name, settings) for name in settings.eval_data]
    for name in ("require_gain", "patience"):
        if getattr(settings, name) and not validation_sets:  # a resumed run has them in its record
            raise KitError(f"{flag(name)} needs data on which a gain would show. Pass --eval-data.")
    return validation_sets
