"""The library's trainer with complete checkpoints, and with the loss trained as one module.

Three things are changed, each in a method that the framework calls:

* The trained module is the *loss*, encoder and decoder together, so that autocast, gradient clipping and the wrapper
  for several processes reach all of it (the library wraps the encoder alone).
* A checkpoint also holds the loss's own weights (the decoder), has checksums, and appears at once.
* The noise and the batch sampler get the epoch, and evaluation restores the random state, so that a resumed run
  computes the same bits.
"""

from __future__ import annotations

import logging
import random
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from accelerate import DistributedDataParallelKwargs
from accelerate.data_loader import prepare_data_loader
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformerTrainer
from sentence_transformers.base.evaluation import SequentialEvaluator
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tsdae_kit import distributed
from tsdae_kit.console import show_bytes
from tsdae_kit.errors import KitError, first_line
from tsdae_kit.filesystem import atomic_folder
from tsdae_kit.models.compatibility import write_compatible_config
from tsdae_kit.run_folder import LOSS_WEIGHTS, RunFolder
from tsdae_kit.training import checkpoints
from tsdae_kit.training.batch_samplers import ShardedBatchSampler
from tsdae_kit.training.loss_components import LossComponents
from tsdae_kit.training.model_selection import ModelSelection
from tsdae_kit.training.signals import EvaluationStopped, ignore_signals

logger = logging.getLogger("tsdae_kit")


