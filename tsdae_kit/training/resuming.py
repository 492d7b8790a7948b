"""Which run the settings mean: a new one, or the one that the output folder holds.

Resuming (the same run, to the bit) takes its settings from the record. A setting given by hand that contradicts the
record is an error, unless changing it leaves the run's meaning as it is. Continuing from a trained model is a new run
in a new folder, and needs nothing here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch

from tsdae_kit import distributed
from tsdae_kit.config.conversion import make_settings, to_record
from tsdae_kit.config.fields import flag
from tsdae_kit.config.settings.training import NO_PAIRS, SCRATCH, RunSettings
from tsdae_kit.errors import KitError
from tsdae_kit.filesystem import check_no_outside_links, check_only_known_files, path_digests, remove_known_files
from tsdae_kit.run_folder import RunFolder, RunRecord, TaskName, is_run

logger = logging.getLogger("tsdae_kit")
_TIME = "%Y-%m-%d %H:%M:%S %z"
_LIBRARIES = ("tsdae_kit", "torch", "transformers", "sentence-transformers", "datasets", "accelerate", "numpy")


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        settings: The settings that hold, from the record and from the call.
        record: The content of ``run.json``; ``None`` for a new run.
        resume_from: A checkpoint asked for by path.
    """

    settings: RunSettings
    record: RunRecord | None
    resume_from: Path | None = None

    @property
    def folder(self) -> RunFolder:
        """The run's folder."""
        return RunFolder(self.settings.output)


def plan_run(kind: type[RunSettings], explicit: Mapping[str, Any]) -> Run:
    """Return the run that the explicit settings mean.

    Raises:
        KitError: If the folder is in use and neither way out was chosen, or a setting contradicts the record.
    """
    if "epochs" in explicit and explicit.get("max_steps") is not None:
        raise KitError("--epochs and --max-steps both say how long to train. Give one.")
    settings = make_settings(kind, explicit)
    resume_from = settings.resume if isinstance(settings.resume, Path) else None
    if resume_from is not None and not resume_from.is_dir():
        raise KitError(f"There is no checkpoint folder {resume_from}. Pass one, or --resume alone for the newest.")
    if resume_from is not None and is_run(resume_from):  # its newest checkpoint is meant
        return plan_run(kind, {**explicit, "output": resume_from, "resume": True})
    if resume_from is not None and "output" not in explicit:
        explicit = {**explicit, "output": resume_from.parent}
        settings = make_settings(kind, explicit)
    run_folder = RunFolder(settings.output)
    record = run_folder.read_record()
    if record is None:
        _check_unused(run_folder, resume_from)
        if not settings.sources:
            raise KitError(f"{NO_PAIRS}.")
        return Run(settings, None)
    if settings.overwrite:
        _check_overwrite(run_folder, settings)
        return Run(settings, None)
    if not settings.resume:
        raise KitError(
            f"{run_folder} holds a run already. Pass --resume to continue it, --overwrite to delete it, "
            "or choose another --output."
        )
    check_no_outside_links(run_folder.path)
    return Run(_merge(record, explicit, settings), record, resume_from)


def _check_unused(run_folder: RunFolder, resume_from: Path | None) -> None:
    """Refuse a folder that holds checkpoints of an unknown run, or anything else."""
    folder = run_folder.path
    if resume_from is not None or run_folder.checkpoints():
        raise KitError(
            f"{folder} has no {run_folder.record_file.name}, so it is not known what its checkpoints belong to. "
            "Restore the file, or choose another --output."
        )
    others = sorted(p.name for p in folder.iterdir() if not p.name.startswith(".")) if folder.is_dir() else []
    if others or folder.is_file():
        raise KitError(f"{folder} is in use and holds no run ({', '.join(others[:3])}). Choose another --output.")


def _check_overwrite(run_folder: RunFolder, settings: RunSettings) -> None:
    """Refuse to delete a folder that holds an input of the new run, or files that no run wrote."""
    inputs = (Path(settings.model), *settings.sources)
    inside = [path for path in inputs if run_folder.path.resolve() in path.resolve().parents]
    if inside:
        raise KitError(f"{inside[0]} lies in {run_folder}, which --overwrite deletes. Choose another one.")
    check_only_known_files(run_folder.path, run_folder.known_files())


