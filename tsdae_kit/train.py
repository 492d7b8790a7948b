"""Stage one: adapt a sentence encoder to the prepared text.

``python -m tsdae_kit.train`` begins a run, ``--resume`` continues it (or begins it, where nothing was
saved yet), ``--model runs/tsdae/final --output runs/more`` begins a new run from a trained model.
The heavy libraries are imported only when the input has been checked.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tsdae_kit import distributed
from tsdae_kit.config.command_line import make_main
from tsdae_kit.config.settings import LARGEST_BATCH, RECIPES, SCRATCH, TrainSettings
from tsdae_kit.console import show_bytes
from tsdae_kit.errors import KitError
from tsdae_kit.training.runner import run_task, sentences_per_step
from tsdae_kit.training.task import TrainingTask

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
    from torch import nn

    from tsdae_kit.corpus.dataset import PreparedCorpus
    from tsdae_kit.corpus.noise import Noise
    from tsdae_kit.training.measurements import Examples

logger = logging.getLogger("tsdae_kit")
PROBED, LOOKED_AT = 4, 1000  # sentences
FILLED = 0.8  # of what is free, by --batch-size auto
FINISHED_RATE, ADAPTER_RATE = 2e-5, 1e-4  # of an encoder that knows something already; results/README.md
CONTRASTIVE_WEIGHT, DRIFT_PENALTY = 1.0, 10.0  # weights beside the reconstruction; results/diary.md
BASE_WEIGHT = 0.5  # of the final weights; results/README.md
LONGEST_WARMUP = 200  # steps of the decoder alone; measured in results/README.md


def adapt(**given: Any) -> Path:
    """Adapt an encoder to its field's text; return the folder of the adapted model.

    Args:
        **given: Fields of :class:`tsdae_kit.config.settings.TrainSettings`, for example
            ``data="data/prepared", model="all-MiniLM-L6-v2", output="runs/tsdae", resume=True``.

    Raises:
        KitError: For missing data or model, a folder in use, or settings that contradict the run's record.
        NoGain: With ``require_gain``, if no step scored above the base model; ``final/`` is that model then.
        RunStopped: If a signal ended the run, its state saved; not an ``Exception``.
    """
    preset = RECIPES.get(str(given.get("recipe")), {})
    return run_task(TSDAETask(), {**preset, **given})


class TSDAETask(TrainingTask[TrainSettings, "PreparedCorpus"]):
    """Stage one: prepared pairs, and the denoising loss behind a warm-up of its decoder."""

    kind = TrainSettings
    _words_said = False
    _pair_columns: Sequence[str] = ()  # columns of the labelled pairs
    _prompts_said = ""

    def load_data(self, settings: TrainSettings) -> PreparedCorpus:
        """Return the prepared pairs."""
        from tsdae_kit.corpus.dataset import load_prepared

        corpus = load_prepared(settings.data, settings.noise)
        if settings.pairs is None:
            return corpus
        from tsdae_kit.corpus.formats import Format
        from tsdae_kit.labelled.loading import load_labelled
        from tsdae_kit.labelled.pairs import positive_pairs

        pairs = load_labelled([settings.pairs], Format.of(settings), settings.columns)
        return replace(corpus, pairs=replace(pairs, files=tuple(map(positive_pairs, pairs.files))))

    def training_texts(
        self, settings: TrainSettings, data: PreparedCorpus
    ) -> Iterator[tuple[str, Iterable[Iterable[object]]]]:
        """Yield the prepared sentences, and the labelled texts beside them."""
        from tsdae_kit.corpus.prepared_folder import prepared_texts

        yield str(settings.data), prepared_texts(settings.data)
        for file in data.pairs.files if data.pairs else ():
            yield str(file.path), (column.to_pylist() for column in file.rows.columns)

    def load_encoder(self, settings: TrainSettings, data: PreparedCorpus, device: torch.device) -> SentenceTransformer:
        """Return the base model, or a new one with a tokenizer learned from the corpus; with the words added."""
        if settings.model == SCRATCH:
            encoder = self._make_encoder(settings, data)
            encoder.to(device)
        else:
            encoder = super().load_encoder(settings, data, device)
        if settings.add_words:
            from tsdae_kit.corpus.formats import Format
            from tsdae_kit.corpus.word_lists import read_words
            from tsdae_kit.models.vocabulary import add_words

            words = read_words(settings.add_words, "--add-words", Format.of(settings))
            added = add_words(encoder, words)
            if not self._words_said:  # the base model may be loaded again
                logger.info(
                    "%s: %d words became tokens, %d were tokens already.", settings.add_words, added, len(words) - added
                )
            self._words_said = True
        return encoder

    def _make_encoder(self, settings: TrainSettings, data: PreparedCorpus) -> SentenceTransformer:
        from tsdae_kit.corpus.words import SPACELESS
        from tsdae_kit.models.scratch import make_encoder

        logger.info("Learning a tokenizer from the corpus, for a %s encoder from scratch.", settings.scratch_size)

        def texts() -> Iterator[str]:
            return (text for batch in data.train.iter(1000) for text in batch["clean"])

        return make_encoder(texts, settings.scratch_size, settings.seed, f"[{SPACELESS}]")

    def resolve(self, settings: TrainSettings, steps: int) -> TrainSettings:
        """Fill in what depends on the length of the run or the model; a new encoder has nothing to tear down."""
        new, warmup, rate = settings.model == SCRATCH, settings.decoder_warmup_steps, settings.learning_rate
        if warmup is None:
            warmup = 0 if new else min(LONGEST_WARMUP, steps // 5)
        if rate is None:
            adapted = ADAPTER_RATE if settings.lora_rank else FINISHED_RATE
            rate = settings.decoder_learning_rate if new else adapted
        if warmup >= steps:
            raise KitError(
                f"--decoder-warmup-steps {warmup} leaves the encoder none of {steps} steps. Train longer, or lower it."
            )
        contrast, drift = _regularization_weights(settings)
        share = settings.base_weight
        if share is None:
            share = BASE_WEIGHT if _has_finished_base(settings) and not settings.lora_rank else 0.0
        return replace(settings, decoder_warmup_steps=warmup, learning_rate=rate, contrastive_weight=contrast,
                       drift_penalty=drift, base_weight=share)  # fmt: skip

    def make_loss(self, settings: TrainSettings, encoder: SentenceTransformer, data: PreparedCorpus) -> nn.Module:
        """Return the denoising loss, with its decoder, once it has been seen to teach the encoder something."""
        from tsdae_kit.training.pair_losses import NEEDS_DISTINCT, make_objective
        from tsdae_kit.tsdae.gradient_probe import probe_signal
        from tsdae_kit.tsdae.loss import TSDAELoss
        from tsdae_kit.tsdae.regularization import Regularization

        _check_mask_token(data.noise, encoder.tokenizer, settings.model)
        pair_loss = make_objective(NEEDS_DISTINCT, encoder, 0, 0) if data.pairs else None
        self._pair_columns = [f"pair_{name}" for name in data.pairs.files[0].rows.column_names] if data.pairs else []
        contrast, drift = _regularization_weights(settings)
        base = self.load_base(settings, data, encoder.device) if drift else None  # the encoder may be a checkpoint's
        regularization = Regularization(contrast, drift, base) if contrast or drift else None
        loss = TSDAELoss(encoder, decoder=settings.decoder, pair_loss=pair_loss, regularization=regularization)
        first = data.train[:PROBED]
        probe_signal(loss, encoder, first["noisy"], first["clean"])
        return loss

    def fit_memory(
        self, settings: TrainSettings, encoder: SentenceTransformer, loss: nn.Module, data: PreparedCorpus
    ) -> TrainSettings:
        """Say what a step of the longest sentences takes; choose the batch size, if it is ``auto``."""
        from tsdae_kit.models.prompts import text_prompt
        from tsdae_kit.training.batch_samplers import find_longest
        from tsdae_kit.training.memory import free_memory, measure_step

        rows = data.train[find_longest(data.train, LOOKED_AT)]  # in characters; of these, the longest in tokens
        sizes = [len(ids) for ids in encoder.tokenizer(rows["clean"], truncation=False, verbose=False)["input_ids"]]
        noisy, clean = (rows[name][sizes.index(max(sizes))] for name in ("noisy", "clean"))
        columns = [text_prompt(encoder) + noisy, clean]
        if data.pairs:
            columns += [max(column.to_pylist(), key=len) for column in data.pairs.files[0].rows.columns]
        need = measure_step(loss, encoder, columns, settings.precision, settings.max_length)
        free = distributed.min_over_ranks(free_memory(encoder.device))
        fits = need.largest(FILLED * free, most=LARGEST_BATCH)
        if settings.batch_size == "auto":
            if not fits:
                raise KitError(
                    f"A step of one sentence takes {show_bytes(need.of(1))} beside the weights, and {show_bytes(free)} "
                    "are free. Take a smaller model, or --gradient-checkpointing."
                )
            settings = replace(settings, batch_size=fits)
        size: int = settings.batch_size  # type: ignore[assignment]
        logger.info(
            "A step of %d sentences of %d tokens, the longest, takes about %s beside the weights; %s are free.",
            size, need.tokens, show_bytes(need.of(size)), show_bytes(free),
        )  # fmt: skip
        if need.of(size) > free:
            way = f"--batch-size {fits} does" if fits else "--gradient-checkpointing takes less"
            logger.warning("!!! The longest sentences may not fit; %s.", way)
        return settings

    def make_arguments(
        self, settings: TrainSettings, encoder: SentenceTransformer, evaluates: bool, steps: int
    ) -> SentenceTransformerTrainingArguments:
        """Return the arguments: the paper's constant rate, the decoder's own; the prompt the encoder is used with."""
        from tsdae_kit.models.prompts import column_prompts, describe_prompts, set_prompts, text_prompt
        from tsdae_kit.training.arguments import training_arguments

        # A constant rate also makes a run that is extended equal to a longer one.
        defaults = {
            "lr_scheduler_type": "constant",
            "learning_rate_mapping": {r"^decoder\.": settings.decoder_learning_rate},
        }
        arguments = training_arguments(settings, encoder.device.type, evaluates, defaults)
        # What is rebuilt is the sentence alone; what is searched for is searched with, as in stage two.
        prompts = {
            "noisy": text_prompt(encoder),
            "clean": "",
            **column_prompts(encoder, self._pair_columns, retrieval=True),
        }
        self._prompts_said = describe_prompts(set_prompts(arguments, {"": prompts}), encoder)
        return arguments

    def describe(self, settings: TrainSettings, data: PreparedCorpus, loss: nn.Module) -> dict[str, str]:
        """Return the corpus's sizes, its noise, and the decoder."""
        dropped = sum(data.manifest["dropped"].values())
        noise, decoder = data.noise, cast(Any, loss).decoder
        about = {
            "corpus": f"{data.size:,} sentences to train on, {data.held_out_size:,} held out, {dropped:,} dropped",
            "noise": f"{noise.kinds}; deletion ratio {noise.deletion_ratio}; words: {noise.words}",
            "decoder": type(decoder).__name__,
            "beside the reconstruction": f"contrast {settings.contrastive_weight:g}, drift {settings.drift_penalty:g}",
        }
        if data.pairs:
            about["labelled pairs beside it"] = f"{data.pairs.size:,}"
        if self._prompts_said:
            about["prompts"] = self._prompts_said
        return about

    def introduce(self, settings: TrainSettings, data: PreparedCorpus, loss: nn.Module, steps: int) -> None:
        """Say the sizes of model and data."""
        from tsdae_kit.models.encoders import count_parameters

        encoder: Any = loss.encoder
        decoder: Any = loss.decoder
        logger.info(
            "Encoder %.1f million weights, of which %.1f million learn; the decoder adds %.1f million of its own, "
            "needed only for training%s.",
            count_parameters(encoder) / 1e6,
            count_parameters(encoder, trainable=True) / 1e6,
            (count_parameters(loss) - count_parameters(encoder)) / 1e6,
            "" if decoder.head_is_new else ", and takes the base model's head",
        )
        logger.info(
            "%s sentences to train on, %s held out; %s steps of %d sentences, the encoder frozen in the first %d.",
            f"{data.size:,}", f"{data.held_out_size:,}", f"{steps:,}",
            sentences_per_step(settings), settings.decoder_warmup_steps,
        )  # fmt: skip
        if settings.contrastive_weight or settings.drift_penalty:
            logger.info("Once the encoder learns, its loss holds %g times a contrast and %g times an anchor too.",
                        settings.contrastive_weight, settings.drift_penalty)  # fmt: skip
        if data.pairs:
            file = data.pairs.files[0]
            logger.info("Beside each sentence, one of %s labelled pairs of %s: %s.", f"{data.pairs.size:,}",
                        file.path, file.roles)  # fmt: skip
        if self._prompts_said:
            logger.info("Prompts: %s.", self._prompts_said)

    def trainer_parts(
        self, settings: TrainSettings, encoder: SentenceTransformer, data: PreparedCorpus
    ) -> dict[str, Any]:
        """Return the pairs, with each epoch's noise, and the warm-up."""
        from tsdae_kit.corpus.noise_transform import NoiseTransform
        from tsdae_kit.training.decoder_warmup import DecoderWarmup

        # Given here, the examples on the model's card are not looked for, which shows a progress bar of its own.
        source, *others = data.train[:4]["clean"]
        encoder.model_card_data.widget = [{"source_sentence": source, "sentences": others}]
        return {
            "train_dataset": data.train.with_transform(
                NoiseTransform(data.noise, settings.fixed_noise, data.pairs.files[0].rows if data.pairs else None)
            ),
            "eval_dataset": data.held_out if data.held_out_size else None,
            "callbacks": [DecoderWarmup(encoder, settings.decoder_warmup_steps or 0)],
        }

    def examples(self, settings: TrainSettings, data: PreparedCorpus) -> Examples:
        """Return held-out sentences, to be rebuilt and looked up among those trained on."""
        from tsdae_kit.corpus.sampling import evenly_spaced
        from tsdae_kit.training.measurements import LOOKED_UP, REBUILT, SEARCHED, Examples

        shown = data.held_out if data.held_out_size else data.train
        pairs = shown[evenly_spaced(len(shown), REBUILT)]
        return Examples(
            texts=shown[evenly_spaced(len(shown), LOOKED_UP)]["clean"],
            searched=data.train[evenly_spaced(data.size, SEARCHED)]["clean"],
            pairs=list(zip(pairs["noisy"], pairs["clean"], strict=True)),
        )

    def begins_with_a_model(self, settings: TrainSettings) -> bool:
        """Return whether there is a model to compare the final one with."""
        return settings.model != SCRATCH

    def tokens_per_word(self, encoder: SentenceTransformer, data: PreparedCorpus) -> float | None:
        """Return how many tokens are predicted for a word of the first held-out sentences, on average."""
        from tsdae_kit.corpus.words import SPLITTERS

        texts = data.held_out[:LOOKED_AT]["clean"]
        words = sum(len(SPLITTERS[data.noise.words](text)) for text in texts)
        ids = encoder.tokenizer(texts, truncation=False, verbose=False)["input_ids"] if texts else []
        return sum(len(row) - 1 for row in ids) / words if words else None


