"""The task ``tsdae``: prepared noisy/clean pairs, the denoising loss, and a warm-up of its decoder."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from torch import nn

from tsdae_kit import distributed
from tsdae_kit.config.settings.training import (
    ADAPTER_LEARNING_RATE,
    BASE_WEIGHT,
    CONTRASTIVE_WEIGHT,
    DRIFT_PENALTY,
    ENCODER_LEARNING_RATE,
    LARGEST_BATCH,
    MAX_WARMUP_STEPS,
    RECIPES,
    SCRATCH,
    TrainSettings,
)
from tsdae_kit.console import show_bytes
from tsdae_kit.corpus.dataset import PreparedCorpus, load_prepared
from tsdae_kit.corpus.formats import Format
from tsdae_kit.corpus.noise import Noise
from tsdae_kit.corpus.noise_transform import NoiseTransform
from tsdae_kit.corpus.sampling import evenly_spaced
from tsdae_kit.corpus.word_lists import read_words
from tsdae_kit.corpus.words import SPACELESS, SPLITTERS
from tsdae_kit.errors import KitError
from tsdae_kit.labelled.loading import load_labelled
from tsdae_kit.labelled.pairs import LabelledPairs, positive_pairs
from tsdae_kit.models.encoders import count_parameters
from tsdae_kit.models.from_scratch import make_encoder
from tsdae_kit.models.model_objects import name_base_folder
from tsdae_kit.models.names import is_sentence_encoder
from tsdae_kit.models.prompts import column_prompts, describe_prompts, set_prompts, text_prompt
from tsdae_kit.models.vocabulary import add_words
from tsdae_kit.training.arguments import training_arguments
from tsdae_kit.training.batch_samplers import find_longest
from tsdae_kit.training.decoder_warmup import DecoderWarmup
from tsdae_kit.training.memory import StepMemory, free_memory, measure_step
from tsdae_kit.training.pair_losses import IN_BATCH_NEGATIVES, make_objective
from tsdae_kit.training.runner import run_task
from tsdae_kit.training.task import (
    NEIGHBOUR_TEXTS,
    REBUILT_SENTENCES,
    SEARCHED_SENTENCES,
    Examples,
    TrainerInputs,
    TrainingTask,
    count_steps,
    has_evaluation,
    sentences_per_step,
)
from tsdae_kit.tsdae.gradient_probe import probe_signal
from tsdae_kit.tsdae.loss import TSDAELoss
from tsdae_kit.tsdae.regularization import Regularization

logger = logging.getLogger("tsdae_kit")
_PROBE_ROWS, _SAMPLE_ROWS = 4, 1000
_MEMORY_SHARE = 0.8  # of the free memory, for --batch-size auto


def adapt_encoder(settings: Mapping[str, object]) -> Path:
    """Run the task with explicit settings; return the folder of the final model. See :func:`tsdae_kit.adapt`."""
    explicit, write_base = name_base_folder(settings, TrainSettings.output)
    return run_task(TSDAETask(), {**RECIPES.get(str(explicit.get("recipe")), {}), **explicit}, write_base)


@dataclass(frozen=True)
class TSDAEData(PreparedCorpus):
    """A prepared corpus, and the labelled pairs of ``--pairs``, if any."""

    pairs: LabelledPairs | None = None

    @property
    def fingerprint(self) -> str:
        """A digest of the corpus, its settings, and the pairs."""
        return super().fingerprint + (f"-{self.pairs.fingerprint}" if self.pairs else "")

    def texts(self) -> Iterator[tuple[str, Iterable[Iterable[object]]]]:
        """Yield the prepared folder with its sentences, and the labelled file with its columns."""
        yield from super().texts()
        if self.pairs:
            yield from self.pairs.texts()


class TSDAETask(TrainingTask[TrainSettings, TSDAEData]):
    """Adapts an encoder to prepared text."""

    name = "tsdae"
    settings_type = TrainSettings
    _words_reported = False

    def load_data(self, settings: TrainSettings) -> TSDAEData:
        """Return the prepared pairs, with the labelled pairs of ``--pairs``."""
        data = TSDAEData(**vars(load_prepared(settings.data, settings.noise)))
        if settings.pairs is None:
            return data
        pairs = load_labelled([settings.pairs], Format.of(settings), settings.columns)
        return replace(data, pairs=replace(pairs, files=tuple(map(positive_pairs, pairs.files))))

    def load_encoder(self, settings: TrainSettings, data: TSDAEData, device: torch.device) -> SentenceTransformer:
        """Return the base model, or a new encoder with a tokenizer learned from the corpus; with the words added."""
        if settings.model == SCRATCH:
            encoder = _encoder_from_scratch(settings, data)
            encoder.to(device)
        else:
            encoder = super().load_encoder(settings, data, device)
        if settings.add_words:
            words = read_words(settings.add_words, "--add-words", Format.of(settings))
            added = add_words(encoder, words)
            if not self._words_reported:  # the base model may be loaded again
                logger.info(
                    "%s: %d words became tokens, %d were tokens already.", settings.add_words, added, len(words) - added
                )
            self._words_reported = True
        return encoder

    def resolve(self, settings: TrainSettings) -> TrainSettings:
        """Fill in the learning rate, the weights of the regularisation terms, and that of the base model."""
        is_new = settings.model == SCRATCH
        rate, contrastive, drift, base = (
            settings.learning_rate, settings.contrastive_weight, settings.drift_penalty, settings.base_weight
        )  # fmt: skip
        if rate is None and is_new:
            rate = settings.decoder_learning_rate
        if rate is None:
            rate = ADAPTER_LEARNING_RATE if settings.lora_rank else ENCODER_LEARNING_RATE
        if drift is None or base is None:
            # A plain language model is not worth being preserved.
            preserves = not is_new and is_sentence_encoder(settings.model)
            drift = (DRIFT_PENALTY if preserves else 0.0) if drift is None else drift
            base = (BASE_WEIGHT if preserves and not settings.lora_rank else 0.0) if base is None else base
        return replace(
            settings, learning_rate=rate, drift_penalty=drift, base_weight=base,
            contrastive_weight=CONTRASTIVE_WEIGHT if contrastive is None else contrastive,
        )  # fmt: skip

    def make_loss(self, settings: TrainSettings, encoder: SentenceTransformer, data: TSDAEData) -> nn.Module:
        """Return the denoising loss with its decoder, once a gradient was seen to reach the embeddings."""
        _check_mask_token(data.noise, encoder.tokenizer, settings.model)
        contrastive, drift = settings.contrastive_weight or 0.0, settings.drift_penalty or 0.0
        base = self.load_base(settings, data, encoder.device) if drift else None  # the encoder may be a checkpoint's
        loss = TSDAELoss(
            encoder, decoder=settings.decoder,
            pair_loss=make_objective(IN_BATCH_NEGATIVES, encoder, 0, 0) if data.pairs else None,
            regularization=Regularization(contrastive, drift, base) if contrastive or drift else None,
        )  # fmt: skip
        rows = data.train[:_PROBE_ROWS]
        probe_signal(loss, encoder, rows["noisy"], rows["clean"])
        return loss

    def resolve_size(
        self, settings: TrainSettings, encoder: SentenceTransformer, loss: nn.Module, data: TSDAEData
    ) -> TrainSettings:
        """Fill in the batch size by the memory that a step takes, and the decoder's warm-up steps."""
        memory = measure_step(loss, encoder, _longest_row(encoder, data), settings.precision, settings.max_length)
        settings = _fit_batch_size(settings, memory, distributed.min_over_ranks(free_memory(encoder.device)))
        steps, warmup = count_steps(settings, data.size), settings.decoder_warmup_steps
        if warmup is None:
            warmup = 0 if settings.model == SCRATCH else min(MAX_WARMUP_STEPS, steps // 5)
        if warmup >= steps:
            raise KitError(
                f"--decoder-warmup-steps {warmup} leaves the encoder none of {steps} steps. Train longer, or lower it."
            )
        return replace(settings, decoder_warmup_steps=warmup)

    def trainer_inputs(
        self, settings: TrainSettings, encoder: SentenceTransformer, loss: nn.Module, data: TSDAEData
    ) -> TrainerInputs:
        """Return the pairs with each epoch's noise, the warm-up, and the facts of data and decoder."""
        arguments = denoising_arguments(settings, encoder.device.type, has_evaluation(settings, data))
        pairs = data.pairs.files[0] if data.pairs else None
        columns = [f"pair_{name}" for name in pairs.rows.column_names] if pairs else []
        # The decoder rebuilds the sentence alone; queries and documents get their prompts, as in fine-tuning.
        prompts = {"noisy": text_prompt(encoder), "clean": "", **column_prompts(encoder, columns, retrieval=True)}
        described = describe_prompts(set_prompts(arguments, {"": prompts}), encoder)
        source, *others = data.train[:4]["clean"]
        card: Any = encoder.model_card_data
        # With these examples set, the library does not search for some, with a progress bar of its own.
        card.widget = [{"source_sentence": source, "sentences": others}]
        return TrainerInputs(
            arguments,
            data.train.with_transform(NoiseTransform(data.noise, pairs.rows if pairs else None)),
            data.held_out if data.held_out_size else None,
            callbacks=(DecoderWarmup(encoder, settings.decoder_warmup_steps or 0),),
            description=_describe(settings, data, loss) | ({"prompts": described} if described else {}),
            messages=(*_introduce(settings, data, loss), *([f"Prompts: {described}."] if described else [])),
            tokens_per_word=_tokens_per_word(encoder, data),
        )

    def examples(self, data: TSDAEData) -> Examples:
        """Return held-out sentences, to be rebuilt and to be searched for among the training sentences."""
        shown = data.held_out if data.held_out_size else data.train
        pairs = shown[evenly_spaced(len(shown), REBUILT_SENTENCES)]
        return Examples(
            texts=shown[evenly_spaced(len(shown), NEIGHBOUR_TEXTS)]["clean"],
            searched=data.train[evenly_spaced(data.size, SEARCHED_SENTENCES)]["clean"],
            pairs=list(zip(pairs["noisy"], pairs["clean"], strict=True)),
        )


def denoising_arguments(settings: TrainSettings, device: str, evaluates: bool) -> SentenceTransformerTrainingArguments:
    """Return the training arguments: the paper's constant learning rate, and the decoder's own.

    Args:
        settings: The run's, resolved.
        device: The type of the encoder's device.
        evaluates: Whether there is something to evaluate on.
    """
    # A constant rate also makes a run that is extended equal to a longer one.
    defaults = {
        "lr_scheduler_type": "constant",
        "learning_rate_mapping": {r"^decoder\.": settings.decoder_learning_rate},
    }
    return training_arguments(settings, device, evaluates, defaults)


def _encoder_from_scratch(settings: TrainSettings, data: TSDAEData) -> SentenceTransformer:
    logger.info("Learning a tokenizer from the corpus, for a %s encoder from scratch.", settings.scratch_size)

    def texts() -> Iterator[str]:
        return (text for batch in data.train.iter(1000) for text in batch["clean"])

    return make_encoder(texts, settings.scratch_size, settings.seed, f"[{SPACELESS}]")


def _check_mask_token(noise: Noise, tokenizer: Any, model: str) -> None:
    """Refuse masked words for which the base model has no token: their pieces would be read as words."""
    if not noise.masks_words or noise.mask_token == tokenizer.mask_token:
        return
    ids = tokenizer(noise.mask_token, add_special_tokens=False)["input_ids"]
    if len(ids) == 1 and ids[0] != tokenizer.unk_token_id:
        return
    advice = f"--mask-token '{tokenizer.mask_token}'" if tokenizer.mask_token else "other noise, such as delete"
    raise KitError(f"{model} has no token {noise.mask_token!r}, which stands for masked words. Prepare with {advice}.")


def _longest_row(encoder: SentenceTransformer, data: TSDAEData) -> list[str]:
    """Return the texts of the longest row: of the longest in characters, the longest in tokens."""
    rows = data.train[find_longest(data.train, _SAMPLE_ROWS)]
    sizes = [len(ids) for ids in encoder.tokenizer(rows["clean"], truncation=False, verbose=False)["input_ids"]]
    noisy, clean = (rows[name][sizes.index(max(sizes))] for name in ("noisy", "clean"))
    pair = data.pairs.files[0].rows.columns if data.pairs else []
    return [text_prompt(encoder) + noisy, clean, *(max(column.to_pylist(), key=len) for column in pair)]


def _fit_batch_size(settings: TrainSettings, memory: StepMemory, free: int) -> TrainSettings:
    """Return the settings with a batch size for ``auto``; say what a step takes, and warn if that may not fit."""
    fitting = memory.largest(_MEMORY_SHARE * free, most=LARGEST_BATCH)
    if settings.batch_size == "auto":
        if not fitting:
            raise KitError(
                f"A step of one sentence takes {show_bytes(memory.of(1))} of memory in addition to the weights, and "
                f"{show_bytes(free)} are free. Take a smaller model, or --gradient-checkpointing."
            )
        settings = replace(settings, batch_size=fitting)
    size = int(settings.batch_size)
    logger.info(
        "A step of %d sentences of %d tokens, the longest, takes about %s in addition to the weights; %s are free.",
        size, memory.tokens, show_bytes(memory.of(size)), show_bytes(free),
    )  # fmt: skip
    if memory.of(size) > free:
        advice = f"--batch-size {fitting} does" if fitting else "--gradient-checkpointing takes less"
        logger.warning("!!! The longest sentences may not fit; %s.", advice)
    return settings


def _describe(settings: TrainSettings, data: TSDAEData, loss: nn.Module) -> dict[str, str]:
    """Return the corpus's sizes, its noise, the decoder and the regularisation, for card and report."""
    dropped = sum(data.manifest["dropped"].values())
    noise = data.noise
    facts = {
        "corpus": f"{data.size:,} sentences to train on, {data.held_out_size:,} held out, {dropped:,} dropped",
        "noise": f"{noise.kinds}; deletion ratio {noise.deletion_ratio}; words: {noise.words}",
        "decoder": type(cast(Any, loss).decoder).__name__,
        "regularisation": f"contrastive loss {settings.contrastive_weight:g}, drift penalty {settings.drift_penalty:g}",
    }
    return facts | ({"labelled pairs": f"{data.pairs.size:,}"} if data.pairs else {})


def _introduce(settings: TrainSettings, data: TSDAEData, loss: nn.Module) -> Iterator[str]:
    """Yield the lines that introduce a run: the sizes of model and data, and the loss."""
    encoder, decoder = cast(Any, loss).encoder, cast(Any, loss).decoder
    yield (
        f"Encoder {count_parameters(encoder) / 1e6:.1f} million weights, of which "
        f"{count_parameters(encoder, trainable=True) / 1e6:.1f} million learn; the decoder adds "
        f"{(count_parameters(loss) - count_parameters(encoder)) / 1e6:.1f} million of its own, needed only for training"
        f"{'' if decoder.head_is_new else ', and takes the base model' + chr(39) + 's head'}."
    )
    yield (
        f"{data.size:,} sentences to train on, {data.held_out_size:,} held out; "
        f"{count_steps(settings, data.size):,} steps of {sentences_per_step(settings)} sentences, the encoder frozen "
        f"in the first {settings.decoder_warmup_steps}."
    )
    if settings.contrastive_weight or settings.drift_penalty:
        yield (
            f"After these steps the loss also holds {settings.contrastive_weight:g} x the contrastive loss and "
            f"{settings.drift_penalty:g} x the drift penalty."
        )
    if data.pairs:
        file = data.pairs.files[0]
        yield f"Each sentence comes with one of {data.pairs.size:,} labelled pairs of {file.path}: {file.roles}."


def _tokens_per_word(encoder: SentenceTransformer, data: TSDAEData) -> float | None:
    """Return the mean number of predicted tokens per word, over the first held-out sentences."""
    texts = data.held_out[:_SAMPLE_ROWS]["clean"]
    words = sum(len(SPLITTERS[data.noise.words](text)) for text in texts)
    ids = encoder.tokenizer(texts, truncation=False, verbose=False)["input_ids"] if texts else []
    return sum(len(row) - 1 for row in ids) / words if words else None
