"""Scores the encoder while it is trained, and chooses the step that becomes the final model.

Step 0, the base model, takes part: a run may find that nothing beats it. Each new best step gets a
checkpoint at once, whatever the cadence of saving. What was scored is read back from ``metrics.jsonl``
and from the checkpoint, either of which may lack the last score after a kill, so that a resumed run
chooses as if it had never been killed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tsdae_kit.evaluation.validation_sets import Goal, score_validation_set
from tsdae_kit.models.weight_averaging import BaseWeightAverage
from tsdae_kit.training.checkpoints import verify_checkpoint

logger = logging.getLogger("tsdae_kit")
SCORE = "eval_score"


class Selection(TrainerCallback):
    """Knows the score of each step that was evaluated.

    Args:
        goals: The folders of ``--eval-data``; the score is their mean.
        batch_size: Texts encoded at once.
        max_length: The base model's, in tokens; a shorter one may be used in training.
        patience: After so many evaluations in a row without a better score the run ends.
        share: What is scored has that of the base model, as the final model will.

    Attributes:
        scores: By step.
    """

    def __init__(
        self,
        goals: Sequence[Goal],
        batch_size: int,
        max_length: int | None,
        patience: int | None = None,
        share: BaseWeightAverage | None = None,
    ) -> None:
        self.scores: dict[int, float] = {}
        self._goals = goals
        self._batch_size = batch_size
        self._max_length = max_length
        self._patience = patience
        self._share = share

    @property
    def best(self) -> int:
        """The step of the highest score; of equal ones the first."""
        return min(self.scores, key=lambda step: (-self.scores[step], step))

    @property
    def exhausted(self) -> bool:
        """Whether patience ran out."""
        return self._patience is not None and sum(step > self.best for step in self.scores) >= self._patience

    def measure(self, encoder: SentenceTransformer) -> dict[str, float]:
        """Return the encoder's score and those it is the mean of, as evaluation metrics."""
        length, training = encoder.max_seq_length, encoder.training
        encoder.max_seq_length = self._max_length
        try:
            with self._share.mixed(encoder) if self._share else nullcontext():
                parts = {
                    f"eval_{goal.name}": score_validation_set(goal, encoder, self._batch_size) for goal in self._goals
                }
        finally:
            encoder.max_seq_length = length
            encoder.train(training)
        return {SCORE: sum(parts.values()) / len(parts), **parts}

    def remember(self, metrics: Path, checkpoint: Path | None) -> None:
        """Take up the scores of an interrupted run, up to its checkpoint (``metrics`` is cut there already)."""
        with suppress(OSError):
            for line in metrics.read_text(encoding="utf-8").splitlines():
                entry = json.loads(line)
                if SCORE in entry:
                    self.scores[entry["step"]] = entry[SCORE]
        if checkpoint is not None:
            state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
            if state.best_global_step is not None and state.best_metric is not None:
                self.scores[state.best_global_step] = state.best_metric

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Hand the best step so far to the trainer, whose rotation keeps its checkpoint."""
        self._tell(state)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Note the score; a new best step is saved."""
        metrics: dict[str, float] = kwargs["metrics"]
        if SCORE in metrics:
            self.scores[state.global_step] = metrics[SCORE]
            self._tell(state)
            control.should_save |= self.best == state.global_step > 0
            control.should_training_stop |= self.exhausted

    def _tell(self, state: TrainerState) -> None:
        if self.scores:
            state.best_global_step = self.best
            state.best_metric = self.scores[self.best]


def choose_model(
    selection: Selection,
    encoder: SentenceTransformer,
    load: Callable[[Path | None], SentenceTransformer],
    run: tuple[Path, str],
    steps: int,
) -> tuple[SentenceTransformer, int]:
    """Return the encoder of the best step, and the step.

    Args:
        selection: The scores; one that is missing (an evaluation broken off at the end) is made up for.
        encoder: As it is after the last step.
        load: Gives the encoder of a checkpoint; of ``None``, the base model.
        run: The run's folder and id.
        steps: The last step.
    """
    if steps not in selection.scores:
        selection.scores[steps] = selection.measure(encoder)[SCORE]
    for step in sorted(selection.scores, key=lambda step: (-selection.scores[step], step)):
        if step == steps:
            return encoder, step
        if step == 0:
            return load(None), step
        checkpoint = run[0] / f"checkpoint-{step}"
        fault = verify_checkpoint(checkpoint, run[1])
        if fault is None:
            return load(checkpoint), step
        logger.warning("!!! %s scored %.2f, but %s: the next best is taken.", checkpoint, selection.scores[step], fault)
    raise AssertionError("the last step is always there")