class ResumableTrainer(SentenceTransformerTrainer):
    """A ``SentenceTransformerTrainer`` whose resumed run ends in the same bits.

    Attributes:
        run_id: Written into each checkpoint; one of another run is refused.
        on_save_error: Whether training goes on (``continue``) when a checkpoint cannot be saved.
        selection: Scores the encoder at each evaluation, if any.
    """

    def __init__(
        self,
        *args: Any,
        run_id: str = "",
        on_save_error: Literal["continue", "stop"] = "continue",
        selection: ModelSelection | None = None,
        **kwargs: Any,
    ) -> None:
        """Take the library's arguments and three more.

        Args:
            *args: The library's.
            run_id: Written into each checkpoint; any text, the same when the run is resumed.
            on_save_error: ``continue`` turns a failed save into a warning, ``stop`` into :class:`tsdae_kit.KitError`.
            selection: Scores the encoder at each evaluation, and protects the best step's checkpoint.
            **kwargs: The library's.
        """
        if scored_only := selection is not None and kwargs.get("eval_dataset") is None:
            kwargs["evaluator"] = SequentialEvaluator([])  # else the library refuses to evaluate
        super().__init__(*args, **kwargs)
        if scored_only:
            self.evaluator = None
        self.selection = selection
        if selection is not None:
            self.add_callback(selection)
        self.run_id = run_id
        self.on_save_error = on_save_error
        self._staging: Path | None = None
        self._batch_sampler: Any = None  # of the training data
        self._components = LossComponents()
        self.add_callback(_EpochCallback(self))

    # The trained module is the loss.

    def _wrap_model(self, model: nn.Module, training: bool = True, dataloader: Any = None) -> nn.Module:
        if training and isinstance(self.loss, nn.Module):
            if self.model_wrapped is self.model:  # not yet wrapped by an earlier train()
                # The encoder is frozen at first, and poolers are never used: some weights get no gradient.
                self.accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=True)
                wrapped: nn.Module = self.accelerator.prepare_model(self.loss)
                return wrapped
            return self.model_wrapped
        return super()._wrap_model(model, training, dataloader)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the loss of a batch, in training through the wrapped loss, whose ``components`` are noted."""
        if model is self.model or not isinstance(self.loss, nn.Module):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        features, labels = self.collect_features(inputs)
        value = model(features, labels)
        if isinstance(value, dict):  # some of the library's losses, with what the library makes of it
            self.track_loss_components(value)
            return torch.stack(list(value.values())).sum()
        if parts := getattr(self.loss, "components", None):
            finite = value.detach().isfinite() if self.args.logging_nan_inf_filter else None
            batches = self.current_gradient_accumulation_steps
            self._components.add(cast("dict[str, Tensor]", parts), batches, finite, self.state.global_step)
        return value

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log the library's entries, and the loss's components by name."""
        if "loss" in logs:
            parts = self._components.take(self.state.global_step, lambda sums: self.accelerator.reduce(sums, "mean"))
            logs = {**logs, **parts}
        super().log(logs, start_time)

    def _build_dataloader(self, dataset: Any, batch_size: int, dataset_kind: str) -> Any:
        loader = super()._build_dataloader(dataset, batch_size, dataset_kind)
        loader.worker_init_fn = ignore_signals
        if dataset_kind == "train" and distributed.world_size() > 1:  # its batches are sharded already
            loader = prepare_data_loader(
                loader, self.accelerator.device, num_processes=1, process_index=0, put_on_device=True
            )
            loader._is_accelerate_prepared = True
        return loader

    def get_batch_sampler(self, dataset: Any, batch_size: int, *args: Any, **kwargs: Any) -> Any:
        """Return the library's batch sampler; for the training data, this process's shard of it."""
        if dataset is not self.train_dataset:
            return super().get_batch_sampler(dataset, batch_size, *args, **kwargs)
        number, count = distributed.rank(), distributed.world_size()
        sampler = super().get_batch_sampler(dataset, batch_size * count, *args, **kwargs)
        self._batch_sampler = ShardedBatchSampler(sampler, number, count) if count > 1 else sampler
        return self._batch_sampler

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the batch sampler and of the data set's transform, where they take one."""
        transform = getattr(self.train_dataset, "format", {}).get("format_kwargs", {}).get("transform")
        for taker in (self._batch_sampler, transform):
            if hasattr(taker, "set_epoch"):
                taker.set_epoch(epoch)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluate and restore the random state: the number of evaluations must not change the run."""
        try:
            with _restored_random_state():
                result: dict[str, float] = super().evaluate(*args, **kwargs)
        except EvaluationStopped:
            if self.state.global_step:
                self._save_checkpoint(self.model, None)
            raise
        return result

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """Return the held-out loss, and the encoder's score on rank 0.

        (The library's ``evaluator`` would create a folder in the run folder, even where that was moved away.)
        """
        output = super().evaluation_loop(*args, **kwargs)
        if (selection := self.selection) is not None:
            scores = distributed.on_rank_0(lambda: selection.measure(self.model))
            output = output._replace(metrics={**(output.metrics or {}), **scores})
        return output

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """Return the held-out data's batches; none, where the run has scores alone."""
        if eval_dataset is None and self.eval_dataset is None and self.selection is not None:
            return DataLoader(cast("Any", []))
        return super().get_eval_dataloader(eval_dataset)

    # The checkpoint is complete.

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._staging) if self._staging else super()._get_output_dir(trial)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        try:
            with ExitStack() as staging:
                self._save_atomically(model, trial, staging)
        except _SaveFailed as failure:
            run = Path(str(self.args.output_dir))
            room = f", {show_bytes(shutil.disk_usage(run).free)} free" if run.is_dir() else ""
            message = f"The checkpoint of step {self.state.global_step} could not be saved in {run} ({failure}{room})"
            if self.on_save_error == "stop":
                raise KitError(f"{message}. Make room, then --resume.") from failure
            logger.warning(
                "!!! %s. Training goes on; until a save succeeds, a kill loses the steps since the last.", message
            )

    def _save_atomically(self, model: nn.Module, trial: Any, staging: ExitStack) -> None:
        """Write a checkpoint in three parts; after each, all processes know whether it failed."""
        run, step = Path(str(self.args.output_dir)), self.state.global_step
        is_rank_0 = distributed.rank() == 0
        target = run / f"checkpoint-{step}"
        with _shared_failure():
            if not run.is_dir():
                raise FileNotFoundError(f"the folder {run} is gone; was it moved or deleted?")
            folder = staging.enter_context(atomic_folder(target)) if is_rank_0 else None
        folder = distributed.on_rank_0(lambda: folder)
        with _shared_failure():
            self._staging = cast("Path", folder) / "framework"
            try:
                super()._save_checkpoint(model, trial)  # the others add their random state
            finally:
                self._staging = None
                self.state.best_model_checkpoint = None  # in the staging folder: the framework must not look there
        with _shared_failure():
            if is_rank_0:
                self._complete(cast("Path", folder), step)
                staging.close()
                if self.args.save_total_limit:
                    protected = {step, self.state.best_global_step or step}
                    checkpoints.rotate(RunFolder(run), self.run_id, self.args.save_total_limit, protected)

    def _complete(self, folder: Path, step: int) -> None:
        """Add the loss's own weights to the framework's files, and write the checksums."""
        written = folder / "framework" / f"checkpoint-{step}"
        for entry in written.iterdir():
            entry.rename(folder / entry.name)
        written.rmdir()
        written.parent.rmdir()
        save_file(loss_state_dict(self.loss, self.model), folder / LOSS_WEIGHTS)
        checkpoints.write_checksums(folder, self.run_id)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        # No model card for each checkpoint, and no pickle of the arguments, which nothing reads.
        if distributed.rank():  # transformers 5 calls this in every process
            return
        folder = Path(str(output_dir or self.args.output_dir))
        self.model.save_pretrained(str(folder), create_model_card=False)
        write_compatible_config(self.model, folder)

    def _load_from_checkpoint(self, checkpoint_path: str) -> None:  # type: ignore[override]  # as the parent's
        super()._load_from_checkpoint(checkpoint_path)
        load_loss_state_dict(self.loss, self.model, Path(checkpoint_path) / LOSS_WEIGHTS)


