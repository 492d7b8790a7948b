"""What ``scripts/compare.py`` sets side by side: each takes a model, a field's text and a seed, and writes a model.

From a finished model, all see the same text in batches of 32, cut at 32 tokens, for the same number of steps in which
the encoder learns; from scratch, one pass or two over the text and three over the pairs, cut at 32 and 64. Of stage
one's rivals, masked language modelling, SimCSE and deletion-contrast learn at 2e-5, constant; the library's TSDAE is
its example's (tied, 3e-5, a tenth of the steps to warm up the rate, linear decay). Ours are the commands' defaults, so
that the decoder learns alone in a fifth of the steps before.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import DenoisingAutoEncoderLoss, MultipleNegativesRankingLoss
from transformers import AutoModelForMaskedLM, DataCollatorForLanguageModeling, Trainer, TrainingArguments

from tsdae_kit import adapt, fine_tune, load_prepared, prepare_corpus
from tsdae_kit.config.settings.training import (
    ENCODER_LEARNING_RATE,
    MAX_WARMUP_STEPS,
    SCRATCH,
    ScratchSize,
    TrainSettings,
)
from tsdae_kit.corpus.noise_transform import NoiseTransform
from tsdae_kit.models.devices import choose_device
from tsdae_kit.models.loading import load_encoder
from tsdae_kit.training.tsdae_task import TSDAETask

BATCH, LENGTH, RATE, HELD_OUT = 32, 32, 2e-5, 200
ALIKE: dict[str, Any] = {"precision": "fp32", "workers": 0}  # whatever the machine has


@dataclass(frozen=True)
class Field:
    """A field's text and how long is trained on it.

    Attributes:
        corpus: Its sentences, one a line.
        prepared: What ``prepare`` made of the corpus.
        mined: Some of the text, where negatives are looked for.
        pairs: Labelled pairs for stage two, if there are any.
        steps: In which the encoder learns.
    """

    corpus: Path
    prepared: Path
    mined: Path
    pairs: Path | None
    steps: int


Method = Callable[[str, Field, int, Path], str]


def prepare_once(corpus: Path, output: Path, held_out: int = HELD_OUT, **noise: Any) -> Path:
    """Return the folder with the prepared corpus, which is written if it is not there."""
    if not output.exists():
        prepare_corpus(files=[str(corpus)], output=output, held_out=held_out, **noise)
    return output


def _load(model: str, seed: int) -> SentenceTransformer:
    encoder = load_encoder(model, choose_device(None))
    torch.manual_seed(seed)
    encoder.max_seq_length = LENGTH
    return encoder


def _save(encoder: SentenceTransformer, model: str, output: Path) -> str:
    encoder.max_seq_length = load_encoder(model, choose_device("cpu")).max_seq_length
    encoder.save_pretrained(str(output / "model"), create_model_card=False)
    return str(output / "model")


def _arguments(field: Field, seed: int, **more: Any) -> dict[str, Any]:
    fixed = {"lr_scheduler_type": "constant", "learning_rate": RATE, "report_to": "none", "disable_tqdm": True}
    return {"output_dir": mkdtemp(), "max_steps": field.steps, "per_device_train_batch_size": BATCH, "seed": seed,
            "save_strategy": "no", "logging_strategy": "no", **fixed, **more}  # fmt: skip


def _train(encoder: SentenceTransformer, data: Dataset, loss: torch.nn.Module, arguments: dict[str, Any]) -> None:
    card: Any = encoder.model_card_data
    card.widget = [{"source_sentence": "a", "sentences": ["b"]}]  # else the library looks for examples
    SentenceTransformerTrainer(
        model=encoder, args=SentenceTransformerTrainingArguments(**arguments), train_dataset=data, loss=loss
    ).train()


def masked(model: str, field: Field, seed: int, output: Path) -> str:
    """Masked language modelling, 15 %, with a new head over the encoder's own token embeddings."""
    encoder = _load(model, seed)
    transformer: Any = encoder.transformers_model
    head: Any = AutoModelForMaskedLM.from_config(transformer.config)
    setattr(head, head.base_model_prefix, transformer)
    head.tie_weights()
    tokenizer = encoder.tokenizer
    texts = load_prepared(field.prepared).train.select_columns("clean")
    data = texts.with_transform(lambda rows: tokenizer(rows["clean"], truncation=True, max_length=LENGTH))
    Trainer(
        model=head,
        args=TrainingArguments(**_arguments(field, seed, remove_unused_columns=False)),
        train_dataset=data,
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15),
    ).train()
    return _save(encoder, model, output)


