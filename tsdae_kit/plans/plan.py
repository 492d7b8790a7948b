"""Plans: several commands from one YAML file, ``python -m tsdae_kit run plan.yaml``.

The commands are prepare, train, finetune and evaluate, each with its settings; each reads the output of the one before
it, unless the plan says otherwise. Each command knows whether it is finished or has to be resumed. The plan adds a
check that no command can make alone: whether a run began with an earlier version of its model.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tsdae_kit
from tsdae_kit.config.command_line import read_config, with_underscores
from tsdae_kit.config.conversion import make_settings, nearest, to_record
from tsdae_kit.config.settings.evaluation import EvaluateSettings
from tsdae_kit.config.settings.fine_tuning import FineTuneSettings
from tsdae_kit.config.settings.preparation import PrepareSettings
from tsdae_kit.config.settings.training import SCRATCH, TrainSettings
from tsdae_kit.console import show_messages
from tsdae_kit.distributed import on_rank_0
from tsdae_kit.errors import KitError, warn_on_error
from tsdae_kit.filesystem import check_writable, path_digests
from tsdae_kit.plans.inputs import missing_inputs
from tsdae_kit.reporting.run_page import write_run_page
from tsdae_kit.run_folder import RunFolder, is_run, read_json

logger = logging.getLogger("tsdae_kit")
Plan = dict[str, dict[str, Any]]  # explicit settings by command


@dataclass(frozen=True)
class PlannedCommand:
    """A command that a plan may hold: its settings, and its function in the package ``tsdae_kit``."""

    settings: Any  # mypy knows no type of classes that all have an output
    function: str


PLANNED_COMMANDS = {
    "prepare": PlannedCommand(PrepareSettings, "prepare_corpus"),
    "train": PlannedCommand(TrainSettings, "adapt"),
    "finetune": PlannedCommand(FineTuneSettings, "fine_tune"),
    "evaluate": PlannedCommand(EvaluateSettings, "score_models"),
}
_TRAINING = ("train", "finetune")


def run_plan(path: Path, dry_run: bool = False) -> list[str]:
    """Run the commands of a plan that are not finished; return ``COMMAND: STATE`` for each, the state before.

    Args:
        path: A YAML file with a part for each command, of that command's settings.
        dry_run: Only log the states.

    Raises:
        KitError: Before anything is done, for all unknown commands and settings and all missing inputs at once; for
            anything that a command refuses; and if a run began with an earlier version of its model.
    """
    plan, problems = _read(path)
    problems += _link(plan)
    if problems:
        raise KitError(f"{'. '.join(problems)}. Nothing was begun: mend this first.")
    with show_messages():
        states = []
        for name, explicit in plan.items():
            state = _state(name, explicit)
            states.append(f"{name}: {state}")
            logger.info("%s", states[-1])
            if not dry_run and state != "finished":
                getattr(tsdae_kit, PLANNED_COMMANDS[name].function)(**explicit)
        if not dry_run and "evaluate" in plan:
            on_rank_0(lambda: _report(plan), "the report of a plan")
    return states


@warn_on_error("The report could not be written", "The runs and the scores are whole.")
def _report(plan: Plan) -> None:
    """Write the pages of the plan's runs again, with the scores; the page of the last run is about the whole plan."""
    scores = _settings("evaluate", plan["evaluate"]).output
    pages = [write_run_page(_settings(name, plan[name]).output, scores) for name in _TRAINING if name in plan]
    if pages:
        logger.info("The report: %s", pages[-1])


def _settings(name: str, explicit: Mapping[str, Any]) -> Any:
    return make_settings(PLANNED_COMMANDS[name].settings, explicit)


def _read(path: Path) -> tuple[Plan, list[str]]:
    """Return the explicit settings of each command, in the order of execution, and the problems of the file."""
    content, problems = read_config(path), []
    for name in content:
        if name not in PLANNED_COMMANDS:
            near = nearest(name, PLANNED_COMMANDS)
            hint = f" (did you mean {near}?)" if near else ""
            problems.append(
                f"{path} has a part {name!r}, which is no stage{hint}; there are: {', '.join(PLANNED_COMMANDS)}"
            )
    plan: Plan = {}
    for name in PLANNED_COMMANDS:
        part = {} if content.get(name) is None else content[name]
        if not isinstance(part, Mapping):
            problems.append(f"{path}: the part {name!r} holds no settings; write lines such as '  seed: 1'")
        elif name in content:
            plan[name] = with_underscores(part)
    return plan, problems


def _link(plan: Plan) -> list[str]:
    """Let each command read the outputs of earlier ones; return the problems of its settings and inputs."""
    outputs: list[Path] = []
    models: list[str] = []
    problems = []
    for name, explicit in plan.items():
        if name == "train" and "prepare" in plan and "data" not in explicit:
            explicit["data"] = _output("prepare", plan)
            explicit.setdefault("noise", plan["prepare"].get("noise"))  # a function: the data alone cannot name it
        if name == "finetune" and "train" in plan:
            explicit.setdefault("model", str(_final("train", plan)))
        if name == "evaluate" and models:
            explicit.setdefault("models", list(dict.fromkeys(models)))
        if name in _TRAINING:
            explicit["resume"] = True
            model = str(explicit.get("model", PLANNED_COMMANDS[name].settings.model))
            models += [model] * (model != SCRATCH) + [str(_final(name, plan))]
        problems += [f"{name}: {problem}" for problem in _check(name, explicit, outputs)]
        outputs.append(_final(name, plan) if name in _TRAINING else _output(name, plan))
    return problems


def _check(name: str, explicit: Mapping[str, Any], outputs: list[Path]) -> list[str]:
    """Return the problems of a command's settings, inputs and output."""
    problems: list[str] = []
    try:
        settings = _settings(name, explicit)
        has_run = name != "evaluate" and is_run(settings.output)
        missing = missing_inputs(settings, outputs, check_models=not has_run)
        if missing and not (name == "evaluate" and _is_scored(settings)):
            problems += missing
        check_writable(RunFolder(settings.output).record_file if name in _TRAINING else settings.output)
    except KitError as error:
        problems.append(str(error).rstrip("."))
    return problems


def _output(name: str, plan: Plan) -> Path:
    """Return the output of a command, also of one with wrong settings."""
    return Path(str(plan[name].get("output", PLANNED_COMMANDS[name].settings.output)))


def _final(name: str, plan: Plan) -> Path:
    return RunFolder(_output(name, plan)).final


def _state(name: str, explicit: Mapping[str, Any]) -> str:
    """Return the state of a command, as far as it can be told without reading the data."""
    settings = _settings(name, explicit)
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
    """Refuse a run that began with another version of its model, if both versions are known."""
    recorded, current = record.get("model_digest"), path_digests([model]).get(model)
    if recorded and current and recorded != current:
        raise KitError(
            f"{run} was made from an earlier version of {model}. Delete it, or give the stage another output."
        )


def _is_scored(settings: EvaluateSettings) -> bool:
    """Return whether the scores on disk are of these settings, and of the present models and data."""
    report = read_json(settings.output)
    scored, digests = report.get("settings"), report.get("digests")
    if not isinstance(scored, dict) or not isinstance(digests, dict):
        return False
    current = path_digests([*settings.models, *settings.data])
    return scored == json.loads(json.dumps(to_record(settings), default=str)) and current.items() <= digests.items()
