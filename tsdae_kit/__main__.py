"""``tsdae`` or ``python -m tsdae_kit``: the commands as subcommands, and ``run`` for a plan of several."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from tsdae_kit.config.command_line import add_flags
from tsdae_kit.config.fields import Settings
from tsdae_kit.config.settings.evaluation import EvaluateSettings
from tsdae_kit.config.settings.fine_tuning import FineTuneSettings
from tsdae_kit.config.settings.finished_models import ExportSettings, InspectSettings, ReportSettings
from tsdae_kit.config.settings.preparation import PrepareSettings
from tsdae_kit.config.settings.training import TrainSettings
from tsdae_kit.errors import discard_output, end_output, run_command


@dataclass(frozen=True)
class Command:
    """A subcommand with a module of its own, which parses the arguments.

    Attributes:
        help: One line.
        settings: Its dataclass.
        module: The module's name, where it is not the command's: none may have a name of the standard library.
    """

    help: str
    settings: type[Settings]
    module: str = ""


COMMANDS = {
    "prepare": Command("turn texts into noisy/clean pairs", PrepareSettings),
    "train": Command("adapt an encoder to them (TSDAE)", TrainSettings),
    "finetune": Command("fine-tune it on labelled pairs", FineTuneSettings),
    "evaluate": Command("score models side by side", EvaluateSettings),
    "report": Command("write a run's page again, or compare several runs", ReportSettings),
    "inspect": Command("show reconstructions and nearest neighbours of sentences", InspectSettings, "inspection"),
    "export": Command("write an encoder as ONNX or OpenVINO", ExportSettings),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run a subcommand."""
    try:
        _run(list(sys.argv[1:] if argv is None else argv))
    except BrokenPipeError:  # the reader of standard output has closed it, as head does
        discard_output(sys.stdout)
    finally:
        end_output()


def _run(arguments: list[str]) -> None:
    name = arguments[0] if arguments else ""
    if name in COMMANDS:
        import_module(f"tsdae_kit.{COMMANDS[name].module or name}").main(arguments[1:])
        return
    parser, path_actions = _make_parser()
    parsed = parser.parse_args(arguments)
    if parsed.command == "completion":
        _write_completion(parser, path_actions, parsed.shell)
    elif parsed.command == "schema":
        _write_schema()
    else:
        _run_plan(parsed.plan, parsed.dry_run)


def _write_completion(parser: argparse.ArgumentParser, path_actions: list[argparse.Action], shell: str) -> None:
    import shtab  # a shell script is written once, and every command would pay for it

    for action in path_actions:
        vars(action)["complete"] = shtab.FILE
    sys.stdout.write(shtab.complete(parser, shell))


def _write_schema() -> None:
    from tsdae_kit.plans.json_schema import plan_schema  # as _run_plan

    sys.stdout.write(json.dumps(plan_schema(), indent=1) + "\n")


def _run_plan(plan: Path, dry_run: bool) -> None:
    from tsdae_kit.plans.plan import run_plan  # the hub's library and the reports: --help must not wait for them

    run_command("tsdae run", lambda: run_plan(plan, dry_run))


def _make_parser() -> tuple[argparse.ArgumentParser, list[argparse.Action]]:
    """Return the parser of all commands, and its arguments that are files or folders."""
    parser = argparse.ArgumentParser(prog="tsdae", description="Adapt sentence encoders to a field's own text.")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    path_actions = []
    for name, command in COMMANDS.items():
        path_actions += add_flags(subparsers.add_parser(name, help=command.help), command.settings)
    run = subparsers.add_parser("run", help="do the remaining work of a plan: several commands from one YAML file")
    path_actions.append(
        run.add_argument("plan", type=Path, metavar="PLAN", help="YAML file with a part for each command")
    )
    run.add_argument("--dry-run", action="store_true", help="only show what would be done")
    subparsers.add_parser("schema", help="print the JSON schema of a plan, for editors")
    completion = subparsers.add_parser("completion", help="print a script that completes these commands in a shell")
    completion.add_argument("shell", choices=("bash", "zsh"))
    return parser, path_actions


if __name__ == "__main__":
    main()