def simcse(model: str, field: Field, seed: int, output: Path) -> str:
    """Each sentence beside itself, under another dropout, against the batch's others; temperature 0.05."""
    data = load_prepared(field.prepared).train.with_transform(
        lambda rows: {"one": rows["clean"], "other": rows["clean"]}
    )
    return _contrast(model, field, seed, output, data)


def deletion_contrast(model: str, field: Field, seed: int, output: Path) -> str:
    """Each noisy sentence beside its clean one, against the batch's others; temperature 0.05."""
    return _contrast(model, field, seed, output, _noisy(field))


def _noisy(field: Field) -> Dataset:
    pairs = load_prepared(field.prepared)
    return pairs.train.with_transform(NoiseTransform(pairs.noise))


def _contrast(model: str, field: Field, seed: int, output: Path, data: Dataset) -> str:
    encoder = _load(model, seed)
    _train(encoder, data, MultipleNegativesRankingLoss(encoder), _arguments(field, seed))
    return _save(encoder, model, output)


def library(model: str, field: Field, seed: int, output: Path) -> str:
    """The library's TSDAE, as its example has it, but for the noise, which deletes what it should."""
    encoder = _load(model, seed)
    schedule = {"learning_rate": 3e-5, "lr_scheduler_type": "linear", "warmup_steps": 0.1}
    loss = DenoisingAutoEncoderLoss(encoder, tie_encoder_decoder=True)
    _train(encoder, _noisy(field), loss, _arguments(field, seed, **schedule))
    return _save(encoder, model, output)


