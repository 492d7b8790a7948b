"""``tsdae`` or ``python -m tsdae_kit``: the stages as subcommands, and ``run`` for all of them from one file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from tsdae_kit.errors import run_command

STAGES = {
    "prepare": "turn texts into noisy/clean pairs",
    "train": "adapt an encoder to them (TSDAE)",
    "finetune": "fine-tune it on labelled pairs",
    "evaluate": "score models side by side",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run a subcommand; a stage parses its own arguments."""
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] and given[0] in STAGES:
        import_module(f"tsdae_kit.{given[0]}").main(given[1:])
        return
    parser = argparse.ArgumentParser(prog="tsdae", description="Adapt sentence encoders to a field's own text.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, help_text in STAGES.items():
        commands.add_parser(name, help=help_text)
    run = commands.add_parser("run", help="do what is left of a plan: all stages from one YAML file")
    run.add_argument("plan", type=Path, metavar="PLAN", help="a YAML file with a part for each stage")
    run.add_argument("--dry-run", action="store_true", help="only say what would be done")
    options = parser.parse_args(given)

    from tsdae_kit.plan import run_plan

    run_command("tsdae run", lambda: run_plan(options.plan, options.dry_run))


if __name__ == "__main__":
    main()