class _SaveFailed(Exception):  # noqa: N818
    """A checkpoint could not be saved; the reason in one line."""


@contextmanager
def _shared_failure() -> Iterator[None]:
    """Raise in every process the failure of one of them."""
    failure, cause = None, None
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # what torch and safetensors raise on a full disk
        failure, cause = first_line(error), error
    if failure := distributed.first_over_ranks(failure):
        raise _SaveFailed(failure) from cause


def loss_state_dict(loss: nn.Module | dict[str, nn.Module], model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a loss (or of several, by name) that are not the model's, each once, on the CPU."""
    loss = _as_module(loss)
    of_model = {id(tensor) for tensor in [*model.parameters(), *model.buffers()]}
    persistent = loss.state_dict(keep_vars=True)
    own: list[tuple[str, Tensor]] = [(n, p) for n, p in loss.named_parameters() if id(p) not in of_model]
    own += [(n, b) for n, b in loss.named_buffers() if n in persistent and id(b) not in of_model]
    return {name: tensor.detach().cpu().contiguous() for name, tensor in own}


def load_loss_state_dict(loss: nn.Module | dict[str, nn.Module], model: nn.Module, path: Path) -> None:
    """Copy a checkpoint's tensors into the loss.

    Raises:
        KitError: If the file does not hold exactly the tensors that this loss has.
    """
    saved, expected = load_file(path), loss_state_dict(loss, model)
    shapes = ({name: tensor.shape for name, tensor in tensors.items()} for tensors in (saved, expected))
    if differing := sorted({name for name, _ in set.symmetric_difference(*(set(s.items()) for s in shapes))}):
        names = ", ".join(differing[:5])
        raise KitError(f"{path} does not fit this decoder: {names}. Resume with the run's own settings.")
    _as_module(loss).load_state_dict(saved, strict=False)


def _as_module(loss: nn.Module | dict[str, nn.Module]) -> nn.Module:
    return nn.ModuleDict(loss) if isinstance(loss, dict) else loss


class _EpochCallback(TrainerCallback):
    """Sets the epoch before its first batch is drawn."""

    def __init__(self, trainer: ResumableTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # The state read from a checkpoint has the interrupted run's intervals; the present settings hold.
        state.compute_steps(args, state.max_steps)
        self.trainer._components.begin(state.global_step)

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.trainer.set_epoch(int(state.epoch))


@contextmanager
def _restored_random_state() -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
