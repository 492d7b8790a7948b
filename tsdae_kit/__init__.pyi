# Written by python -m scripts.write_stub from the settings: edit those.
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from sentence_transformers import SentenceTransformer

from tsdae_kit.config.python_objects import DatasetLike
from tsdae_kit.corpus.dataset import PreparedCorpus as PreparedCorpus
from tsdae_kit.corpus.dataset import load_prepared as load_prepared
from tsdae_kit.corpus.noise import Noise as Noise
from tsdae_kit.corpus.noise_transform import NoiseTransform as NoiseTransform
from tsdae_kit.errors import KitError as KitError
from tsdae_kit.evaluate import ScoreReport as ScoreReport
from tsdae_kit.inspection import Inspection as Inspection
from tsdae_kit.models.weight_averaging import BaseWeightAverage as BaseWeightAverage
from tsdae_kit.training.batch_samplers import LengthGroupedBatchSampler as LengthGroupedBatchSampler
from tsdae_kit.training.decoder_warmup import DecoderWarmup as DecoderWarmup
from tsdae_kit.training.trainer import ResumableTrainer as ResumableTrainer
from tsdae_kit.tsdae.gradient_probe import probe_signal as probe_signal
from tsdae_kit.tsdae.loss import TSDAELoss as TSDAELoss
from tsdae_kit.tsdae.regularization import Regularization as Regularization

__all__ = [
    "BaseWeightAverage",
    "DecoderWarmup",
    "Inspection",
    "KitError",
    "LengthGroupedBatchSampler",
    "Noise",
    "NoiseTransform",
    "PreparedCorpus",
    "Regularization",
    "ResumableTrainer",
    "ScoreReport",
    "TSDAELoss",
    "adapt",
    "export_model",
    "fine_tune",
    "inspect_run",
    "load_prepared",
    "prepare_corpus",
    "probe_signal",
    "score_models",
    "write_report",
]
__version__: str

