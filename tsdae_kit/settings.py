"""One frozen dataclass per stage: the only home of every default, and the source of its flags.

A flag, a keyword of the stage's function, a key of its YAML file and a key of the run record are one
name, so each is made from the dataclass field rather than written again. The trade-off is a small
amount of type inspection here instead of an argument list in every command. Nothing in this module
imports torch: ``--help`` must answer at once.
"""

from __future__ import annotations

import argparse
import math
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml


class KitError(Exception):
    """Something the user can mend: shown as one line, exit code 2, no traceback."""

    def __str__(self) -> str:
        return " ".join(super().__str__().splitlines())  # names of files and columns may hold line ends


class RunStopped(BaseException):  # no error: the run waits to be resumed, whatever a library catches
    """A signal ended the run, its state whole: one line, exit code 75 (EX_TEMPFAIL), for a scheduler to requeue."""


class NoGain(Exception):  # noqa: N818  # the run is well, its result is not
    """No step of a run beat the base model: one line, exit code 1, where ``--require-gain`` asks for it."""


def option(
    default: Any, help_text: str, *, may_change: bool = False, recorded: bool = True, metavar: str | None = None,
    positional: bool = False,
) -> Any:  # fmt: skip
    """Return a dataclass field that also describes its flag.

    Args:
        default: The one place this default is written.
        help_text: The flag's help.
        may_change: Whether a resumed run may be given another value.
        recorded: Whether the value belongs to the run's record (false for how to start, as ``resume``).
        metavar: What help calls a value (else the last word of the name).
        positional: Whether the values are given without the flag; the field is a tuple then.
    """
    metadata = {"help": help_text, "may_change": may_change, "recorded": recorded, "metavar": metavar,
                "positional": positional}  # fmt: skip
    return field(default=default, metadata=metadata)


_SEED_PROBLEM = "--seed {} is outside 0 to 4,294,967,295"
WordUnit = Literal["auto", "unicode", "nltk", "characters"]
_BASE_MODEL = "all-MiniLM-L6-v2"
DecoderKind = Literal["auto", "cross-attention", "prefix"]
ScratchSize = Literal["tiny", "mini", "small"]
SCRATCH = "scratch"
LARGEST_BATCH = 512
_TRUST_HELP = "run the code that comes with the model, which may be anyone's"
_DEVICE_HELP = "cpu, cuda, mps (default: the best there is)"


@dataclass(frozen=True)
class PrepareSettings:
    """What ``prepare_corpus`` does: texts in, noisy/clean pairs out."""

    files: tuple[str, ...] = option(
        (),
        "text, JSON Lines, CSV, TSV, Parquet or Arrow files (also .gz, .bz2, .xz, .zst), folders, globs; "
        "- reads lines from standard input",
        metavar="FILES",
        positional=True,
    )
    output: Path = option(Path("data/prepared"), "the folder to write", recorded=False)
    column: str = option("text", "the column of structured files that holds the text")
    split: Literal["line", "sentences", "paragraphs"] = option(
        "line", "one text per line or row; its sentences (learned from the corpus); or what blank lines part"
    )
    noise: str = option("delete", "delete, swap, mask, replace, insert, each with :RATIO at will, or module.function; "
                                  "several by commas, as in swap:0.1,delete")  # fmt: skip
    deletion_ratio: float = option(0.6, "share of a sentence's words to delete (the paper's 0.6)")
    words: WordUnit = option(
        "auto", "what a word is: Unicode words, and characters in scripts without spaces (auto); Unicode words; "
                "Treebank tokens; characters"
    )  # fmt: skip
    protect: Path | None = option(None, "a file of words that noise leaves alone, one per line")
    mask_token: str = option("[MASK]", "what masked words become")
    min_chars: int = option(10, "drop shorter sentences (characters of scripts without spaces count as two)")
    max_chars: int = option(2000, "drop longer sentences")
    min_letters: float = option(0.3, "drop sentences with a smaller share of letters")
    near_duplicates: float | None = option(None, "drop sentences this similar to an earlier one (0.8 is usual; slow)")
    keep_rejects: bool = option(False, "write what is dropped to rejects.jsonl, with the reason")
    held_out: float = option(
        1000,
        "sentences kept out of training: a share if below 1, else a count (at most a tenth of the corpus)",
    )
    seed: int = option(42, "decides the noise and which sentences are held out")
    encoding: str = option("utf-8", "how the text is encoded")
    encoding_errors: Literal["strict", "replace"] = option("strict", "bytes that --encoding forbids: stop, or replace")
    model: str = option(_BASE_MODEL, "the base model by whose tokenizer the report counts", recorded=False)
    max_length: int | None = option(
        None, "the report counts texts of more tokens (default: the model's)", recorded=False
    )
    workers: int | None = option(None, "processes that clean and make noise (default: one a core)", recorded=False)
    engine: Literal["local", "ray"] = option("local", "this machine, or the Ray cluster that RAY_ADDRESS names")
    overwrite: bool = option(False, "replace an output folder that holds other data", recorded=False)

    def problems(self) -> list[str]:
        """Return every contradiction between the settings, as sentences."""
        found = []
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
        try:
            "\n".encode(self.encoding)
        except (LookupError, ValueError):
            found.append(f"--encoding {self.encoding!r} is none that Python knows (utf-8, latin-1, gb18030 are)")
        if self.near_duplicates is not None and self.engine == "ray":
            found.append("--near-duplicates compares every sentence with all before it, which --engine ray cannot do")
        if not 0 <= self.seed < 2**32:
            found.append(_SEED_PROBLEM.format(self.seed))
        if self.held_out < 0 or (self.held_out >= 1 and self.held_out != int(self.held_out)):
            found.append(f"--held-out {self.held_out} is neither a share below 1 nor a whole number")
        return found


