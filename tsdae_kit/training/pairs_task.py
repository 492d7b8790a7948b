"""The task ``pairs``: labelled files, each with one of the library's losses."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, DatasetDict
from sentence_transformers import SentenceTransformer
from torch import nn

from tsdae_kit import distributed
from tsdae_kit.config.python_objects import DatasetLike
from tsdae_kit.config.settings.fine_tuning import FineTuneSettings, Objective
from tsdae_kit.corpus.chunk_processor import read_sentences
from tsdae_kit.corpus.files import content_digest, is_evaluation_data
from tsdae_kit.corpus.formats import Format
from tsdae_kit.corpus.object_files import is_object_file, pairs_as_file
from tsdae_kit.corpus.sampling import evenly_spaced
from tsdae_kit.errors import KitError
from tsdae_kit.labelled.column_names import LABEL
from tsdae_kit.labelled.loading import load_labelled
from tsdae_kit.labelled.pairs import LabelledFile, LabelledPairs, positive_pairs
from tsdae_kit.models.loading import load_encoder
from tsdae_kit.models.model_objects import name_base_folder
from tsdae_kit.models.prompts import column_prompts, describe_prompts, set_prompts
from tsdae_kit.run_folder import RunFolder, run_of_model
from tsdae_kit.training.arguments import training_arguments
from tsdae_kit.training.batch_samplers import labelled_batch_sampler
from tsdae_kit.training.hard_negatives import mine_negatives
from tsdae_kit.training.pair_losses import IN_BATCH_NEGATIVES, check_learnable, choose_objective, make_objective
from tsdae_kit.training.runner import run_task
from tsdae_kit.training.task import (
    NEIGHBOUR_TEXTS,
    SEARCHED_SENTENCES,
    Examples,
    TrainerInputs,
    TrainingTask,
    count_steps,
    has_evaluation,
    sentences_per_step,
)

logger = logging.getLogger("tsdae_kit")
WARMUP_SHARE = 0.1  # of the steps, the library's advice


def fine_tune_encoder(
    pairs: Sequence[Mapping[str, object]] | DatasetLike | None, settings: Mapping[str, object]
) -> Path:
    """Run the task with explicit settings; return the folder of the final model. See :func:`tsdae_kit.fine_tune`."""
    with pairs_as_file(pairs, settings) as with_files:
        explicit, write_base = name_base_folder(with_files, FineTuneSettings.output)
        return run_task(PairsTask(), explicit, write_base)


class PairsTask(TrainingTask[FineTuneSettings, LabelledPairs]):
    """Fine-tunes an encoder on labelled files."""

    name = "pairs"
    settings_type = FineTuneSettings

    def load_data(self, settings: FineTuneSettings) -> LabelledPairs:
        """Return the files' rows, those that the objective can use."""
        if gone := [path for path in settings.sources if is_object_file(path) and not path.exists()]:
            raise KitError(f"The run was started on Python objects ({gone[0].stem}=...). Pass them again to resume it.")
        pairs = load_labelled(settings.sources, Format.of(settings), settings.columns)
        if len(pairs.files) > 1 and distributed.world_size() > 1:
            raise KitError("Several files are trained on by one process only. Join the files, or start one process.")
        pairs = replace(pairs, files=tuple(_usable(settings, file) for file in pairs.files))
        for file in pairs.files:
            rows_per_batch = settings.batch_size * distributed.world_size()
            check_learnable(file.rows, _objective(settings, file), rows_per_batch, str(file.path))
        if settings.mine_negatives is None:
            return pairs
        return _with_corpus(settings, pairs, settings.mine_negatives)

    def make_loss(self, settings: FineTuneSettings, encoder: SentenceTransformer, data: LabelledPairs) -> nn.Module:
        """Return the loss, or one for each file by its name."""
        losses = {
            name: make_objective(_objective(settings, file), encoder, settings.batch_size, max(2, len(file.classes)))
            for name, file in _by_name(data).items()
        }
        return next(iter(losses.values())) if len(losses) == 1 else nn.ModuleDict(losses)

    def trainer_inputs(
        self, settings: FineTuneSettings, encoder: SentenceTransformer, loss: nn.Module, data: LabelledPairs
    ) -> TrainerInputs:
        """Return the rows, with mined negatives where they are asked for, and the facts of files and objectives."""
        # A batch holds no text twice, so the number of batches is known only at the end: the steps decide.
        steps = count_steps(settings, data.size)
        arguments = training_arguments(
            replace(settings, max_steps=steps), encoder.device.type, has_evaluation(settings, data),
            {"lr_scheduler_type": "linear", "warmup_steps": WARMUP_SHARE, "batch_sampler": labelled_batch_sampler},
        )  # fmt: skip
        prompts = {
            name: column_prompts(
                encoder, _text_columns(settings, file), _objective(settings, file) == IN_BATCH_NEGATIVES
            )
            for name, file in _by_name(data).items()
        }
        prompts = set_prompts(arguments, prompts)
        described = describe_prompts(prompts, encoder)
        mined = _mine(settings, encoder, data, prompts)
        rows = {name: mined.get(name, file.rows) for name, file in _by_name(data).items()}
        source, *others = (str(text) for text in next(iter(rows.values()))[0].slice(0, 4).to_pylist())
        card: Any = encoder.model_card_data
        # With these examples set, the library does not search for some, with a progress bar of its own.
        card.widget = [{"source_sentence": source, "sentences": others}]
        datasets: dict[str, Dataset] = {name: Dataset(table) for name, table in rows.items()}
        said = f"Prompts: {described}."
        run_folder = RunFolder(settings.output)
        return TrainerInputs(
            arguments,
            next(iter(datasets.values())) if len(datasets) == 1 else DatasetDict(datasets),
            description=_describe(settings, data, rows) | ({"prompts": described} if described else {}),
            messages=(*_introduce(settings, data, rows), *([said] if described else []),
                      f"{steps:,} steps of {sentences_per_step(settings)} rows."),
            run_files={run_folder.negatives_file(name).name: table for name, table in mined.items()},
        )  # fmt: skip

    def examples(self, data: LabelledPairs) -> Examples:
        """Return texts of the first column, to be searched for among those of the second."""
        rows = data.files[0].rows.slice(0, 10 * SEARCHED_SENTENCES)
        anchors, others = (list(dict.fromkeys(rows.column(i).to_pylist())) for i in (0, 1))
        return Examples(
            texts=[anchors[i] for i in evenly_spaced(len(anchors), NEIGHBOUR_TEXTS)],
            searched=[others[i] for i in evenly_spaced(len(others), SEARCHED_SENTENCES)],
        )