def adapt(
    *,
    model: str | Path | SentenceTransformer = "all-MiniLM-L6-v2",
    data: str | Path = "data/prepared",
    batch_size: int | Literal["auto"] = 32,
    output: str | Path = "runs/tsdae",
    epochs: float = 1.0,
    eval_data: str | Path | Sequence[str | Path] = (),
    resume: bool | str | Path = False,
    recipe: Literal["default", "paper"] = "default",
    max_steps: int | None = None,
    gradient_accumulation_steps: int = 1,
    learning_rate: float | None = None,
    scratch_size: Literal["tiny", "mini", "small"] = "mini",
    add_words: str | Path | None = None,
    decoder: Literal["auto", "cross-attention", "prefix"] = "auto",
    decoder_learning_rate: float = 0.0003,
    decoder_warmup_steps: int | None = None,
    contrastive_weight: float | None = None,
    drift_penalty: float | None = None,
    pairs: str | Path | None = None,
    lora_rank: int | None = None,
    base_weight: float | None = None,
    max_length: int | None = None,
    columns: str | Sequence[str] | Mapping[str, object] = (),
    save_steps: int = 500,
    save_total_limit: int = 2,
    on_save_error: Literal["continue", "stop"] = "continue",
    push_to_hub: str | None = None,
    overwrite: bool = False,
    eval_steps: int = 500,
    patience: int | None = None,
    require_gain: bool = False,
    logging_steps: int = 25,
    report_to: Literal["none", "tensorboard", "wandb", "trackio", "mlflow"] = "none",
    gradient_checkpointing: bool = False,
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
    workers: int | None = None,
    device: str | None = None,
    noise: str | None = None,
    encoding: str = "utf-8",
    encoding_errors: Literal["strict", "replace"] = "strict",
    quoting: Literal["auto", "none", "quotes"] = "auto",
    seed: int = 42,
    trust_remote_code: bool = False,
    trainer: str | Sequence[str] | Mapping[str, object] = (),
) -> Path:
    """Adapt an encoder to its field's text; return the folder of the adapted model.

    ``resume=True`` continues the run of the output folder (or begins one). ``model="runs/tsdae/final"`` with another
    ``output`` begins a new run from a trained model. A ``SentenceTransformer`` is saved as ``<output>-base`` first.

    Args:
        model: base model: a folder, a hub name, or scratch for a small new one [all-MiniLM-L6-v2].
        data: folder that prepare wrote [data/prepared].
        batch_size: sentences per step and process; auto: the largest power of two that fits, at most 512 [32].
        output: the run's folder [runs/tsdae].
        epochs: passes over the data [1.0].
        eval_data: evaluation data; the step with the best score becomes final/.
        resume: continue from the newest intact checkpoint (or PATH); without one, start at step 0.
        recipe: paper: batches of 8, learning rates of 3e-05, no warm-up, unless set explicitly [default].
        max_steps: steps to train, instead of --epochs.
        gradient_accumulation_steps: batches per step [1].
        learning_rate: learning rate of the encoder (default: 2e-05; adapters: 0.0001; from scratch: the decoder's).
        scratch_size: size of --model scratch: 2 layers of 128, 4 of 256, or 4 of 512 [mini].
        add_words: file of words, one per line, to add to the tokenizer.
        decoder: decoder that rebuilds the sentence (auto: cross-attention if the model family has it) [auto].
        decoder_learning_rate: learning rate of the decoder's own weights [0.0003].
        decoder_warmup_steps: first steps that train the decoder alone (default: a fifth of the run, at most 200; from scratch: 0).
        contrastive_weight: weight of the in-batch contrastive loss between noisy and clean sentences (default: 1).
        drift_penalty: weight of 1 - cosine between a clean sentence's embedding and the base model's (default: 10; from scratch: 0).
        pairs: file of labelled positive pairs: trained on in the same steps, with in-batch negatives.
        lora_rank: train LoRA adapters of this rank, the encoder's weights frozen; final/ is merged.
        base_weight: share of the base model's weights in the final weights (default: 0.5; with adapters, from a plain language model or from scratch: 0).
        max_length: truncate sentences to this many tokens in training (default: the model's limit).
        columns: roles of the columns of labelled pairs, if their names do not tell: anchor, positive, negative (repeatable), label; numbers, without a header.
        save_steps: steps between checkpoints [500].
        save_total_limit: checkpoints to keep [2].
        on_save_error: if a checkpoint cannot be saved: continue with a warning, or stop [continue].
        push_to_hub: upload the final model to this hub repository; a new one is private.
        overwrite: delete the run in the output folder.
        eval_steps: steps between evaluations [500].
        patience: stop after this many evaluations in a row without a better score.
        require_gain: exit with code 1 if no step scores above the base model.
        logging_steps: steps between progress lines [25].
        report_to: also report the metrics to this tracker [none].
        gradient_checkpointing: recompute activations in the backward pass: less memory, more time.
        precision: number format; auto: bf16 if the hardware supports it, else fp32 [auto].
        workers: processes that make batches (default: 4 with an accelerator, else 0).
        device: cpu, cuda or mps (default: the fastest available).
        noise: the noise function of the data, if it is your own: prepared data cannot name code to run.
        encoding: encoding of text files; a byte order mark of UTF-16 or UTF-32 is recognised [utf-8].
        encoding_errors: bytes that are invalid in --encoding: stop, or replace them [strict].
        quoting: whether quotation marks enclose fields: in CSV but not in TSV (auto); never; in both [auto].
        seed: decides the order of the data, dropout and new weights [42].
        trust_remote_code: run code that comes with the model; read it first.
        trainer: any other field of SentenceTransformerTrainingArguments; repeatable.

    Raises:
        KitError: For missing data or model, a folder in use, or settings that contradict the run's record.
        NoGain: With ``require_gain``, if no step scored above the base model; ``final/`` is that model then.
        RunStopped: If a signal ended the run, its state saved; not an ``Exception``.
    """