@dataclass(frozen=True)
class RunSettings:
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
        None, "learning rate of the encoder (default: 1e-5; of adapters 1e-4; from scratch, the decoder's)"
    )
    lora_rank: int | None = option(
        None, "train low-rank adapters of this rank beside the encoder's frozen weights; final/ is merged"
    )
    max_length: int | None = option(None, "tokens at which sentences are cut in training (default: the model's)")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = option(
        "auto", "auto: bf16 where the hardware has it, else fp32"
    )
    save_steps: int = option(500, "steps between checkpoints", may_change=True)
    save_total_limit: int = option(2, "checkpoints kept", may_change=True)
    eval_steps: int = option(500, "steps between evaluations on what is held out", may_change=True)
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
    trust_remote_code: bool = option(False, _TRUST_HELP, may_change=True)
    on_save_error: Literal["continue", "stop"] = option(
        "continue", "when a checkpoint cannot be saved: go on with a warning, or stop", may_change=True
    )
    report_to: Literal["none", "tensorboard", "wandb", "trackio", "mlflow"] = option(
        "none", "where else to report the metrics", may_change=True
    )
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
        found = []
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
            f"{flag(name)} {numbers[name]} is below 0" for name in ("decoder_warmup_steps", "workers")
            if numbers.get(name) is not None and numbers[name] < 0
        ]  # fmt: skip
        if not 0 <= self.seed < 2**32:
            found.append(_SEED_PROBLEM.format(self.seed))
        if self.max_length is not None and 0 < self.max_length < 4:
            found.append(f"--max-length {self.max_length} leaves no words between the special tokens")
        return found


