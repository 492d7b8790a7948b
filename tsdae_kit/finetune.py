"""Stage two: fine-tune the adapted encoder on whatever labelled pairs there are.

``python -m tsdae_kit.finetune pairs.jsonl`` takes ``runs/tsdae/final``, chooses the objective by the
columns of the file, and is resumed, stopped and written as stage one is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsdae_kit import distributed
from tsdae_kit.config.command_line import make_main
from tsdae_kit.config.settings import FineTuneSettings
from tsdae_kit.errors import KitError
from tsdae_kit.training.resuming import BASE, read_record
from tsdae_kit.training.runner import run_task, sentences_per_step
from tsdae_kit.training.task import TrainingTask

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
    from torch import nn

    from tsdae_kit.config.settings import Objective
    from tsdae_kit.labelled.pairs import LabelledFile, LabelledPairs
    from tsdae_kit.models.prompts import Prompts
    from tsdae_kit.training.measurements import Examples

logger = logging.getLogger("tsdae_kit")
WARMUP = 0.1  # the share of the run in which the learning rate rises, the library's advice


def fine_tune(**given: Any) -> Path:
    """Fine-tune an encoder on labelled pairs; return the folder of the fine-tuned model.

    Args:
        **given: Fields of :class:`tsdae_kit.config.settings.FineTuneSettings`, for example
            ``files=["pairs.jsonl"], model="runs/tsdae/final", output="runs/finetuned"``.

    Raises:
        KitError: For files without labelled pairs, a missing model, a folder in use, or settings that
            contradict the run's record.
        NoGain: With ``require_gain``, if no step scored above the model it began with.
        RunStopped: If a signal ended the run, its state saved; not an ``Exception``.
    """
    return run_task(PairsTask(), given)


class PairsTask(TrainingTask[FineTuneSettings, "LabelledPairs"]):
    """Stage two: labelled files, each with its own of the library's losses."""

    kind = FineTuneSettings
    _prompts: Prompts
    _prompts_said = ""

    def load_data(self, settings: FineTuneSettings) -> LabelledPairs:
        """Return the files' rows, those that the objective can use."""
        from tsdae_kit.corpus.chunk_processor import read_sentences
        from tsdae_kit.corpus.files import content_digest, is_evaluation_data
        from tsdae_kit.corpus.formats import Format
        from tsdae_kit.labelled.loading import load_labelled
        from tsdae_kit.training.pair_losses import check_learnable

        pairs = load_labelled(settings.sources, Format.of(settings), settings.columns)
        if len(pairs.files) > 1 and distributed.world_size() > 1:
            raise KitError("Several files are trained on by one process only. Join the files, or start one process.")
        pairs = replace(pairs, files=tuple(_usable(file, _objective(settings, file)) for file in pairs.files))
        for file in pairs.files:
            rows_per_batch = settings.batch_size * distributed.world_size()
            check_learnable(file.rows, _objective(settings, file), rows_per_batch, str(file.path))
        if (corpus := settings.mine_negatives) is None:
            return pairs
        if not corpus.is_file():
            raise KitError(f"--mine-negatives {corpus} is no file. Name the field's text, a sentence a line.")
        if is_evaluation_data(corpus):
            raise KitError(f"--mine-negatives {corpus} holds evaluation data. Name the field's documents alone.")
        if not any(_wants_negatives(settings, file) for file in pairs.files):
            raise KitError("--mine-negatives is for pairs that belong together, without a label or a negative.")
        kept = [settings.output / _negatives_name(name) for name in _by_name(pairs)]
        sentences: tuple[str, ...] = ()
        if settings.overwrite or not any(path.exists() for path in kept):  # else it was searched already
            sentences = tuple(dict.fromkeys(read_sentences(corpus, Format.of(settings))))
        return replace(pairs, fingerprint=content_digest([*settings.sources, corpus]), corpus=sentences)

    def complete_data(
        self, settings: FineTuneSettings, encoder: SentenceTransformer, data: LabelledPairs
    ) -> LabelledPairs:
        """Return the files with mined negatives where they are wanted."""
        files = [self._with_negatives(settings, encoder, name, data) for name in _by_name(data)]
        return replace(data, files=tuple(files), corpus=())

    def training_texts(
        self, settings: FineTuneSettings, data: LabelledPairs
    ) -> Iterator[tuple[str, Iterable[Iterable[object]]]]:
        """Yield the columns of each file."""
        for file in data.files:
            yield str(file.path), (column.to_pylist() for column in file.rows.columns)

    def make_loss(self, settings: FineTuneSettings, encoder: SentenceTransformer, data: LabelledPairs) -> nn.Module:
        """Return the loss, or one for each file by its name."""
        from torch import nn

        from tsdae_kit.models.prompts import column_prompts
        from tsdae_kit.training.pair_losses import NEEDS_DISTINCT, make_objective

        self._prompts = {
            name: column_prompts(encoder, _texts(settings, file), _objective(settings, file) == NEEDS_DISTINCT)
            for name, file in _by_name(data).items()
        }
        made = {
            name: make_objective(_objective(settings, file), encoder, settings.batch_size, max(2, len(file.classes)))
            for name, file in _by_name(data).items()
        }
        return next(iter(made.values())) if len(made) == 1 else nn.ModuleDict(made)

    def make_arguments(
        self, settings: FineTuneSettings, encoder: SentenceTransformer, evaluates: bool, steps: int
    ) -> SentenceTransformerTrainingArguments:
        """Return the arguments: a rate that rises and falls, no text twice in a batch, and the model's prompts."""
        from tsdae_kit.models.prompts import describe_prompts, set_prompts
        from tsdae_kit.training.arguments import training_arguments
        from tsdae_kit.training.batch_samplers import labelled_batch_sampler

        stage = {"lr_scheduler_type": "linear", "warmup_steps": WARMUP, "batch_sampler": labelled_batch_sampler}
        # How many batches without duplicates there are shows only at the end: the steps decide.
        arguments = training_arguments(replace(settings, max_steps=steps), encoder.device.type, evaluates, stage)
        self._prompts = set_prompts(arguments, self._prompts)
        self._prompts_said = describe_prompts(self._prompts, encoder)
        return arguments

    def describe(self, settings: FineTuneSettings, data: LabelledPairs, loss: nn.Module) -> dict[str, str]:
        """Return each file's size and objective."""
        names = [file.path.name for file in data.files]
        about = {
            (
                name if names.count(name) == 1 else f"{number}: {name}"
            ): f"{len(file.rows):,} rows; {file.roles}; objective {_objective(settings, file)}"
            for number, (name, file) in enumerate(zip(names, data.files, strict=True))
        }
        if settings.mine_negatives:
            finder = "the base model of stage one" if _find_finder(settings) else "the encoder"
            about["hard negatives"] = f"mined from {settings.mine_negatives.name} by {finder}"
        if self._prompts_said:
            about["prompts"] = self._prompts_said
        return about

    def introduce(self, settings: FineTuneSettings, data: LabelledPairs, loss: nn.Module, steps: int) -> None:
        """Say what each file is trained with."""
        for file in data.files:
            logger.info("%s: %s rows; %s.", file.path, f"{len(file.rows):,}", file.roles)
            first = (f"{name}: {value!s:.60}" for name, value in file.rows.slice(0, 1).to_pylist()[0].items())
            logger.info("First row: %s", " | ".join(first))
            only_ones = file.labels == "none" and file.roles is not None and file.roles.label is not None
            labels = "of 0 and 1, the pairs with 1 are taken" if only_ones else file.labels
            logger.info("Labels: %s; the objective is %s.", labels, _objective(settings, file))
        if settings.mine_negatives and (finder := _find_finder(settings)):
            logger.info("Hard negatives are those that %s finds, with which stage one began.", finder)
        if self._prompts_said:
            logger.info("Prompts: %s.", self._prompts_said)
        logger.info("%s steps of %d rows.", f"{steps:,}", sentences_per_step(settings))

    def trainer_parts(
        self, settings: FineTuneSettings, encoder: SentenceTransformer, data: LabelledPairs
    ) -> dict[str, Any]:
        """Return the rows, by file where there are several."""
        from datasets import Dataset, DatasetDict

        from tsdae_kit.training.hard_negatives import keep_negatives

        for name, file in _by_name(data).items():
            if file.mined:
                kept = settings.output / _negatives_name(name)
                distributed.on_rank_0(partial(keep_negatives, file.rows, kept))
        rows: dict[str, Dataset] = {name: Dataset(file.rows) for name, file in _by_name(data).items()}
        # Given here, the examples on the model's card are not looked for, which shows a progress bar of its own.
        source, *others = (str(text) for text in data.files[0].rows[0].slice(0, 4).to_pylist())
        card: Any = encoder.model_card_data
        card.widget = [{"source_sentence": source, "sentences": others}]
        return {"train_dataset": next(iter(rows.values())) if len(rows) == 1 else DatasetDict(rows)}

    def examples(self, settings: FineTuneSettings, data: LabelledPairs) -> Examples:
        """Return texts of the first column, to be looked up among those of the second."""
        from tsdae_kit.corpus.sampling import evenly_spaced
        from tsdae_kit.training.measurements import LOOKED_UP, SEARCHED, Examples

        rows = data.files[0].rows.slice(0, 10 * SEARCHED)
        anchors, others = (list(dict.fromkeys(rows.column(i).to_pylist())) for i in (0, 1))
        return Examples(
            texts=[anchors[i] for i in evenly_spaced(len(anchors), LOOKED_UP)],
            searched=[others[i] for i in evenly_spaced(len(others), SEARCHED)],
        )

    def _with_negatives(
        self, settings: FineTuneSettings, encoder: SentenceTransformer, name: str, data: LabelledPairs
    ) -> LabelledFile:
        """Return a file, with mined negatives where they are wanted."""
        file = _by_name(data)[name]
        if settings.mine_negatives is None or not _wants_negatives(settings, file):
            return file
        from tsdae_kit.models.loading import load_encoder
        from tsdae_kit.training.hard_negatives import mine_negatives

        finder = _find_finder(settings)

        def load() -> SentenceTransformer:
            if finder is None:
                return encoder
            return load_encoder(str(finder), encoder.device, settings.trust_remote_code)

        kept = settings.output / _negatives_name(name)
        query, document = list(self._prompts[name].values())[:2]
        rows = distributed.on_rank_0(
            lambda: mine_negatives(file.rows, data.corpus, load, kept, settings, (query, document))
        )
        return replace(file, rows=rows, mined=True)


