"""One frozen dataclass per stage: the only home of every default, and (by ``options``) the source of its flags."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from tsdae_kit.config.command_line import flag, option
from tsdae_kit.corpus import defaults
from tsdae_kit.corpus.defaults import EncodingErrors, Quoting, WordUnit

_SEED_PROBLEM = "--seed {} is outside 0 to 4,294,967,295"
_BASE_MODEL = "all-MiniLM-L6-v2"
DecoderKind = Literal["auto", "cross-attention", "prefix"]
ScratchSize = Literal["tiny", "mini", "small"]
SCRATCH = "scratch"
LARGEST_BATCH = 512
_TRUST_HELP = "run the code that comes with the model, which may be anyone's"
_NOISE_HELP = "the function that made the data noisy, named again: data may be anyone's, and names no code to run"
_DEVICE_HELP = "cpu, cuda, mps (default: the best there is)"


@dataclass(frozen=True)
class ReadingSettings:
    """How the text files that a command reads are written."""

    encoding: str = option(
        defaults.ENCODING, "how the text is encoded; a mark of UTF-16 or UTF-32 at its start is recognised"
    )
    encoding_errors: EncodingErrors = option(
        defaults.ENCODING_ERRORS, "bytes that --encoding forbids: stop, or replace"
    )
    quoting: Quoting = option(
        defaults.QUOTING, "whether quotation marks may enclose a field: in CSV, not in TSV (auto); never; in both"
    )

    def problems(self) -> list[str]:
        """Return every contradiction between the settings, as sentences."""
        try:
            "\n".encode(self.encoding)
        except (LookupError, ValueError):
            return [f"--encoding {self.encoding!r} is none that Python knows (utf-8, latin-1, gb18030 are)"]
        return []


@dataclass(frozen=True)
class PrepareSettings(ReadingSettings):
    """What ``prepare_corpus`` does: texts in, noisy/clean pairs out."""

    files: tuple[str, ...] = option(
        (),
        "text, JSON Lines, CSV, TSV, Parquet or Arrow files (also .gz, .bz2, .xz, .zst), folders, globs; "
        "- reads lines from standard input",
        metavar="FILES",
        positional=True,
    )
    output: Path = option(Path("data/prepared"), "the folder to write", recorded=False)
    column: tuple[str, ...] = option(
        (), "the columns of structured files that hold the text (default: text, with title before it where there is "
        "one); of files without a header, their numbers", metavar="NAME"
    )  # fmt: skip
    split: Literal["line", "sentences", "paragraphs"] = option(
        "line", "one text per line or row; its sentences (learned from the corpus); or what blank lines part"
    )
    noise: str = option(
        defaults.NOISE, "delete, swap, mask, replace, insert, each with :RATIO at will, or module.function; "
                        "several by commas, as in swap:0.1,delete"
    )  # fmt: skip
    deletion_ratio: float = option(defaults.DELETION_RATIO, "share of a sentence's words to delete (the paper's 0.6)")
    words: WordUnit = option(
        defaults.WORD_UNIT, "what a word is: Unicode words, and characters in scripts without spaces (auto); "
                            "Unicode words; Treebank tokens; characters"
    )  # fmt: skip
    protect: Path | None = option(None, "a file of words that noise leaves alone, one per line")
    mask_token: str = option(defaults.MASK_TOKEN, "what masked words become")
    min_chars: int = option(
        defaults.MIN_CHARS, "drop shorter sentences (characters of scripts without spaces count as two)"
    )
    max_chars: int = option(defaults.MAX_CHARS, "drop longer sentences")
    min_letters: float = option(defaults.MIN_LETTERS, "drop sentences with a smaller share of letters")
    near_duplicates: float | None = option(None, "drop sentences this similar to an earlier one (0.8 is usual; slow)")
    keep_rejects: bool = option(False, "write what is dropped to rejects.jsonl, with the reason")
    held_out: float = option(
        1000,
        "sentences kept out of training: a share if below 1, else a count (at most a tenth of the corpus)",
    )
    seed: int = option(defaults.SEED, "decides the noise and which sentences are held out")
    model: str = option(_BASE_MODEL, "the base model by whose tokenizer the report counts", recorded=False)
    max_length: int | None = option(
        None, "the report counts texts of more tokens (default: the model's)", recorded=False
    )
    workers: int | None = option(None, "processes that clean and make noise (default: one a core)", recorded=False)
    engine: Literal["local", "ray"] = option("local", "this machine, or the Ray cluster that RAY_ADDRESS names")
    overwrite: bool = option(False, "replace an output folder that holds other data", recorded=False)

    def problems(self) -> list[str]:
        """Return every contradiction between the settings, as sentences."""
        found = super().problems()
        if not self.files:
            found.append("no input given: name a text file, a folder or a glob")
        if not 0 <= self.deletion_ratio < 1:
            found.append(f"--deletion-ratio {self.deletion_ratio} is outside 0 (keep all) to below 1")
        if not 1 <= self.min_chars <= self.max_chars:
            found.append(f"--min-chars {self.min_chars} must be from 1 to --max-chars {self.max_chars}")
        if not 0 <= self.min_letters <= 1:
            found.append(f"--min-letters {self.min_letters} is outside 0 to 1")
        if self.near_duplicates is not None and not 0.3 <= self.near_duplicates <= 0.95:
            found.append(f"--near-duplicates {self.near_duplicates} is outside 0.3 (hardly alike) to 0.95")
        found += [
            f"{flag(name)} {value} is below 1"
            for name in ("workers", "max_length")
            if (value := getattr(self, name)) is not None and value < 1
        ]
        if self.near_duplicates is not None and self.engine == "ray":
            found.append("--near-duplicates compares every sentence with all before it, which --engine ray cannot do")
        if not 0 <= self.seed < 2**32:
            found.append(_SEED_PROBLEM.format(self.seed))
        if self.held_out < 0 or (self.held_out >= 1 and self.held_out != int(self.held_out)):
            found.append(f"--held-out {self.held_out} is neither a share below 1 nor a whole number")
        return found


@dataclass(frozen=True)
class RunSettings(ReadingSettings):
    """What every stage that trains has in common."""

    model: str = option(_BASE_MODEL, "the base model: a folder or a hub name")
    output: Path = option(Path("runs/tsdae"), "the run's folder", may_change=True)
    epochs: float = option(1.0, "passes over the data", may_change=True)
    max_steps: int | None = option(None, "steps to train, instead of --epochs", may_change=True)
    batch_size: int = option(32, "sentences (or pairs) a step and process")
    gradient_accumulation_steps: int = option(1, "batches gathered for one step")
    gradient_checkpointing: bool = option(
        False, "compute the layers' inner values again for the gradients: less memory, more time", may_change=True
    )
    learning_rate: float | None = option(
        None, "learning rate of the encoder (default: 2e-5; of adapters 1e-4; from scratch, the decoder's)"
    )
    lora_rank: int | None = option(
        None, "train low-rank adapters of this rank beside the encoder's frozen weights; final/ is merged"
    )
    base_weight: float | None = option(
        None,
        "share of the base model's weights in the final ones (default: 0.5; of adapters, a plain language "
        "model and from scratch, none)",
    )
    max_length: int | None = option(None, "tokens at which sentences are cut in training (default: the model's)")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = option(
        "auto", "auto: bf16 where the hardware has it, else fp32"
    )
    save_steps: int = option(500, "steps between checkpoints", may_change=True)
    save_total_limit: int = option(2, "checkpoints kept", may_change=True)
    eval_steps: int = option(500, "steps between evaluations on what is held out", may_change=True)
    columns: tuple[str, ...] = option(
        (), "what the columns of labelled pairs are, where their names do not say it: anchor, positive, negative "
        "(repeatable), label; of a file without a header, numbers", metavar="ROLE=NAME"
    )  # fmt: skip
    eval_data: tuple[str, ...] = option(
        (),
        "score the encoder on these folders at each evaluation; the best step becomes the final model",
        metavar="DIR",
    )
    patience: int | None = option(
        None, "stop after this many evaluations in a row without a better score", may_change=True
    )
    require_gain: bool = option(
        False, "exit with code 1 if no step scores above the model it began with", may_change=True
    )
    logging_steps: int = option(25, "steps between progress lines", may_change=True)
    workers: int | None = option(
        None, "processes that make batches (default: on an accelerator 4, else none)", may_change=True
    )
    seed: int = option(42, "decides the order of the data, dropout and new weights")
    device: str | None = option(None, _DEVICE_HELP)
    trust_remote_code: bool = option(False, _TRUST_HELP, recorded=False)
    on_save_error: Literal["continue", "stop"] = option(
        "continue", "when a checkpoint cannot be saved: go on with a warning, or stop", may_change=True
    )
    report_to: Literal["none", "tensorboard", "wandb", "trackio", "mlflow"] = option(
        "none", "where else to report the metrics", may_change=True
    )
    push_to_hub: str | None = option(
        None, "upload the final model to this repository of the hub; a new one is private", recorded=False,
        metavar="NAME/MODEL",
    )  # fmt: skip
    trainer: tuple[str, ...] = option(
        (), "any other SentenceTransformerTrainingArguments field; repeatable", metavar="KEY=VALUE"
    )
    resume: bool | Path = option(
        False,
        "continue from the newest good checkpoint, or from PATH; a run without one starts at step 0",
        recorded=False,
    )
    overwrite: bool = option(False, "delete the run that the output folder holds", recorded=False)

    @property
    def sources(self) -> tuple[Path, ...]:
        """Where the training data lies."""
        return ()

    def problems(self) -> list[str]:
        """Return every contradiction between the settings, as sentences."""
        found = super().problems()
        if self.resume and self.overwrite:
            found.append("--resume and --overwrite contradict each other: give one")
        positive = ("epochs", "max_steps", "batch_size", "gradient_accumulation_steps", "learning_rate", "max_length",
                    "lora_rank", "decoder_learning_rate", "save_steps", "save_total_limit", "eval_steps", "patience",
                    "logging_steps")  # fmt: skip
        numbers = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        found += [
            f"{flag(name)} {numbers[name]} is not above 0" for name in positive
            if isinstance(numbers.get(name), (int, float)) and numbers[name] <= 0
        ]  # fmt: skip
        found += [
            f"{flag(name)} {numbers[name]} is below 0"
            for name in ("decoder_warmup_steps", "workers", "contrastive_weight", "drift_penalty")
            if numbers.get(name) is not None and numbers[name] < 0
        ]  # fmt: skip
        if not 0 <= self.seed < 2**32:
            found.append(_SEED_PROBLEM.format(self.seed))
        if self.max_length is not None and 0 < self.max_length < 4:
            found.append(f"--max-length {self.max_length} leaves no words between the special tokens")
        if self.base_weight is not None and not 0 <= self.base_weight < 1:
            found.append(f"--base-weight {self.base_weight} is outside 0 (what was trained alone) to below 1")
        if self.base_weight and self.lora_rank:
            found.append("--base-weight averages weights that are trained, and --lora-rank freezes them: leave one out")
        return found


# What --recipe stands for. Wang, Reimers and Gurevych 2021, section 5.2; they pool the first token, for which the
# base model's own pooling is not exchanged.
RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": {
        "batch_size": 8, "learning_rate": 3e-5, "decoder_learning_rate": 3e-5, "decoder_warmup_steps": 0,
        "decoder": "cross-attention", "contrastive_weight": 0.0, "drift_penalty": 0.0, "base_weight": 0.0,
    },
}  # fmt: skip


@dataclass(frozen=True)
class TrainSettings(RunSettings):
    """What ``adapt`` does: pairs and a base model in, an adapted encoder out (stage one)."""

    model: str = option(_BASE_MODEL, "the base model: a folder, a hub name, or scratch for a small new one")
    scratch_size: ScratchSize = option("mini", "from scratch: 2 layers of 128, 4 of 256, or 4 of 512")
    add_words: Path | None = option(None, "a file of words, one a line, that become tokens of their own")
    data: Path = option(Path("data/prepared"), "a folder written by tsdae_kit.prepare", may_change=True)
    recipe: Literal["default", "paper"] = option(
        "default", "paper: batches of 8, rates of 3e-5, no warm-up, where nothing else is given"
    )
    batch_size: int | Literal["auto"] = option(  # type: ignore[assignment]  # a number, once the run has begun
        32, f"sentences a step and process; auto: the largest power of two that fits, at most {LARGEST_BATCH}"
    )
    decoder: DecoderKind = option("auto", "what rebuilds the sentence (auto: cross-attention where the family has it)")
    decoder_learning_rate: float = option(3e-4, "learning rate of the decoder's own weights")
    decoder_warmup_steps: int | None = option(
        None, "first steps, in which the encoder is frozen (default: a fifth of the run, 200 at most; from scratch, 0)"
    )
    contrastive_weight: float | None = option(
        None, "weight of the in-batch contrastive loss between noisy and clean sentences (default: 1)"
    )
    drift_penalty: float | None = option(
        None, "weight of 1 - cosine between a clean sentence's embedding and the base model's (default: 10; from "
        "scratch: 0)"
    )  # fmt: skip
    noise: str | None = option(None, _NOISE_HELP, recorded=False, metavar="MODULE.FUNCTION")
    fixed_noise: bool = option(False, "train every epoch on the noise of the first")
    pairs: Path | None = option(
        None, "a file of labelled pairs that belong together: trained on in the same steps, with in-batch negatives"
    )

    @property
    def sources(self) -> tuple[Path, ...]:
        """The prepared data."""
        return (self.data,)

    def problems(self) -> list[str]:
        """Return every contradiction between the settings, as sentences."""
        found = super().problems()
        if self.lora_rank and self.model == SCRATCH:
            found.append(f"--lora-rank would freeze the random weights of --model {SCRATCH}: leave it out")
        if self.model == SCRATCH and self.drift_penalty:
            found.append(f"--drift-penalty needs a base model, and --model {SCRATCH} has none: leave it out")
        if self.columns and self.pairs is None:
            found.append("--columns says what labelled pairs hold: give --pairs too")
        if self.base_weight and self.model == SCRATCH:
            found.append(f"--base-weight needs a base model, and --model {SCRATCH} has none: leave it out")
        if self.lora_rank and self.add_words:
            found.append("--lora-rank freezes the rows of --add-words: give one, or add the words in a run before")
        return found


NO_PAIRS = "no labelled pairs given: name a JSON Lines, CSV, TSV or Parquet file"
Objective = Literal["auto", "multiple-negatives", "cosent", "contrastive", "softmax"]


@dataclass(frozen=True)
class FineTuneSettings(RunSettings):
    """What ``fine_tune`` does: labelled pairs and an encoder in, a fine-tuned encoder out (stage two)."""

    files: tuple[str, ...] = option(
        (),
        "labelled pairs, triplets or scored pairs: JSON Lines, CSV, TSV or Parquet; several are trained on in turn",
        metavar="FILES", positional=True, may_change=True,
    )  # fmt: skip
    model: str = option("runs/tsdae/final", "the encoder to start from: a folder or a hub name")
    output: Path = option(Path("runs/finetuned"), "the run's folder", may_change=True)
    learning_rate: float | None = option(2e-5, "its height: it rises for a tenth of the run, then falls to zero")
    base_weight: float | None = option(
        0.0, "share of the weights that it began with in the final ones: it forgets less, and learns less"
    )
    loss: Objective = option("auto", "the objective (auto: by the columns of each file)")
    mine_negatives: Path | None = option(
        None,
        "a text file, of which each pair gets a hard negative: found by the encoder before it is trained, or by the "
        "base model that stage one's run kept",
    )

    @property
    def sources(self) -> tuple[Path, ...]:
        """The files."""
        return tuple(map(Path, self.files))

    def problems(self) -> list[str]:
        """Return every contradiction between the settings, as sentences."""
        missing = [] if self.files or self.resume else [NO_PAIRS]  # a run that is resumed knows them
        return [*missing, *super().problems()]


@dataclass(frozen=True)
class EvaluateSettings(ReadingSettings):
    """What ``score_models`` does: models and evaluation data in, scores with intervals out."""

    models: tuple[str, ...] = option(
        (), "folders or hub names, or bm25; the first is the reference", metavar="MODEL", positional=True
    )
    data: tuple[str, ...] = option(
        (), "folders of evaluation data; without labels, a prepared folder or a text file", metavar="DIR"
    )
    split: Literal["test", "dev"] = option("test", "the part of the data to score on: dev is for choosing")
    output: Path = option(Path("scores.json"), "the file to write")
    batch_size: int = option(32, "texts encoded at once")
    device: str | None = option(None, _DEVICE_HELP)
    trust_remote_code: bool = option(False, _TRUST_HELP, recorded=False)

    def problems(self) -> list[str]:
        """Return every contradiction between the settings, as sentences."""
        found = super().problems()
        if not self.models:
            found.append("no model given: name one or more before --data")
        if not self.data:
            found.append("no data given: pass --data with one or more folders")
        found += [
            f"{name} is named twice"
            for names in (self.models, self.data)
            for name in dict.fromkeys(names)
            if names.count(name) > 1
        ]
        if self.batch_size < 1:
            found.append(f"--batch-size {self.batch_size} is below 1")
        if self.output.is_dir():
            found.append(f"--output {self.output} is a folder: name a file")
        return found


@dataclass(frozen=True)
class ReportSettings:
    """What ``write_report`` does: folders of runs in, a page out."""

    runs: tuple[str, ...] = option((), "folders of runs; several are compared", metavar="RUN", positional=True)
    scores: Path | None = option(
        None, "what evaluate wrote, to be shown beside (default: scores.json in a run's folder)"
    )
    output: Path = option(Path("comparison.html"), "the page that compares several runs; one run's lies in its folder")

    def problems(self) -> list[str]:
        """Return every contradiction between the settings, as sentences."""
        if not self.runs:
            return ["no run given: name the folder of one or more"]
        found = [f"{name} is named twice" for name in dict.fromkeys(self.runs) if self.runs.count(name) > 1]
        return [*found, *([f"--output {self.output} is a folder: name a file"] if self.output.is_dir() else [])]


@dataclass(frozen=True)
class InspectSettings:
    """What ``inspect_run`` does: a run and sentences in, what its model makes of them out."""

    run: Path = option(Path("runs/tsdae"), "the run's folder", positional=True)
    text: tuple[str, ...] = option((), "sentences to look at (default: some of those held out)")
    data: Path | None = option(None, "the prepared corpus, if it has moved since the run began")
    nearest: int = option(5, "how many neighbours to show of each")
    searched: int = option(1000, "how many of the sentences trained on are searched for them, evenly spaced")
    noise: str | None = option(None, _NOISE_HELP, metavar="MODULE.FUNCTION")
    device: str | None = option(None, _DEVICE_HELP)
    trust_remote_code: bool = option(False, _TRUST_HELP)

    def problems(self) -> list[str]:
        """Return every contradiction between the settings, as sentences."""
        return [
            f"{flag(name)} {value} is below {least}"
            for name, value, least in (("nearest", self.nearest, 0), ("searched", self.searched, 1))
            if value < least
        ]


@dataclass(frozen=True)
class ExportSettings:
    """What ``export_model`` does: an encoder in, one file for another runtime out."""

    model: str = option("runs/tsdae/final", "the encoder: a folder or a hub name", positional=True)
    format: Literal["onnx", "openvino"] = option("onnx", "for ONNX Runtime, or for OpenVINO")
    output: Path = option(Path("runs/exported"), "the folder to write")
    trust_remote_code: bool = option(False, _TRUST_HELP)

    def problems(self) -> list[str]:
        """Return every contradiction between the settings, as sentences."""
        return []
