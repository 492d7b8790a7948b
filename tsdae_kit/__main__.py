"""``tsdae`` or ``python -m tsdae_kit``: the stages as subcommands, and ``run`` for all of them from one file."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from tsdae_kit.config.command_line import HasProblems, add_flags
from tsdae_kit.config.settings import (
    EvaluateSettings,
    ExportSettings,
    FineTuneSettings,
    InspectSettings,
    PrepareSettings,
    ReportSettings,
    TrainSettings,
)
from tsdae_kit.errors import discard_output, end_output, run_command

STAGES: dict[str, tuple[str, type[HasProblems]]] = {  # each a module of this name, or in _MODULES
    "prepare": ("turn texts into noisy/clean pairs", PrepareSettings),
    "train": ("adapt an encoder to them (TSDAE)", TrainSettings),
    "finetune": ("fine-tune it on labelled pairs", FineTuneSettings),
    "evaluate": ("score models side by side", EvaluateSettings),
    "report": ("make a run's page again, or compare several runs", ReportSettings),
    "inspect": ("see what a run makes of a sentence", InspectSettings),
    "export": ("write an encoder as ONNX or OpenVINO", ExportSettings),
}
_MODULES = {"inspect": "inspection"}  # no module may have the name of one of the standard library


def main(argv: Sequence[str] | None = None) -> None:
    """Run a subcommand; a stage parses its own arguments."""
    try:
        _run(argv)
    except BrokenPipeError:  # of what is printed here: the other end was closed, as by head
        discard_output(sys.stdout)
    finally:
        end_output()


def _run(argv: Sequence[str] | None) -> None:
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] and given[0] in STAGES:
        import_module(f"tsdae_kit.{_MODULES.get(given[0], given[0])}").main(given[1:])
        return
    parser, paths = _make_parser()
    options = parser.parse_args(given)
    if options.command == "completion":
        import shtab

        for action in paths:
            vars(action)["complete"] = shtab.FILE
        sys.stdout.write(shtab.complete(parser, options.shell))
        return
    if options.command == "schema":
        from tsdae_kit.config.plan_schema import plan_schema

        sys.stdout.write(json.dumps(plan_schema(), indent=1) + "\n")
        return

    from tsdae_kit.config.plan import run_plan

    run_command("tsdae run", lambda: run_plan(options.plan, options.dry_run))


def _make_parser() -> tuple[argparse.ArgumentParser, list[argparse.Action]]:
    """Return the parser of all commands, and those of its arguments that are files or folders."""
    parser = argparse.ArgumentParser(prog="tsdae", description="Adapt sentence encoders to a field's own text.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    paths = []
    for name, (help_text, kind) in STAGES.items():
        paths += add_flags(commands.add_parser(name, help=help_text), kind)
    run = commands.add_parser("run", help="do what is left of a plan: all stages from one YAML file")
    paths.append(run.add_argument("plan", type=Path, metavar="PLAN", help="a YAML file with a part for each stage"))
    run.add_argument("--dry-run", action="store_true", help="only say what would be done")
    commands.add_parser("schema", help="print the JSON schema of a plan, for editors")
    completion = commands.add_parser("completion", help="print a script that completes these commands in a shell")
    completion.add_argument("shell", choices=("bash", "zsh"))
    return parser, paths


if __name__ == "__main__":
    main()