def export_model(
    *,
    model: str | Path = "runs/tsdae/final",
    format: Literal["onnx", "openvino"] = "onnx",
    output: str | Path = "runs/exported",
    trust_remote_code: bool = False,
) -> Path:
    """Write an encoder as one ONNX or OpenVINO file, with its tokenizer; return the folder.

    Args:
        model: encoder: a folder or a hub name [runs/tsdae/final].
        format: for ONNX Runtime, or for OpenVINO [onnx].
        output: folder to write [runs/exported].
        trust_remote_code: run code that comes with the model; read it first.

    Raises:
        KitError: If a package or the model is missing, the folder is there already, or the model cannot be exported.
    """

def fine_tune(
    *,
    pairs: Sequence[Mapping[str, object]] | DatasetLike | None = None,
    files: str | Path | Sequence[str | Path] = (),
    model: str | Path | SentenceTransformer = "runs/tsdae/final",
    output: str | Path = "runs/finetuned",
    epochs: float = 1.0,
    batch_size: int = 32,
    eval_data: str | Path | Sequence[str | Path] = (),
    resume: bool | str | Path = False,
    learning_rate: float | None = 2e-05,
    max_steps: int | None = None,
    gradient_accumulation_steps: int = 1,
    base_weight: float | None = 0.0,
    loss: Literal["auto", "multiple-negatives", "cosent", "contrastive", "softmax"] = "auto",
    mine_negatives: str | Path | None = None,
    lora_rank: int | None = None,
    max_length: int | None = None,
    columns: str | Sequence[str] | Mapping[str, object] = (),
    save_steps: int = 500,
    save_total_limit: int = 2,
    on_save_error: Literal["continue", "stop"] = "continue",
    push_to_hub: str | None = None,
    overwrite: bool = False,
    eval_steps: int = 500,
    patience: int | None = None,
    require_gain: bool = False,
    logging_steps: int = 25,
    report_to: Literal["none", "tensorboard", "wandb", "trackio", "mlflow"] = "none",
    gradient_checkpointing: bool = False,
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
    workers: int | None = None,
    device: str | None = None,
    encoding: str = "utf-8",
    encoding_errors: Literal["strict", "replace"] = "strict",
    quoting: Literal["auto", "none", "quotes"] = "auto",
    seed: int = 42,
    trust_remote_code: bool = False,
    trainer: str | Sequence[str] | Mapping[str, object] = (),
) -> Path:
    """Fine-tune an encoder on labelled pairs; return the folder of the fine-tuned model.

    The objective follows from the columns of each file. A run is resumed, stopped and written as those of
    :func:`tsdae_kit.adapt` are.

    Args:
        pairs: Rows as ``{"anchor": ..., "positive": ...}`` or a ``datasets.Dataset``, instead of ``files``; to be
            passed again to a resumed run.
        files: labelled pairs, triplets or scored pairs: JSON Lines, CSV, TSV or Parquet; several are trained on in turn.
        model: encoder to start from: a folder or a hub name [runs/tsdae/final].
        output: the run's folder [runs/finetuned].
        epochs: passes over the data [1.0].
        batch_size: sentences or pairs per step and process [32].
        eval_data: evaluation data; the step with the best score becomes final/.
        resume: continue from the newest intact checkpoint (or PATH); without one, start at step 0.
        learning_rate: peak learning rate; linear warm-up over 10 % of the steps, then linear decay to 0 [2e-05].
        max_steps: steps to train, instead of --epochs.
        gradient_accumulation_steps: batches per step [1].
        base_weight: share of the starting weights in the final weights: forgets less, learns less.
        loss: objective (auto: by the columns of each file) [auto].
        mine_negatives: text file to mine a hard negative for each pair from, with the encoder before training (after stage one: with the base model that its run kept).
        lora_rank: train LoRA adapters of this rank, the encoder's weights frozen; final/ is merged.
        max_length: truncate sentences to this many tokens in training (default: the model's limit).
        columns: roles of the columns of labelled pairs, if their names do not tell: anchor, positive, negative (repeatable), label; numbers, without a header.
        save_steps: steps between checkpoints [500].
        save_total_limit: checkpoints to keep [2].
        on_save_error: if a checkpoint cannot be saved: continue with a warning, or stop [continue].
        push_to_hub: upload the final model to this hub repository; a new one is private.
        overwrite: delete the run in the output folder.
        eval_steps: steps between evaluations [500].
        patience: stop after this many evaluations in a row without a better score.
        require_gain: exit with code 1 if no step scores above the base model.
        logging_steps: steps between progress lines [25].
        report_to: also report the metrics to this tracker [none].
        gradient_checkpointing: recompute activations in the backward pass: less memory, more time.
        precision: number format; auto: bf16 if the hardware supports it, else fp32 [auto].
        workers: processes that make batches (default: 4 with an accelerator, else 0).
        device: cpu, cuda or mps (default: the fastest available).
        encoding: encoding of text files; a byte order mark of UTF-16 or UTF-32 is recognised [utf-8].
        encoding_errors: bytes that are invalid in --encoding: stop, or replace them [strict].
        quoting: whether quotation marks enclose fields: in CSV but not in TSV (auto); never; in both [auto].
        seed: decides the order of the data, dropout and new weights [42].
        trust_remote_code: run code that comes with the model; read it first.
        trainer: any other field of SentenceTransformerTrainingArguments; repeatable.

    Raises:
        KitError: For files without labelled pairs, a missing model, a folder in use, or settings that
            contradict the run's record.
        NoGain: With ``require_gain``, if no step scored above the model it began with.
        RunStopped: If a signal ended the run, its state saved; not an ``Exception``.
    """