def _find_finder(settings: FineTuneSettings) -> Path | None:
    """Return the base model that stage one's run kept beside the final one; figures for it in results/README.md."""
    model, base = Path(settings.model), Path(settings.model).parent / BASE
    record = read_record(model.parent) if model.is_dir() and base.is_dir() else None
    return base if record and "data" in record["settings"] else None


def _wants_negatives(settings: FineTuneSettings, file: LabelledFile) -> bool:
    from tsdae_kit.training.pair_losses import NEEDS_DISTINCT

    return file.rows.num_columns == 2 and _objective(settings, file) == NEEDS_DISTINCT


def _texts(settings: FineTuneSettings, file: LabelledFile) -> list[str]:
    """Return the columns of texts, with that of the negatives which are to be mined."""
    from tsdae_kit.labelled.column_names import LABEL

    mined = ["negative"] if settings.mine_negatives and _wants_negatives(settings, file) else []
    return [name for name in file.rows.column_names if name != LABEL] + mined


def _objective(settings: FineTuneSettings, file: LabelledFile) -> Objective:
    from tsdae_kit.training.pair_losses import choose_objective

    return choose_objective(settings.loss, file.labels, str(file.path))


def _usable(file: LabelledFile, objective: Objective) -> LabelledFile:
    """Return the file; in-batch negatives take what belongs together of it."""
    from tsdae_kit.labelled.pairs import positive_pairs
    from tsdae_kit.training.pair_losses import NEEDS_DISTINCT

    return positive_pairs(file) if objective == NEEDS_DISTINCT else file


def _negatives_name(name: str) -> str:
    return f"negatives-{name}.parquet"


def _by_name(data: LabelledPairs) -> dict[str, LabelledFile]:
    return {f"{number}-{file.path.stem.replace('.', '-')}": file for number, file in enumerate(data.files)}


main = make_main(
    "finetune", fine_tune, FineTuneSettings, "Fine-tune an encoder on labelled pairs; resume an interrupted run."
)


if __name__ == "__main__":
    main()