def _merge(record: RunRecord, explicit: Mapping[str, Any], asked: RunSettings) -> RunSettings:
    """Return the record's settings with those explicit ones that may change."""
    if unknown := record["settings"].keys() - {entry.name for entry in fields(asked)}:
        raise KitError(
            f"{asked.output} holds a run of another stage or version ({', '.join(sorted(unknown))}). "
            "Choose another --output."
        )
    recorded = recorded_settings(record, type(asked))
    if "epochs" in explicit or explicit.get("max_steps") is not None:
        recorded.pop("epochs", None)
        recorded.pop("max_steps", None)
    before = make_settings(type(asked), recorded)
    changes = {}
    conflicts = []
    for entry in fields(asked):
        value, recorded_value = getattr(asked, entry.name), getattr(before, entry.name)
        if entry.name not in explicit or value in ("auto", None):
            continue
        if entry.metadata["may_change"] or not entry.metadata["recorded"]:
            changes[entry.name] = value
        elif value != recorded_value:
            conflicts.append(f"{flag(entry.name)} is {value}, but the run was started with {recorded_value}")
    if conflicts:
        raise KitError(f"{'; '.join(conflicts)}. Leave it out to resume, or start a new run with another --output.")
    return make_settings(type(asked), {**recorded, "output": asked.output, **changes})


def recorded_settings(record: RunRecord, kind: type[RunSettings]) -> dict[str, Any]:
    """Return the settings that a record decides; whether to run foreign code, for example, it does not."""
    decided = {entry.name for entry in fields(kind) if entry.metadata["recorded"]}
    return {name: value for name, value in record["settings"].items() if name in decided}


def check_unchanged(run: Run, record: RunRecord, fingerprint: str) -> None:
    """Compare a resumed run with its record: other data is refused, other library versions are a warning.

    Raises:
        KitError: If the data or the number of processes differs.
    """
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
    now = _versions()
    changed = [f"{name} {then}, now {now[name]}" for name, then in record["versions"].items() if then != now.get(name)]
    if changed:
        logger.warning("The run was started with %s: it may not end in the same bits.", "; ".join(changed))


def begin_run(task: TaskName, settings: RunSettings, facts: Mapping[str, Any]) -> RunRecord:
    """Make the run's folder and its record; with ``overwrite``, delete the run that was there.

    Args:
        task: What kind of run it is.
        settings: All of them, resolved.
        facts: The record's ``data``, ``max_length``, ``goals`` and ``about``.
    """
    run_folder = RunFolder(settings.output)
    if settings.overwrite and run_folder.path.exists():
        remove_known_files(run_folder.path, run_folder.known_files())
    run_folder.path.resolve().mkdir(parents=True, exist_ok=True)
    digest = None if settings.model == SCRATCH else path_digests([settings.model]).get(settings.model)
    record: Any = {
        "id": uuid4().hex, "task": task, "started": time.strftime(_TIME), "settings": to_record(settings),
        "model_digest": digest, **facts, "processes": distributed.world_size(), "versions": _versions(),
    }  # fmt: skip
    begun: RunRecord = record
    run_folder.write_record(begun)
    return begun


def finish_run(settings: RunSettings, record: RunRecord, steps: int, best: int, stopped_early: bool) -> None:
    """Add to the record that the final model was written.

    Args:
        settings: The run's, resolved.
        record: The run's.
        steps: The last step.
        best: The step whose model is the final one.
        stopped_early: Whether patience ended the run.
    """
    run_folder = RunFolder(settings.output)
    final = run_folder.final
    files = sorted(path.relative_to(final).as_posix() for path in final.rglob("*") if path.is_file())
    done: Any = {
        "settings": to_record(settings), "finished_step": steps, "best_step": best, "stopped_early": stopped_early,
        "finished": time.strftime(_TIME), "files": files,
    }  # fmt: skip
    run_folder.write_record({**record, **done})


def settings_differences(settings: RunSettings) -> list[str]:
    """Return ``name value`` for each recorded setting that is not its default."""
    defaults = {f.name: f.default for f in fields(settings)}
    return [f"{name} {value}" for name, value in to_record(settings).items() if value != defaults[name]]


def _versions() -> dict[str, str]:
    """Return what else decides the bits: the libraries' versions, and the number of threads that share a sum."""
    return {name: version(name) for name in _LIBRARIES} | {"threads": str(torch.get_num_threads())}