def inspect_run(
    *,
    run: str | Path = "runs/tsdae",
    text: str | Sequence[str] = (),
    data: str | Path | None = None,
    nearest: int = 5,
    device: str | None = None,
    searched: int = 1000,
    noise: str | None = None,
    trust_remote_code: bool = False,
) -> list[Inspection]:
    """Return reconstructions and nearest neighbours of sentences by the model of a TSDAE run.

    Args:
        run: the run's folder [runs/tsdae].
        text: sentences to inspect (default: some held-out ones).
        data: the prepared corpus, if it was moved since the run began.
        nearest: neighbours to show of each sentence [5].
        device: cpu, cuda or mps (default: the fastest available).
        searched: training sentences to search for neighbours, evenly spaced over the corpus [1000].
        noise: the noise function of the data, if it is your own: prepared data cannot name code to run.
        trust_remote_code: run code that comes with the model; read it first.

    Raises:
        KitError: If the folder holds no TSDAE run or no checkpoint, or its corpus is missing.
    """

def prepare_corpus(
    *,
    texts: Iterable[str] | DatasetLike | None = None,
    files: str | Path | Sequence[str | Path] = (),
    output: str | Path = "data/prepared",
    column: str | Sequence[str] = (),
    split: Literal["line", "sentences", "paragraphs"] = "line",
    held_out: float = 1000,
    overwrite: bool = False,
    noise: str = "delete",
    deletion_ratio: float = 0.6,
    words: Literal["auto", "unicode", "nltk", "characters"] = "auto",
    protect: str | Path | None = None,
    mask_token: str = "[MASK]",
    min_chars: int = 10,
    max_chars: int = 2000,
    min_letters: float = 0.3,
    near_duplicates: float | None = None,
    keep_rejects: bool = False,
    workers: int | None = None,
    engine: Literal["local", "ray"] = "local",
    seed: int = 42,
    model: str | Path = "all-MiniLM-L6-v2",
    max_length: int | None = None,
    encoding: str = "utf-8",
    encoding_errors: Literal["strict", "replace"] = "strict",
    quoting: Literal["auto", "none", "quotes"] = "auto",
) -> Path:
    """Turn texts into noisy/clean pairs; return the folder written.

    Args:
        texts: Texts, or a ``datasets.Dataset`` with a column ``text`` (or ``column``), instead of ``files``.
        files: text, JSON Lines, CSV, TSV, Parquet or Arrow files (also .gz, .bz2, .xz, .zst), folders, globs; - reads lines from standard input.
        output: folder to write [data/prepared].
        column: columns that hold the text (default: text, after title if there is one); numbers, without a header.
        split: one text per line or row; or split into sentences (learned from the corpus); or at blank lines [line].
        held_out: sentences held out of training: a share if below 1, else a count (at most a tenth of the corpus) [1000].
        overwrite: replace other data in the output folder.
        noise: delete, swap, mask, replace or insert, each with an optional :RATIO, or module.function; several separated by commas, as swap:0.1,delete [delete].
        deletion_ratio: share of a sentence's words to delete (0.6 in the paper) [0.6].
        words: what a word is: Unicode words, and characters in scripts without spaces (auto); Unicode words; Treebank tokens; characters [auto].
        protect: file of words that noise never changes, one per line.
        mask_token: replacement for masked words [[MASK]].
        min_chars: drop shorter sentences (characters of scripts without spaces count as two) [10].
        max_chars: drop longer sentences [2000].
        min_letters: drop sentences with a smaller share of letters [0.3].
        near_duplicates: drop sentences this similar to an earlier one (0.8 is usual; slow).
        keep_rejects: write dropped sentences, with the reason, to rejects.jsonl.
        workers: processes that clean and add noise (default: one per core).
        engine: this machine, or the Ray cluster that RAY_ADDRESS names [local].
        seed: decides the noise and which sentences are held out [42].
        model: base model whose tokenizer counts tokens for the report [all-MiniLM-L6-v2].
        max_length: the report counts texts with more tokens (default: the model's limit).
        encoding: encoding of text files; a byte order mark of UTF-16 or UTF-32 is recognised [utf-8].
        encoding_errors: bytes that are invalid in --encoding: stop, or replace them [strict].
        quoting: whether quotation marks enclose fields: in CSV but not in TSV (auto); never; in both [auto].

    Returns:
        The folder, to pass to :func:`tsdae_kit.adapt` as ``data``.

    Raises:
        KitError: For missing, empty or unreadable input, or an output folder that holds other data.
            Nothing is left under the output's name then.
    """

