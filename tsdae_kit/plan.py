"""All stages from one YAML file: prepare, train, finetune, evaluate, each with its settings.

``python -m tsdae_kit run plan.yaml``. A stage reads what the one before it wrote, unless the plan says
otherwise. Each stage knows by itself whether it is finished or has to be resumed; the plan adds what
only the whole shows: that a run was made from an earlier version of the model it started from.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from time import mktime, strptime
from typing import Any

from tsdae_kit.console import show_messages
from tsdae_kit.errors import KitError, only_warned
from tsdae_kit.options import make_settings, read_config
from tsdae_kit.pages.run import read_json, write_run_page
from tsdae_kit.settings import EvaluateSettings, FineTuneSettings, PrepareSettings, TrainSettings

logger = logging.getLogger("tsdae_kit")
STAGES: dict[str, tuple[Any, str]] = {
    "prepare": (PrepareSettings, "prepare_corpus"),
    "train": (TrainSettings, "adapt"),
    "finetune": (FineTuneSettings, "fine_tune"),
    "evaluate": (EvaluateSettings, "score_models"),
}
_FINAL, _RECORD = "final", "run.json"


def run_plan(path: Path, dry_run: bool = False) -> list[str]:
    """Do what is left of a plan; return the stages' names with what was to be done.

    Args:
        path: A YAML file with a part for each stage wanted, of that stage's settings.
        dry_run: Only say what would be done.

    Raises:
        KitError: For an unknown stage or setting, all at once; for whatever a stage refuses; and if a run was
            made from an earlier version of the model before it.
    """
    plan = _link(_read(path))
    with show_messages():
        done = []
        for name, given in plan.items():
            state = _state(name, given)
            done.append(f"{name}: {state}")
            logger.info("%s", done[-1])
            if not dry_run and state != "finished":
                stage: Callable[..., Any] = getattr(import_module(f"tsdae_kit.{name}"), STAGES[name][1])
                stage(**given)
        if not dry_run and "evaluate" in plan:
            _report(plan)
    return done


@only_warned("The report could not be written", "The runs and the scores are whole.")
def _report(plan: Mapping[str, Mapping[str, Any]]) -> None:
    """Put the scores on the pages of the plan's runs; the last run's is the whole plan's."""
    scores = make_settings(EvaluateSettings, plan["evaluate"]).output
    runs = [make_settings(STAGES[name][0], plan[name]).output for name in ("train", "finetune") if name in plan]
    pages = [write_run_page(run, scores) for run in runs]
    if pages:
        logger.info("The report: %s", pages[-1])


def _read(path: Path) -> dict[str, dict[str, Any]]:
    content = read_config(path)
    if unknown := [name for name in content if name not in STAGES]:
        raise KitError(f"{path} has a part {unknown[0]!r}, which is no stage. There are: {', '.join(STAGES)}.")
    plan: dict[str, dict[str, Any]] = {}
    for name in STAGES:
        if name in content:
            part = content[name] if content[name] is not None else {}
            if not isinstance(part, Mapping):
                raise KitError(f"{path}: the part {name!r} holds no settings. Write lines such as '  seed: 1'.")
            plan[name] = {str(key).replace("-", "_"): value for key, value in part.items()}
    return plan


def _link(plan: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the plan with each stage reading what the ones before it write; all faults are raised at once."""
    written: dict[str, Path] = {}
    models: list[str] = []
    problems = []
    for name, given in plan.items():
        if name == "train" and "prepare" in written:
            given.setdefault("data", written["prepare"])
        if name == "finetune" and "train" in written:
            given.setdefault("model", str(written["train"] / _FINAL))
        if name == "evaluate" and models:
            given.setdefault("models", list(dict.fromkeys(models)))
        if name in ("train", "finetune"):
            given["resume"] = True
        try:
            settings = make_settings(STAGES[name][0], given)
        except KitError as error:
            problems.append(f"{name}: {error}")
            continue
        written[name] = settings.output
        if name in ("train", "finetune"):
            models += [settings.model, str(settings.output / _FINAL)]
    if problems:
        raise KitError(" ".join(problems))
    return plan


def _state(name: str, given: Mapping[str, Any]) -> str:
    """Return ``finished``, ``resumed`` or ``to do``, as far as can be seen without reading the data."""
    settings = make_settings(STAGES[name][0], given)
    if name == "prepare":
        return "there, its input is compared" if (settings.output / "manifest.json").exists() else "to do"
    if name == "evaluate":
        return "finished" if _is_scored(settings) else "to do"
    record = read_json(settings.output / _RECORD)
    if not record:
        return "to do"
    _check_up_to_date(settings.output, record, Path(settings.model))
    if "finished_step" in record and (settings.output / _FINAL).is_dir():
        return f"there, with {record['finished_step']} steps"
    return "to be resumed"


def _check_up_to_date(run: Path, record: Mapping[str, Any], model: Path) -> None:
    with suppress(KeyError, ValueError, OSError):
        began = mktime(strptime(record["started"][:19], "%Y-%m-%d %H:%M:%S"))
        if (model / "modules.json").stat().st_mtime > began + 1:
            raise KitError(
                f"{run} was made from an earlier version of {model}. Delete it, or give the stage another output."
            )


def _is_scored(settings: EvaluateSettings) -> bool:
    """Return whether the scores on disk are of these settings, and newer than the models and the data."""
    report = read_json(settings.output)
    if report.get("settings") != json.loads(json.dumps(asdict(settings), default=str)):
        return False
    read = [Path(name) for name in (*settings.models, *settings.data)]
    inside = [file for path in read if path.is_dir() for file in path.iterdir()]
    newest = max((path.stat().st_mtime for path in [*read, *inside] if path.exists()), default=0.0)
    return settings.output.stat().st_mtime > newest