# What --recipe stands for. Wang, Reimers and Gurevych 2021, section 5.2; they pool the first token, for which the
# base model's own pooling is not exchanged.
RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": {
        "batch_size": 8, "learning_rate": 3e-5, "decoder_learning_rate": 3e-5, "decoder_warmup_steps": 0,
        "decoder": "cross-attention",
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
    fixed_noise: bool = option(False, "train every epoch on the noise of the first")
    with_pairs: Path | None = option(
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
        if self.lora_rank and self.add_words:
            found.append("--lora-rank freezes the rows of --add-words: give one, or add the words in a run before")
        return found


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
    loss: Objective = option("auto", "the objective (auto: by the columns of each file)")
    mine_negatives: Path | None = option(
        None, "a text file, of which each pair gets a hard negative that the encoder finds before it is trained"
    )

    @property
    def sources(self) -> tuple[Path, ...]:
        """The files."""
        return tuple(map(Path, self.files))

    def problems(self) -> list[str]:
        """Return every contradiction between the settings, as sentences."""
        missing = [] if self.files else ["no labelled pairs given: name a JSON Lines, CSV, TSV or Parquet file"]
        return [*missing, *super().problems()]


@dataclass(frozen=True)
class EvaluateSettings:
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
    trust_remote_code: bool = option(False, _TRUST_HELP)

    def problems(self) -> list[str]:
        """Return every contradiction between the settings, as sentences."""
        found = []
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


Settings = TypeVar("Settings", bound="PrepareSettings | RunSettings | EvaluateSettings")


def flag(name: str) -> str:
    """Return a field's flag: ``batch_size`` -> ``--batch-size``."""
    return "--" + name.replace("_", "-")


def make_settings(kind: type[Settings], given: Mapping[str, Any]) -> Settings:
    """Return the settings with defaults filled in.

    Args:
        kind: The stage's dataclass.
        given: Field names to values, as typed values or as the strings of a command line.

    Raises:
        KitError: Naming every unknown name, wrong type and contradiction at once.
    """
    hints = get_type_hints(kind)
    known = [f.name for f in fields(kind)]
    problems = [f"{name!r} is not a setting (there are: {', '.join(known)})" for name in given if name not in hints]
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name in hints:
            try:
                values[name] = _convert(value, hints[name])
            except (TypeError, ValueError):
                problems.append(f"{flag(name)} {value!r} is not {describe(hints[name])}")
    if not problems:
        settings = kind(**values)
        problems = settings.problems()
    if problems:
        raise KitError(". ".join(problems) + ".")
    return settings


def _convert(value: Any, hint: Any) -> Any:
    """Return ``value`` as the type ``hint``; ValueError or TypeError where it is not one."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if type(value) in arguments and isinstance(value, (bool, type(None))):
            return value
        if any(value in get_args(kind) for kind in arguments):  # a word that stands for a value
            return value
        return _convert(value, next(kind for kind in arguments if kind not in (type(None), bool)))
    if origin is Literal and value not in arguments:
        raise ValueError(value)
    if origin is Literal or (hint is bool and isinstance(value, bool)):
        return value
    if origin is tuple:
        if isinstance(value, Mapping):
            return tuple(f"{key}={item}" for key, item in value.items())
        return tuple(str(item) for item in ([value] if isinstance(value, (str, Path)) else value))
    if value is None or isinstance(value, bool) or hint is bool or (hint is int and isinstance(value, float)):
        raise TypeError(value)
    converted = hint(value)
    if isinstance(converted, float) and not math.isfinite(converted):
        raise ValueError(value)
    return converted


def describe(hint: Any) -> str:
    """Return a type in a user's words: ``int | None`` -> ``a whole number``."""
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    names = {int: "a whole number", float: "a number", bool: "true or false", Path: "a path", str: "text"}
    names |= {kind: " or ".join(map(repr, get_args(kind))) for kind in get_args(hint) if get_origin(kind) is Literal}
    kinds = [kind for kind in get_args(hint) if kind in names] or [hint]
    return " or ".join(names.get(kind, str(kind)) for kind in kinds)


def parse_arguments(kind: type[Settings], prog: str, description: str, argv: Sequence[str] | None) -> dict[str, Any]:
    """Return only what was given by hand, from ``--config FILE`` and from flags, flags winning.

    Args:
        kind: The stage's dataclass; each field becomes a flag.
        prog: The command's name, for help and errors.
        description: One sentence, for help.
        argv: The arguments; ``None`` takes the process's own.

    Raises:
        KitError: If the YAML file cannot be read or holds no settings.
    """
    parser = argparse.ArgumentParser(prog=prog, description=description, argument_default=argparse.SUPPRESS)
    parser.add_argument("--config", type=Path, metavar="FILE", help="a YAML file of these settings; flags win over it")
    hints = get_type_hints(kind)
    for entry in fields(kind):
        _add_flag(parser, entry, hints[entry.name])
    given = vars(parser.parse_args(argv))
    for entry in fields(kind):
        if entry.metadata["positional"] and not given.get(entry.name):
            given.pop(entry.name, None)  # argparse gives an empty list, which would hide the file's
    config = given.pop("config", None)
    return {**(read_config(config) if config else {}), **given}


def _add_flag(parser: argparse.ArgumentParser, entry: Field[Any], hint: Any) -> None:
    shown = "" if entry.default in (None, False, ()) else f" [{entry.default}]"
    help_text = (entry.metadata["help"] + shown).replace("%", "%%")
    metavar = entry.metadata["metavar"] or entry.name.split("_")[-1].upper()
    if entry.metadata["positional"]:
        parser.add_argument(entry.name, nargs="*", metavar=metavar, help=help_text)
    elif get_origin(hint) is tuple:
        parser.add_argument(flag(entry.name), action="extend", nargs="+", metavar=metavar, help=help_text)
    elif hint is bool:
        parser.add_argument(flag(entry.name), action="store_true", help=help_text)
    elif bool in get_args(hint):
        parser.add_argument(flag(entry.name), nargs="?", const=True, metavar="PATH", help=help_text)
    elif get_origin(hint) is Literal:
        parser.add_argument(flag(entry.name), choices=get_args(hint), help=help_text)
    else:
        parser.add_argument(flag(entry.name), metavar=metavar, help=help_text)


def read_config(path: Path) -> dict[str, Any]:
    """Return a YAML file's mapping, with the keys spelled as settings are.

    Raises:
        KitError: If the file cannot be read or holds no mapping.
    """
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = str(error).replace("\n", " ")
        raise KitError(f"The settings file {path} cannot be read ({reason}). Give a YAML file of settings.") from error
    if not isinstance(loaded, dict):
        raise KitError(f"The settings file {path} holds no settings. Write lines such as 'epochs: 2'.")
    return {str(key).replace("-", "_"): value for key, value in loaded.items()}


def run_command(prog: str, command: Callable[[], object]) -> None:
    """Run a stage's command; what the user can mend becomes one line on standard error and exit code 2."""
    try:
        command()
    except KitError as error:
        fault, code = str(error), 2
    except NoGain as verdict:
        fault, code = str(verdict), 1
    except RunStopped as stop:
        fault, code = str(stop), 75
    except KeyboardInterrupt:
        fault, code = "Interrupted; what was saved before is whole.", 130
    except OSError as error:
        if error.errno is None:
            raise
        where = f"{error.filename}: " if error.filename else ""
        fault, code = f"{where}{error.strerror}. Check the place's permissions and free space.", 2
    else:
        return
    sys.stderr.write(f"{prog}: {fault}\n")
    sys.exit(code)