def score_models(
    *,
    models: str | Path | SentenceTransformer | Sequence[str | Path | SentenceTransformer] = (),
    data: str | Path | Sequence[str | Path] = (),
    split: Literal["test", "dev"] = "test",
    output: str | Path = "scores.json",
    batch_size: int = 32,
    device: str | None = None,
    trust_remote_code: bool = False,
    encoding: str = "utf-8",
    encoding_errors: Literal["strict", "replace"] = "strict",
    quoting: Literal["auto", "none", "quotes"] = "auto",
) -> ScoreReport:
    """Score models on evaluation data; return the content of the file ``output``.

    Args:
        models: folders or hub names, or bm25; the first is the reference.
        data: folders of evaluation data, or files of labelled pairs or reranking lists.
        split: split of the data to score on: choose models on dev, report on test [test].
        output: file to write [scores.json].
        batch_size: texts per batch [32].
        device: cpu, cuda or mps (default: the fastest available).
        trust_remote_code: run code that comes with the model; read it first.
        encoding: encoding of text files; a byte order mark of UTF-16 or UTF-32 is recognised [utf-8].
        encoding_errors: bytes that are invalid in --encoding: stop, or replace them [strict].
        quoting: whether quotation marks enclose fields: in CSV but not in TSV (auto); never; in both [auto].

    Returns:
        Settings, versions, digests of models and data that are folders or files, and under ``results`` a row for each
        task, model and metric: score (out of 100), difference from the first model, its 95 % interval (in the same
        points) and verdict.

    Raises:
        KitError: For models or data that are missing or not valid.
    """

def write_report(
    *,
    runs: str | Path | Sequence[str | Path] = (),
    scores: str | Path | None = None,
    output: str | Path = "comparison.html",
) -> Path:
    """Write the page of a run, or one that compares several; return its path.

    Args:
        runs: folders of runs; several are compared.
        scores: scores that evaluate wrote, to show too (default: scores.json in a run's folder).
        output: page that compares several runs; the page of one run is in its folder [comparison.html].

    Raises:
        KitError: If a folder holds no run, or a file no scores.
    """
