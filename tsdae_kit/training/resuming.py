"""A run's folder: its record ``run.json``, its lock, and which settings hold when it is resumed.

Resuming (the same run, to the bit) takes its settings from the record; one given by hand that
contradicts it is an error, unless changing it leaves the run's meaning as it is. Continuing from a
trained model is a new run in a new folder, and needs nothing here.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from glob import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

from tsdae_kit import distributed
from tsdae_kit.config.conversion import make_settings, to_record
from tsdae_kit.config.fields import flag
from tsdae_kit.config.settings import NO_PAIRS, SCRATCH, RunSettings
from tsdae_kit.errors import KitError, first_line
from tsdae_kit.filesystem import (
    atomic_file,
    check_no_outside_links,
    check_only_known_files,
    held,
    locked,
    path_digests,
    remove_known_files,
    remove_leftovers,
    write_json,
)
from tsdae_kit.reporting.run_page import OUTCOME, PAGE
from tsdae_kit.training.checkpoints import SEAL, checkpoint_step, list_checkpoints, list_files

logger = logging.getLogger("tsdae_kit")
RECORD = "run.json"
FINAL = "final"
BASE = "base"  # what the run began with
METRICS = "metrics.jsonl"
_TOP = (RECORD, METRICS, OUTCOME, PAGE, "train.log", "scores.json", "negatives-[0-9]*-*.parquet",
        *[f"tensorboard/{depth}events.out.tfevents.*" for depth in ("", "*/")])  # fmt: skip
# What the libraries write of a model, besides files of its own code; of older runs, and of those that were killed.
_MODEL = (
    "README.md", "config.json", "modules.json", "config_sentence_transformers.json", "sentence_*_config.json",
    "adapter_config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "vocab.txt", "merges.txt", "bpe.codes", "chat_template.jinja", "sentencepiece*.model", "spiece.model",
    "tokenizer.model", "model.safetensors", "adapter_model.safetensors", "model-*-of-*.safetensors",
    "model.safetensors.index.json",
)  # fmt: skip
_MODULE = "[0-9]*_[A-Z]*"  # 1_Pooling
_IN_MODULE = (*_MODEL, "pytorch_model.bin")
_STATE = (SEAL, "loss.safetensors", "optimizer.*", "scheduler.pt", "scaler.pt", "rng_state*.pth",
          "trainer_state.json", "training_args.bin")  # fmt: skip
_EVALUATED = {"eval_loss", "eval_score"}  # without held-out pairs there is a score alone
_TIME = "%Y-%m-%d %H:%M:%S %z"
_KEYS: dict[str, type | tuple[type, ...]] = {
    "id": str,
    "settings": dict,
    "data": str,
    "max_length": (int, type(None)),
    "processes": int,
    "versions": dict,
}
# May be missing
_MORE: dict[str, type] = {"goals": dict, "about": dict, "finished_step": int, "best_step": int, "files": list}
_LIBRARIES = (
    "tsdae_kit",
    "torch",
    "transformers",
    "sentence-transformers",
    "datasets",
    "accelerate",
    "numpy",
)


@dataclass(frozen=True)
class Run:
    """One run: where it lives, what it does, and its record.

    Attributes:
        settings: The settings that hold, from the record and from what was given.
        record: The content of ``run.json``; of a new run, ``None`` until it is begun.
        resume_from: A checkpoint asked for by path.
    """

    settings: RunSettings
    record: dict[str, Any] | None
    resume_from: Path | None = None

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.settings.output


def plan_run(kind: type[RunSettings], given: Mapping[str, Any]) -> Run:
    """Return the run that the given settings mean: a new one, or the one their output folder holds.

    Raises:
        KitError: If the folder is in use and neither way out was chosen, or a setting contradicts the record.
    """
    if "epochs" in given and given.get("max_steps") is not None:
        raise KitError("--epochs and --max-steps both say how long to train. Give one.")
    settings = make_settings(kind, given)
    resume_from = settings.resume if isinstance(settings.resume, Path) else None
    if resume_from is not None and not resume_from.is_dir():
        raise KitError(f"There is no checkpoint folder {resume_from}. Pass one, or --resume alone for the newest.")
    if resume_from is not None and (resume_from / RECORD).is_file():  # a run's folder: its newest is meant
        return plan_run(kind, {**given, "output": resume_from, "resume": True})
    if resume_from is not None and "output" not in given:
        given = {**given, "output": resume_from.parent}
        settings = make_settings(kind, given)
    record = read_record(settings.output)
    if record is None:
        _check_foreign(settings, resume_from)
        if not settings.sources:
            raise KitError(f"{NO_PAIRS}.")
        return Run(settings, None)
    if settings.overwrite:
        inside = [
            p for p in (Path(settings.model), *settings.sources) if settings.output.resolve() in p.resolve().parents
        ]
        if inside:
            raise KitError(f"{inside[0]} lies in {settings.output}, which --overwrite deletes. Choose another one.")
        check_only_known_files(settings.output, _written(settings.output))
        return Run(settings, None)
    if not settings.resume:
        raise KitError(
            f"{settings.output} holds a run already. Pass --resume to continue it, --overwrite to delete it, "
            "or choose another --output."
        )
    check_no_outside_links(settings.output)
    return Run(_merge(record, given, settings), record, resume_from)


def _written(folder: Path) -> set[str]:
    """Return patterns of all that the run in a folder wrote: what ``--overwrite`` deletes.

    Files of a model are those that the run's record and the checkpoints' manifests list, or that are called as the
    libraries call theirs: anyone may put more files beside a model, as one exported to ONNX.
    """
    recorded = (read_record(folder) or {}).get("files", [])
    listed = {escape(name) for name in recorded if isinstance(name, str)}
    checkpoints = {path.name: list_files(path) for path in list_checkpoints(folder)}
    model = {*_MODEL, *[f"{_MODULE}/{name}" for name in _IN_MODULE], *listed}
    saved = {escape(name) for names in checkpoints.values() for name in names}
    known = {FINAL: model, BASE: model | saved}
    known |= {name: {*map(escape, names), SEAL} if names else model | {*_STATE} for name, names in checkpoints.items()}
    return {*_TOP, *[f"{place}/{name}" for place, names in known.items() for name in names]}


def _check_foreign(settings: RunSettings, resume_from: Path | None) -> None:
    folder = settings.output
    if resume_from is not None or list_checkpoints(folder):
        raise KitError(
            f"{folder} has no {RECORD}, so it is not known what its checkpoints belong to. "
            "Restore the file, or choose another --output."
        )
    foreign = sorted(p.name for p in folder.iterdir() if not p.name.startswith(".")) if folder.is_dir() else []
    if foreign or folder.is_file():
        raise KitError(f"{folder} is in use and holds no run ({', '.join(foreign[:3])}). Choose another --output.")


def _merge(record: Mapping[str, Any], given: Mapping[str, Any], asked: RunSettings) -> RunSettings:
    if strange := record["settings"].keys() - {entry.name for entry in fields(asked)}:
        raise KitError(
            f"{asked.output} holds a run of another stage or version ({', '.join(sorted(strange))}). "
            "Choose another --output."
        )
    recorded = recorded_settings(record, type(asked))
    if "epochs" in given or given.get("max_steps") is not None:
        recorded.pop("epochs", None)
        recorded.pop("max_steps", None)
    stands = make_settings(type(asked), recorded)
    changes = {}
    conflicts = []
    for entry in fields(asked):
        value, before = getattr(asked, entry.name), getattr(stands, entry.name)
        if entry.name not in given or value in ("auto", None):
            continue
        if entry.metadata["may_change"] or not entry.metadata["recorded"]:
            changes[entry.name] = value
        elif value != before:
            conflicts.append(f"{flag(entry.name)} is {value}, but the run was started with {before}")
    if conflicts:
        raise KitError(f"{'; '.join(conflicts)}. Leave it out to resume, or start a new run with another --output.")
    return make_settings(type(asked), {**recorded, "output": asked.output, **changes})


def recorded_settings(record: Mapping[str, Any], kind: type[RunSettings]) -> dict[str, Any]:
    """Return the settings that a record decides; others that stand in it, as whether to run code, do not count."""
    counting = {entry.name for entry in fields(kind) if entry.metadata["recorded"]}
    return {name: value for name, value in record["settings"].items() if name in counting}


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return the run's record, or ``None`` if the folder holds none.

    Raises:
        KitError: If there is one that cannot be read.
    """
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        for key, kind in {**_KEYS, **{key: kind for key, kind in _MORE.items() if key in record}}.items():
            if not isinstance(record[key], kind):
                raise TypeError(f"{key} is {record[key]!r}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KitError(f"{path} is damaged ({first_line(error)}). Restore it, or choose another --output.") from error
    return dict(record)


def begin_run(
    settings: RunSettings, fingerprint: str, max_length: int | None, goals: Mapping[str, str], about: Mapping[str, str]
) -> dict[str, Any]:
    """Make the run's folder and its record; delete the run before it if ``overwrite`` says so.

    Args:
        settings: All of them, resolved.
        fingerprint: The prepared data's.
        max_length: The base model's, in tokens, which the final model gets back.
        goals: What the run is scored by, with a digest of each.
        about: What the stage says of its data, for the model's card.
    """
    if settings.overwrite and settings.output.exists():
        remove_known_files(settings.output, _written(settings.output))
    settings.output.resolve().mkdir(parents=True, exist_ok=True)
    record = {
        "id": uuid4().hex,
        "started": time.strftime(_TIME),
        "settings": to_record(settings),
        "data": fingerprint,
        "model_digest": None if settings.model == SCRATCH else path_digests([settings.model]).get(settings.model),
        "max_length": max_length,
        "goals": dict(goals),
        "about": dict(about),
        "processes": distributed.world_size(),
        "versions": _environment(),
    }
    write_json(settings.output / RECORD, record)
    return record


def finish_run(settings: RunSettings, record: Mapping[str, Any], steps: int) -> None:
    """Note in the record that the final model, just written, stands for this many steps, and which files it has."""
    final = settings.output / FINAL
    files = sorted(path.relative_to(final).as_posix() for path in final.rglob("*") if path.is_file())
    done = {"settings": to_record(settings), "finished_step": steps, "finished": time.strftime(_TIME), "files": files}
    write_json(settings.output / RECORD, {**record, **done})


def _environment() -> dict[str, str]:
    """Return what else decides the bits: the libraries' versions, and into how many threads sums are split."""
    import torch

    return {name: version(name) for name in _LIBRARIES} | {"threads": str(torch.get_num_threads())}


@contextmanager
def sole_owner(folder: Path) -> Iterator[None]:
    """Hold the run's folder, and this process for the run; clear what a killed one left unfinished in the folder.

    Raises:
        KitError: If another run has the folder, or trains in this process.
    """
    with locked(folder, wait=False) as got, held("training", wait=False) as alone:
        if not got:
            raise KitError(f"Another run is going on in {folder}. Wait for it, or choose another --output.")
        if not alone:
            raise KitError(
                "Another run trains in a thread of this process, and both would draw from the same random numbers. "
                "Wait for it, or start this one in a process of its own."
            )
        remove_leftovers(folder)
        yield


def check_unchanged(run: Run, fingerprint: str) -> None:
    """Compare what a resumed run was started with: other data is refused, other libraries are said.

    Raises:
        KitError: If the prepared data or the number of processes is not the one of the record.
    """
    record = run.record or {}
    if record["data"] != fingerprint:
        raise KitError(
            f"{', '.join(map(str, run.settings.sources))} has the fingerprint {fingerprint}, "
            f"but the run was started on {record['data']}. "
            "Pass the run's own data, or start a new run with another --output."
        )
    if record["processes"] != distributed.world_size():
        raise KitError(
            f"The run was started by {record['processes']} processes, and now there are {distributed.world_size()}: "
            f"other batches. Start {record['processes']}, or begin a new run with --model {run.folder}/checkpoint-N."
        )
    today = _environment()
    changed = [
        f"{name} {then}, now {today[name]}" for name, then in record["versions"].items() if then != today.get(name)
    ]
    if changed:
        logger.warning("The run was started with %s: it may not end in the same bits.", "; ".join(changed))


def trim_metrics(path: Path, checkpoint: Path | None) -> set[int]:
    """Drop the lines of steps that will be done again, so that each step is in ``metrics.jsonl`` once.

    Returns:
        The steps whose evaluation is in what is left.
    """
    evaluated: set[int] = set()
    if path.exists():
        step = checkpoint_step(checkpoint) if checkpoint else 0
        kept = []
        for line in path.read_text(encoding="utf-8").splitlines() if checkpoint else []:
            with suppress(ValueError, KeyError, TypeError):  # a line that a kill or a full disk cut off
                entry = json.loads(line)
                if entry["step"] <= step:
                    kept.append(line)
                    evaluated |= {entry["step"]} if entry.keys() & _EVALUATED else set()
        with atomic_file(path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    return evaluated


def settings_differences(settings: RunSettings) -> list[str]:
    """Return ``name value`` for each recorded setting that is not its default."""
    defaults = {f.name: f.default for f in fields(settings)}
    return [f"{name} {value}" for name, value in to_record(settings).items() if value != defaults[name]]