def _by_name(data: LabelledPairs) -> dict[str, LabelledFile]:
    """Return the files by the names that the trainer knows them by."""
    return {f"{number}-{file.path.stem.replace('.', '-')}": file for number, file in enumerate(data.files)}


def _objective(settings: FineTuneSettings, file: LabelledFile) -> Objective:
    return choose_objective(settings.loss, file.labels, str(file.path))


def _usable(settings: FineTuneSettings, file: LabelledFile) -> LabelledFile:
    """Return the file; for in-batch negatives its positive pairs alone."""
    return positive_pairs(file) if _objective(settings, file) == IN_BATCH_NEGATIVES else file


def _lacks_negatives(settings: FineTuneSettings, file: LabelledFile) -> bool:
    """Return whether ``--mine-negatives`` adds a column to this file."""
    return file.rows.num_columns == 2 and _objective(settings, file) == IN_BATCH_NEGATIVES


def _text_columns(settings: FineTuneSettings, file: LabelledFile) -> list[str]:
    """Return the names of the text columns, with that of the negatives that will be mined."""
    mined = ["negative"] if settings.mine_negatives and _lacks_negatives(settings, file) else []
    return [name for name in file.rows.column_names if name != LABEL] + mined


def _with_corpus(settings: FineTuneSettings, pairs: LabelledPairs, corpus: Path) -> LabelledPairs:
    """Return the pairs with the sentences that hard negatives are mined from.

    Raises:
        KitError: If the corpus is no text, or no file can get negatives.
    """
    if not corpus.is_file():
        raise KitError(f"--mine-negatives {corpus} is no file. Name the field's text, a sentence a line.")
    if is_evaluation_data(corpus):
        raise KitError(f"--mine-negatives {corpus} holds evaluation data. Name the field's documents alone.")
    if not any(_lacks_negatives(settings, file) for file in pairs.files):
        raise KitError("--mine-negatives is for pairs that belong together, without a label or a negative.")
    sentences: tuple[str, ...] = ()
    run_folder = RunFolder(settings.output)
    if settings.overwrite or not any(run_folder.negatives_file(name).exists() for name in _by_name(pairs)):
        sentences = tuple(dict.fromkeys(read_sentences(corpus, Format.of(settings))))
    return replace(pairs, fingerprint=content_digest([*settings.sources, corpus]), corpus=sentences)


