"""The folder of one training run: the names of its files, its record ``run.json``, its metrics. Needs no torch.

This module alone knows how a run folder is laid out. Every command that reads or writes a run asks :class:`RunFolder`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Any, Literal, TypedDict, cast

from tsdae_kit.errors import KitError, first_line
from tsdae_kit.filesystem import atomic_file, folder_lock, name_lock, remove_leftovers, write_json

TaskName = Literal["tsdae", "pairs"]
MANIFEST = "manifest.json"  # of a checkpoint
LOSS_WEIGHTS = "loss.safetensors"  # of a checkpoint: the decoder
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_EVALUATION = {"eval_loss", "eval_score"}  # without held-out pairs there is a score alone
# What the libraries write of a model, apart from files of its own code
_MODEL_FILES = (
    "README.md", "config.json", "modules.json", "config_sentence_transformers.json", "sentence_*_config.json",
    "adapter_config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "vocab.txt", "merges.txt", "bpe.codes", "chat_template.jinja", "sentencepiece*.model", "spiece.model",
    "tokenizer.model", "model.safetensors", "adapter_model.safetensors", "model-*-of-*.safetensors",
    "model.safetensors.index.json",
)  # fmt: skip
_MODULE = "[0-9]*_[A-Z]*"  # 1_Pooling
_MODULE_FILES = (*_MODEL_FILES, "pytorch_model.bin")
_TRAINER_FILES = (MANIFEST, LOSS_WEIGHTS, "optimizer.*", "scheduler.pt", "scaler.pt", "rng_state*.pth",
                  "trainer_state.json", "training_args.bin")  # fmt: skip
_RENAMED_SETTINGS = {"contrast": "contrastive_weight", "anchor": "drift_penalty", "base_share": "base_weight",
                     "with_pairs": "pairs"}  # of runs that were begun with version 0.1  # fmt: skip
_RENAMED_METRICS = {"loss_contrast": "loss_contrastive", "loss_anchor": "loss_drift"}
_REMOVED_SETTINGS = {"fixed_noise": False}  # of the same runs: with this value, they continue without the setting


class _RecordBegun(TypedDict):
    id: str
    settings: dict[str, Any]
    data: str  # fingerprint
    max_length: int | None  # of the base model, in tokens
    processes: int
    versions: dict[str, str]


class RunRecord(_RecordBegun, total=False):
    """The content of ``run.json``. ``goals`` are digests of the validation sets; ``about`` is for card and report."""

    task: TaskName
    started: str
    model_digest: str | None
    goals: dict[str, str]
    about: dict[str, str]
    finished: str
    finished_step: int
    best_step: int
    stopped_early: bool
    files: list[str]  # of final/


_REQUIRED: dict[str, type | tuple[type, ...]] = {
    "id": str, "settings": dict, "data": str, "max_length": (int, type(None)), "processes": int, "versions": dict,
}  # fmt: skip
_OPTIONAL: dict[str, type] = {"task": str, "goals": dict, "about": dict, "finished_step": int, "best_step": int,
                              "files": list}  # fmt: skip


class RunFolder:
    """One run's folder.

    Attributes:
        path: Where it is; it may not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def record_file(self) -> Path:
        """Settings, versions and state of the run."""
        return self.path / "run.json"

    @property
    def metrics_file(self) -> Path:
        """One JSON line for each log entry."""
        return self.path / "metrics.jsonl"

    @property
    def log_file(self) -> Path:
        """The messages, with times."""
        return self.path / "train.log"

    @property
    def measurements_file(self) -> Path:
        """What was measured of the finished run, for its page."""
        return self.path / "outcome.json"

    @property
    def page(self) -> Path:
        """The run's page."""
        return self.path / "report.html"

    @property
    def scores_file(self) -> Path:
        """Scores of the command ``evaluate``, if they were written here."""
        return self.path / "scores.json"

    @property
    def final(self) -> Path:
        """The final model."""
        return self.path / "final"

    @property
    def base(self) -> Path:
        """A copy of the model that the run began with, where the run needs it to the end."""
        return self.path / "base"

    def negatives_file(self, name: str) -> Path:
        """Return the mined hard negatives of one labelled file."""
        return self.path / f"negatives-{name}.parquet"

    def checkpoint(self, step: int) -> Path:
        """Return the folder of a step's checkpoint."""
        return self.path / f"checkpoint-{step}"

    def checkpoints(self) -> list[Path]:
        """Return the checkpoint folders, whole or not, newest step first."""
        found = [path for path in self.path.glob("checkpoint-*") if path.is_dir() and checkpoint_step(path) >= 0]
        return sorted(found, key=checkpoint_step, reverse=True)

    def read_record(self) -> RunRecord | None:
        """Return the record, or ``None`` if the folder holds no run.

        Raises:
            KitError: If there is a record that cannot be read.
        """
        path = self.record_file
        if not path.is_file():
            return None
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            for key, kind in {**_REQUIRED, **{key: kind for key, kind in _OPTIONAL.items() if key in record}}.items():
                if not isinstance(record[key], kind):
                    raise TypeError(f"{key} is {record[key]!r}")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise KitError(
                f"{path} is damaged ({first_line(error)}). Restore it, or choose another --output."
            ) from error
        settings = current_settings(record["settings"])
        return cast("RunRecord", {"task": "tsdae" if "data" in settings else "pairs", **record, "settings": settings})

    def write_record(self, record: RunRecord) -> None:
        """Write the record; the file is whole at every moment."""
        write_json(self.record_file, record)

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return the entries of the metrics; a line that is cut off (it may just be written) is left out."""
        entries = []
        with suppress(OSError):
            for line in self.metrics_file.read_text(encoding="utf-8").splitlines():
                with suppress(ValueError):
                    entries.append(json.loads(line))
        return [
            {_RENAMED_METRICS.get(str(name), str(name)): value for name, value in entry.items()}
            for entry in entries if isinstance(entry, dict) and isinstance(entry.get("step"), int)
        ]  # fmt: skip

    def trim_metrics(self, last_step: int) -> set[int]:
        """Drop the entries of later steps, which will be done again; return the steps that were evaluated.

        Args:
            last_step: Of the checkpoint that the run continues from; 0 drops all entries.
        """
        if not self.metrics_file.exists():
            return set()
        entries = [entry for entry in self.read_metrics() if last_step and entry["step"] <= last_step]
        with atomic_file(self.metrics_file) as temporary:
            temporary.write_text("".join(f"{json.dumps(entry)}\n" for entry in entries), encoding="utf-8")
        return {entry["step"] for entry in entries if entry.keys() & _EVALUATION}

    def known_files(self) -> set[str]:
        """Return patterns of all files that the run wrote: what ``--overwrite`` deletes.

        Files of a model are those that the record and the checkpoints' manifests list, or that have the libraries'
        names: anyone may put more files next to a model, as one exported to ONNX.
        """
        recorded = {escape(name) for name in read_json(self.record_file).get("files", []) if isinstance(name, str)}
        saved = {path.name: set(map(escape, manifest_files(path))) for path in self.checkpoints()}
        model = {*_MODEL_FILES, *(f"{_MODULE}/{name}" for name in _MODULE_FILES), *recorded}
        folders = {self.final.name: model, self.base.name: model.union(*saved.values())}
        folders |= {name: files | {MANIFEST} if files else model | {*_TRAINER_FILES} for name, files in saved.items()}
        top = {path.name for path in (self.record_file, self.metrics_file, self.log_file, self.measurements_file,
                                      self.page, self.scores_file)}  # fmt: skip
        top |= {"negatives-[0-9]*-*.parquet", *(f"tensorboard/{depth}events.out.tfevents.*" for depth in ("", "*/"))}
        return top | {f"{folder}/{name}" for folder, names in folders.items() for name in names}

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Hold the folder, and this process for training; remove what a killed run left unfinished in the folder.

        Raises:
            KitError: If another run holds the folder, or trains in this process.
        """
        with folder_lock(self.path, wait=False) as is_free, name_lock("training", wait=False) as is_only_run:
            if not is_free:
                raise KitError(f"Another run is going on in {self.path}. Wait for it, or choose another --output.")
            if not is_only_run:
                raise KitError(
                    "Another run trains in a thread of this process, and both would draw from the same random numbers. "
                    "Wait for it, or start this one in a process of its own."
                )
            remove_leftovers(self.path)
            yield