def stage_one(model: str, field: Field, seed: int, output: Path, **more: Any) -> str:
    """``tsdae_kit.train`` with its defaults."""
    steps = field.steps + min(field.steps // 4, MAX_WARMUP_STEPS)  # the decoder's own first
    own = {"max_steps": steps, "save_steps": steps, "max_length": LENGTH, **ALIKE}
    final = adapt(data=field.prepared, model=model, output=output, seed=seed, resume=True, **{**own, **more})
    return str(final)


def whole(model: str, field: Field, seed: int, output: Path, **more: Any) -> str:
    """``tsdae_kit.train``, without the average with the base model's weights."""
    return stage_one(model, field, seed, output, base_weight=0.0, **more)


def rebuilding(model: str, field: Field, seed: int, output: Path) -> str:
    """``tsdae_kit.train`` by reconstruction alone, half as fast, not averaged."""
    terms = {"contrastive_weight": 0.0, "drift_penalty": 0.0}
    return whole(model, field, seed, output, **terms, learning_rate=ENCODER_LEARNING_RATE / 2)


def slow(model: str, field: Field, seed: int, output: Path) -> str:
    """``tsdae_kit.train``, half as fast, not averaged."""
    return whole(model, field, seed, output, learning_rate=ENCODER_LEARNING_RATE / 2)


def low_rank(model: str, field: Field, seed: int, output: Path) -> str:
    """``tsdae_kit.train``, in adapters of rank 16."""
    return stage_one(model, field, seed, output, lora_rank=16)


def _noised(field: Field, **noise: Any) -> Field:
    name = "-".join([field.prepared.name, *map(str, noise.values())])
    return replace(field, prepared=prepare_once(field.corpus, field.prepared.with_name(name), **noise))


def light(model: str, field: Field, seed: int, output: Path) -> str:
    """``tsdae_kit.train``, half as many words deleted."""
    return stage_one(model, _noised(field, deletion_ratio=0.3), seed, output)


def heavy(model: str, field: Field, seed: int, output: Path) -> str:
    """``tsdae_kit.train``, 80 % of the words deleted."""
    return stage_one(model, _noised(field, deletion_ratio=0.8), seed, output)


def masking(model: str, field: Field, seed: int, output: Path) -> str:
    """``tsdae_kit.train``, the words masked, not deleted."""
    return stage_one(model, _noised(field, noise="mask"), seed, output)


def light_masking(model: str, field: Field, seed: int, output: Path) -> str:
    """``tsdae_kit.train``, half as many words masked."""
    return stage_one(model, _noised(field, noise="mask:0.3"), seed, output)


def swapping(model: str, field: Field, seed: int, output: Path) -> str:
    """``tsdae_kit.train``, 30 % of the words swapped with a neighbour before 60 % are deleted."""
    return stage_one(model, _noised(field, noise="swap:0.3,delete"), seed, output)


def wide(model: str, field: Field, seed: int, output: Path) -> str:
    """``tsdae_kit.train``, four times as many sentences a step."""
    return stage_one(model, field, seed, output, batch_size=4 * BATCH)


def longer(model: str, field: Field, seed: int, output: Path) -> str:
    """``tsdae_kit.train``, ten times as many steps."""
    return stage_one(model, replace(field, steps=10 * field.steps), seed, output)


def layer_rates(encoder: SentenceTransformer, rate: float, decay: float) -> dict[str, float]:
    """Return the rates of BERT's layers below the last and of its embeddings, by pattern of their names in the loss.

    A layer's is ``decay`` times that of the layer above (Howard and Ruder 2018, arXiv 1801.06146, section 3.2).
    """
    transformer: Any = encoder.transformers_model
    depth = transformer.config.num_hidden_layers
    layers = {rf"^encoder\..*\.layer\.{i}\.": rate * decay ** (depth - 1 - i) for i in range(depth - 1)}
    return {**layers, r"^encoder\..*\.embeddings\.": rate * decay**depth}


def decayed(model: str, field: Field, seed: int, output: Path, **more: Any) -> str:
    """``tsdae_kit.train``, each layer at 0.7 times the rate of the one above it."""
    rates = {
        r"^decoder\.": TrainSettings().decoder_learning_rate,
        **layer_rates(_load(model, seed), ENCODER_LEARNING_RATE, 0.7),
    }
    return stage_one(model, field, seed, output, trainer=(f"learning_rate_mapping={json.dumps(rates)}",), **more)


def decayed_whole(model: str, field: Field, seed: int, output: Path) -> str:
    """The same, not averaged."""
    return decayed(model, field, seed, output, base_weight=0.0)


def joined(model: str, field: Field, seed: int, output: Path, **more: Any) -> str:
    """``tsdae_kit.train`` with the field's positive pairs in the same steps."""
    return stage_one(model, field, seed, output, **{"pairs": field.pairs, **more})


def joined_whole(model: str, field: Field, seed: int, output: Path, **more: Any) -> str:
    """The same, not averaged."""
    return joined(model, field, seed, output, base_weight=0.0, **more)


def joined_on_mined(model: str, field: Field, seed: int, output: Path) -> str:
    """The same, each pair with the negative that stage two would mine for it."""
    mining = output.with_name(f"{output.name}-pairs")
    stage_two(model, field, seed, mining, max_steps=1)
    return joined_whole(model, field, seed, output, pairs=next(mining.glob("negatives-*.parquet")))


def stage_two(model: str, field: Field, seed: int, output: Path, **more: Any) -> str:
    """``tsdae_kit.finetune`` on the field's positive pairs, each with a negative from its text."""
    own = {"mine_negatives": field.mined, "learning_rate": 1e-5, "max_steps": field.steps, "max_length": LENGTH}
    return _on_pairs(model, field, seed, output, **{**own, **more})


def on_pairs_only(model: str, field: Field, seed: int, output: Path) -> str:
    """The same with the batch's other positives as the only negatives, at the rate of ``joined``."""
    return stage_two(model, field, seed, output, mine_negatives=None, learning_rate=ENCODER_LEARNING_RATE)


def on_own_negatives(model: str, field: Field, seed: int, output: Path) -> str:
    """The same; the negatives are found by the model itself, out of the run's folder that holds its base model."""
    moved = shutil.copytree(model, output.with_name(f"{output.name}-from"), dirs_exist_ok=True)
    return stage_two(str(moved), field, seed, output)


def pairs_alone(model: str, field: Field, seed: int, output: Path, rate: float = 3e-4, **more: Any) -> str:
    """``tsdae_kit.finetune`` of a new model on the field's positive pairs, three passes."""
    return _on_pairs(model, field, seed, output, learning_rate=rate, epochs=3, max_length=2 * LENGTH, **more)


def pairs_after(model: str, field: Field, seed: int, output: Path, **more: Any) -> str:
    """The same at a third of the rate, for one that has something to lose; both chosen on mqp's train and dev pairs."""
    return pairs_alone(model, field, seed, output, rate=1e-4, **more)


def pairs_averaged(model: str, field: Field, seed: int, output: Path) -> str:
    """The same, the weights half-way between those it began with and those it ended with."""
    return pairs_after(model, field, seed, output, base_weight=0.5)


def _on_pairs(model: str, field: Field, seed: int, output: Path, **own: Any) -> str:
    pairs = (str(field.pairs),)
    final = fine_tune(files=pairs, model=model, output=output, seed=seed, loss="multiple-negatives", resume=True,
                      **ALIKE, **own)  # fmt: skip
    return str(final)


RIVALS: dict[str, Method] = {
    "masked language modelling": masked,
    "SimCSE, dropout": simcse,
    "deletion-contrast": deletion_contrast,
    "library's TSDAE": library,
    "tsdae_kit, reconstruction alone": rebuilding,
    "tsdae_kit, not averaged": whole,
    "tsdae_kit, half the rate, not averaged": slow,
    "tsdae_kit, layer-wise decay, not averaged": decayed_whole,
    "tsdae_kit, layer-wise decay": decayed,
    "tsdae_kit, adapters": low_rank,
    "tsdae_kit": stage_one,
}


VARIANTS: dict[str, Method] = {
    "tsdae_kit": stage_one,
    "30 % deleted": light,
    "80 % deleted": heavy,
    "60 % masked": masking,
    "30 % masked": light_masking,
    "30 % swapped, 60 % deleted": swapping,
    "batches of 128": wide,
    "ten times the steps": longer,
}


def untrained(model: str, field: Field, seed: int, output: Path, size: ScratchSize = "tiny") -> str:
    """The small encoder with random weights; its tokenizer is learned from the corpus."""
    task = TSDAETask()
    settings = TrainSettings(data=field.prepared, model=SCRATCH, scratch_size=size, seed=seed)
    encoder = task.load_encoder(settings, task.load_data(settings), torch.device("cpu"))
    encoder.save_pretrained(str(output / "model"), create_model_card=False)
    return str(output / "model")


def untrained_mini(model: str, field: Field, seed: int, output: Path) -> str:
    """The same, four layers of 256."""
    return untrained(model, field, seed, output, size="mini")


def from_scratch(model: str, field: Field, seed: int, output: Path, **more: Any) -> str:
    """``tsdae_kit.train --model scratch``, one pass or as many as are asked for."""
    own = {"scratch_size": "tiny", "max_length": LENGTH, "decoder_learning_rate": 1e-3, **ALIKE, **more}
    schedule = ("lr_scheduler_type=linear", "warmup_steps=0.05")
    final = adapt(data=field.prepared, model=SCRATCH, output=output, seed=seed, trainer=schedule, resume=True, **own)
    return str(final)


def from_scratch_longer(model: str, field: Field, seed: int, output: Path) -> str:
    """The same, two passes."""
    return from_scratch(model, field, seed, output, epochs=2)


def from_scratch_mini(model: str, field: Field, seed: int, output: Path) -> str:
    """Four layers of 256, three passes in batches of 64."""
    return from_scratch(model, field, seed, output, scratch_size="mini", epochs=3, batch_size=64, workers=2)