def _mine(
    settings: FineTuneSettings, encoder: SentenceTransformer, data: LabelledPairs, prompts: dict[str, dict[str, str]]
) -> dict[str, pa.Table]:
    """Return the rows with mined negatives, by file."""
    if settings.mine_negatives is None:
        return {}
    miner = _stage_one_base(settings)

    def load_miner() -> SentenceTransformer:
        return encoder if miner is None else load_encoder(str(miner), encoder.device, settings.trust_remote_code)

    mined: dict[str, pa.Table] = {}
    for name, file in _by_name(data).items():
        if _lacks_negatives(settings, file):
            query, document = list(prompts[name].values())[:2]
            target = RunFolder(settings.output).negatives_file(name)
            mined[name] = distributed.on_rank_0(
                partial(mine_negatives, file.rows, data.corpus, load_miner, target, settings, (query, document))
            )
    return mined


def _stage_one_base(settings: FineTuneSettings) -> Path | None:
    """Return the base model that the TSDAE run of ``--model`` kept: it mines better; figures in results/README.md."""
    run = run_of_model(Path(settings.model))
    record = run.read_record() if run and run.base.is_dir() and Path(settings.model).is_dir() else None
    return run.base if run and record and record["task"] == "tsdae" else None


def _describe(settings: FineTuneSettings, data: LabelledPairs, rows: dict[str, pa.Table]) -> dict[str, str]:
    """Return each file's size and objective, and where negatives come from, for card and report."""
    names = [file.path.name for file in data.files]
    facts = {
        (
            name if names.count(name) == 1 else f"{number}: {name}"
        ): f"{len(table):,} rows; {file.roles}; objective {_objective(settings, file)}"
        for number, (name, file, table) in enumerate(zip(names, data.files, rows.values(), strict=True))
    }
    if settings.mine_negatives:
        miner = "the base model of stage one" if _stage_one_base(settings) else "the encoder"
        facts["hard negatives"] = f"mined from {settings.mine_negatives.name} by {miner}"
    return facts


def _introduce(settings: FineTuneSettings, data: LabelledPairs, rows: dict[str, pa.Table]) -> Iterator[str]:
    """Yield the lines that say what each file is trained with."""
    for file, table in zip(data.files, rows.values(), strict=True):
        yield f"{file.path}: {len(table):,} rows; {file.roles}."
        first = (f"{name}: {value!s:.60}" for name, value in table.slice(0, 1).to_pylist()[0].items())
        yield f"First row: {' | '.join(first)}"
        only_ones = file.labels == "none" and file.roles is not None and file.roles.label is not None
        labels = "of 0 and 1, the pairs with 1 are taken" if only_ones else file.labels
        yield f"Labels: {labels}; the objective is {_objective(settings, file)}."
    if settings.mine_negatives and (miner := _stage_one_base(settings)):
        yield f"Hard negatives are mined with {miner}, the base model of stage one."