def current_settings(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a record under the names of today."""
    settings: dict[str, Any] = {
        _RENAMED_SETTINGS.get(name, name): value
        for name, value in recorded.items()
        if name not in _REMOVED_SETTINGS or value != _REMOVED_SETTINGS[name]
    }
    if isinstance(extra := settings.get("trainer"), list):  # prompts by column
        settings["trainer"] = [str(item).replace("beside_", "pair_") for item in extra]
    return settings


def checkpoint_step(checkpoint: Path) -> int:
    """Return the step in a checkpoint's name; -1 for another name."""
    match = _CHECKPOINT.fullmatch(checkpoint.name)
    return int(match[1]) if match else -1


def manifest_files(checkpoint: Path) -> list[str]:
    """Return the files that a checkpoint's manifest lists; none, where it is missing or damaged."""
    try:
        return list(json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def is_run(path: Path) -> bool:
    """Return whether a folder is that of a run."""
    return RunFolder(path).record_file.is_file()


def run_of_model(model: Path) -> RunFolder | None:
    """Return the run whose final model or checkpoint this folder is."""
    run = RunFolder(model.parent)
    if model.name == run.final.name or checkpoint_step(model) >= 0:
        return run if is_run(run.path) else None
    return None


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file's object; an empty one if there is none."""
    with suppress(OSError, ValueError):
        content = json.loads(path.read_text(encoding="utf-8"))
        return content if isinstance(content, dict) else {}
    return {}
