"""All stages from one YAML file: prepare, train, finetune, evaluate, each with its settings.

``python -m tsdae_kit run plan.yaml``. A stage reads what the one before it wrote, unless the plan says
otherwise. Each stage knows by itself whether it is finished or has to be resumed; the plan adds what
only the whole shows: that a run was made from an earlier version of the model it started from.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

from tsdae_kit.config.command_line import make_settings, read_config, to_record
from tsdae_kit.config.plan_inputs import find_missing
from tsdae_kit.config.settings import SCRATCH, EvaluateSettings, FineTuneSettings, PrepareSettings, TrainSettings
from tsdae_kit.console import show_messages
from tsdae_kit.distributed import on_rank_0
from tsdae_kit.errors import KitError, warn_on_error
from tsdae_kit.filesystem import check_writable, path_digests
from tsdae_kit.reporting.run_page import write_run_page
from tsdae_kit.run_folder import RunFolder, is_run, read_json

logger = logging.getLogger("tsdae_kit")
STAGES: dict[str, tuple[Any, str]] = {
    "prepare": (PrepareSettings, "prepare_corpus"),
    "train": (TrainSettings, "adapt"),
    "finetune": (FineTuneSettings, "fine_tune"),
    "evaluate": (EvaluateSettings, "score_models"),
}


def run_plan(path: Path, dry_run: bool = False) -> list[str]:
    """Do what is left of a plan; return the stages' names with what was to be done.

    Args:
        path: A YAML file with a part for each stage wanted, of that stage's settings.
        dry_run: Only say what would be done.

    Raises:
        KitError: For unknown stages and settings and for missing inputs of any stage, all at once and before the first;
            for whatever a stage refuses; and if a run was made from an earlier version of the model before it.
    """
    plan, problems = _read(path)
    problems += _link(plan)
    if problems:
        raise KitError(f"{'. '.join(problems)}. Nothing was begun: mend this first.")
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
            on_rank_0(lambda: _report(plan), "the report of a plan")
    return done


@warn_on_error("The report could not be written", "The runs and the scores are whole.")
def _report(plan: Mapping[str, Mapping[str, Any]]) -> None:
    """Put the scores on the pages of the plan's runs; the last run's is the whole plan's."""
    scores = make_settings(EvaluateSettings, plan["evaluate"]).output
    runs = [make_settings(STAGES[name][0], plan[name]).output for name in ("train", "finetune") if name in plan]
    pages = [write_run_page(run, scores) for run in runs]
    if pages:
        logger.info("The report: %s", pages[-1])


def _read(path: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return the settings of each stage, in the stages' order, and what is wrong with the file."""
    content, problems = read_config(path), []
    for name in content:
        if name not in STAGES:
            near = [f" (did you mean {near}?)" for near in get_close_matches(name, STAGES, n=1)]
            there = ", ".join(STAGES)
            problems.append(f"{path} has a part {name!r}, which is no stage{''.join(near)}; there are: {there}")
    plan: dict[str, dict[str, Any]] = {}
    for name in STAGES:
        part = {} if content.get(name) is None else content[name]
        if not isinstance(part, Mapping):
            problems.append(f"{path}: the part {name!r} holds no settings; write lines such as '  seed: 1'")
        elif name in content:
            plan[name] = {str(key).replace("-", "_"): value for key, value in part.items()}
    return plan, problems


def _link(plan: dict[str, dict[str, Any]]) -> list[str]:
    """Let each stage read what the ones before it write; return what is wrong with its settings and inputs."""
    written: list[Path] = []
    models: list[str] = []
    problems = []
    for name, given in plan.items():
        kind = STAGES[name][0]
        if name == "train" and "prepare" in plan and "data" not in given:
            given["data"] = _output("prepare", plan)
            given.setdefault("noise", plan["prepare"].get("noise"))  # a function: the data alone cannot name it
        if name == "finetune" and "train" in plan:
            given.setdefault("model", str(RunFolder(_output("train", plan)).final))
        if name == "evaluate" and models:
            given.setdefault("models", list(dict.fromkeys(models)))
        if name in ("train", "finetune"):
            given["resume"] = True
            models += [str(given.get("model", kind.model)), str(RunFolder(_output(name, plan)).final)]
            models = [model for model in models if model != SCRATCH]
        try:
            settings = make_settings(kind, given)
            begun = name != "evaluate" and is_run(settings.output)
            missing = find_missing(settings, written, models_too=not begun)
            if missing and not (name == "evaluate" and _is_scored(settings)):
                problems += [f"{name}: {fault}" for fault in missing]
            run_folder = RunFolder(settings.output)
            check_writable(run_folder.record_file if name in ("train", "finetune") else settings.output)
        except KitError as error:
            problems.append(f"{name}: {str(error).rstrip('.')}")
        output = _output(name, plan)
        written.append(RunFolder(output).final if name in ("train", "finetune") else output)
    return problems


def _output(name: str, plan: Mapping[str, Mapping[str, Any]]) -> Path:
    """Return what a stage writes, also one whose settings are wrong."""
    return Path(str(plan[name].get("output", STAGES[name][0].output)))


def _state(name: str, given: Mapping[str, Any]) -> str:
    """Return ``finished``, ``resumed`` or ``to do``, as far as can be seen without reading the data."""
    settings = make_settings(STAGES[name][0], given)
    if name == "prepare":
        return "there, its input is compared" if (settings.output / "manifest.json").exists() else "to do"
    if name == "evaluate":
        return "finished" if _is_scored(settings) else "to do"
    run_folder = RunFolder(settings.output)
    record = read_json(run_folder.record_file)
    if not record:
        return "to do"
    _check_up_to_date(settings.output, record, settings.model)
    if "finished_step" in record and run_folder.final.is_dir():
        return f"there, with {record['finished_step']} steps"
    return "to be resumed"


def _check_up_to_date(run: Path, record: Mapping[str, Any], model: str) -> None:
    """Refuse a run of another model than is there now, if both are known."""
    known, now = record.get("model_digest"), path_digests([model]).get(model)
    if known and now and known != now:
        raise KitError(
            f"{run} was made from an earlier version of {model}. Delete it, or give the stage another output."
        )


def _is_scored(settings: EvaluateSettings) -> bool:
    """Return whether the scores on disk are of these settings, and of the models and the data as they are now."""
    report = read_json(settings.output)
    asked, scored, digests = to_record(settings), report.get("settings"), report.get("digests")
    if not isinstance(scored, dict) or not isinstance(digests, dict):
        return False
    now = path_digests([*settings.models, *settings.data])
    return scored == json.loads(json.dumps(asked, default=str)) and now.items() <= digests.items()