def _check_mask_token(noise: Noise, tokenizer: Any, model: str) -> None:
    """Refuse masked words for which the base model has no token: their pieces would be read as words."""
    if not noise.masks_words or noise.mask_token == tokenizer.mask_token:
        return
    ids = tokenizer(noise.mask_token, add_special_tokens=False)["input_ids"]
    if len(ids) == 1 and ids[0] != tokenizer.unk_token_id:
        return
    way = f"--mask-token '{tokenizer.mask_token}'" if tokenizer.mask_token else "other noise, such as delete"
    raise KitError(f"{model} has no token {noise.mask_token!r}, which stands for masked words. Prepare with {way}.")


def _regularization_weights(settings: TrainSettings) -> tuple[float, float]:
    """Return the weights of the contrast and the drift, filled in."""
    contrast = CONTRASTIVE_WEIGHT if settings.contrastive_weight is None else settings.contrastive_weight
    if settings.drift_penalty is not None:
        return contrast, settings.drift_penalty
    return contrast, DRIFT_PENALTY if _has_finished_base(settings) else 0.0


def _has_finished_base(settings: TrainSettings) -> bool:
    """Return whether the run begins with a model of sentences: only that is worth being kept."""
    from tsdae_kit.models.names import is_sentence_encoder

    return settings.model != SCRATCH and is_sentence_encoder(settings.model)


main = make_main(
    "train", adapt, TrainSettings, "Adapt a sentence encoder to prepared text (TSDAE); resume an interrupted run."
)


if __name__ == "__main__":
    main()
