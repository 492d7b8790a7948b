"""Kills one small run in every way there is, and compares its end with a run that was left alone.

    python -m scripts.torture [--kills 50]

Half of the SIGKILLs come at any moment, half in the middle of a save that is slowed down for the purpose; then
every file of the newest checkpoint is damaged in turn, signals are sent, and the disk fills up (needs root, for a
small tmpfs). Prints a Markdown table; any difference of a single bit ends it with an error.
"""

from __future__ import annotations

import argparse
import logging
import platform
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from tests.test_checkpoints import DAMAGES
from tests.tiny import SHORT, STEPS, assert_equal_to_the_bit, finish, last_step, make_data, make_model, send, start
from tsdae_kit import adapt
from tsdae_kit.run_folder import RunFolder, checkpoint_step


def starts(run: Path) -> list[int]:
    """Return the step each start of the run went on from, out of its log."""
    log = run / "train.log"
    text = log.read_text(encoding="utf-8") if log.exists() else ""
    return [int(step) for step in re.findall(r"Continuing from \S+, step (\d+)", text)]


REFERENCE: Path  # the run that was left alone, which main() makes


def kill_at_random(given: dict[str, Any], kills: int, moment: random.Random) -> str:
    """Kill a run, resume it, and again; return what was hit."""
    run, hits = given["output"], Counter[str]()
    for number in range(kills):
        in_save = number % 2 == 1
        before = len(starts(run))
        saved = max([checkpoint_step(path) for path in RunFolder(run).checkpoints()], default=0)
        process = start(given, slow_save=0.02 if in_save else 0.0)
        goal = saved + moment.randrange(3)
        while process.is_alive():
            if in_save and list(run.glob(".checkpoint-*.partial")):
                time.sleep(moment.uniform(0, 0.4))
                break
            if not in_save and last_step(run) >= goal:
                time.sleep(moment.uniform(0, 0.06))
                break
        hits["in a save" if list(run.glob(".checkpoint-*.partial")) else "between saves"] += 1
        send(process, signal.SIGKILL)
        for step in starts(run)[before:]:
            if step != saved:
                raise SystemExit(f"the run went on from step {step}, and {saved} was its newest checkpoint")
        if RunFolder(run).checkpoints() and checkpoint_step(RunFolder(run).checkpoints()[0]) >= STEPS:
            shutil.rmtree(run)  # it got to its end: begin again
            hits["runs completed on the way"] += 1
    finish(start(given))
    return ", ".join(f"{count} {what}" for what, count in sorted(hits.items()))


def damage_everything(given: dict[str, Any]) -> str:
    """Damage each file of the newest checkpoint in each way and resume; return how many there were."""
    run, count = given["output"], 0
    adapt(**{**given, "max_steps": 12, "decoder_warmup_steps": STEPS // 5, "save_total_limit": 2})
    shutil.rmtree(run / "final")
    shutil.copytree(run, run.with_name("whole"))
    names = [p.relative_to(run) for p in (run / "checkpoint-12").rglob("*") if p.is_file()]
    for name in names:
        for damage in DAMAGES:
            shutil.rmtree(run)
            shutil.copytree(run.with_name("whole"), run)
            damage(run / name)
            adapt(output=run, resume=True, max_steps=STEPS)
            assert_equal_to_the_bit(REFERENCE, run)
            count += 1
    return f"{len(names)} files, {count} damages"


def send_signals(given: dict[str, Any], moment: random.Random) -> str:
    """Send each signal at random moments until the run is done; return how often it stopped."""
    stops = 0
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1) * 4:
        process = start(given)
        goal = last_step(given["output"]) + 1
        while process.is_alive() and last_step(given["output"]) < goal:
            time.sleep(0.002)
        time.sleep(moment.uniform(0, 0.05))
        if process.is_alive():
            send(process, number)
        process.join()
        if process.exitcode not in (0, 75):
            raise SystemExit(f"exit code {process.exitcode} after {number.name}")
        stops += process.exitcode == 75
    finish(start(given))
    return f"{stops} stops with code 75"


def fill_the_disk(given: dict[str, Any]) -> str:
    """Run on a disk with room for one checkpoint at a time, freed now and then."""
    disk = given["output"].with_name("disk")
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], check=False).returncode:
        return "not done: mounting needs root"
    try:
        given, stops = {**given, "output": disk / "run", "on_save_error": "stop"}, 0
        while True:
            process = start(given)
            while process.is_alive() and not RunFolder(disk / "run").checkpoints():
                time.sleep(0.002)
            (disk / "others").write_bytes(bytes(max(0, shutil.disk_usage(disk).free - 200_000 * (1 + stops))))
            process.join()
            (disk / "others").unlink()
            if process.exitcode == 0:
                break
            stops += 1
        assert_equal_to_the_bit(REFERENCE, disk / "run")
        return f"{stops} stops for want of room"
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def main() -> None:
    global REFERENCE
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    moment, rows = random.Random(options.seed), []
    torch.set_num_threads(1)  # as in the processes: another number of threads adds up in another order
    logging.getLogger("tsdae_kit").addHandler(logging.NullHandler())
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        given: dict[str, Any] = {
            "model": str(make_model(scratch)),
            "data": make_data(scratch / "data"),
            "resume": True,
            **SHORT,
        }
        REFERENCE = adapt(output=scratch / "reference", **given).parent
        trials = {
            "SIGKILL": lambda g: kill_at_random({**g, "save_steps": 2}, options.kills, moment),
            "SIGKILL, two workers": lambda g: kill_at_random({**g, "save_steps": 2, "workers": 2}, 20, moment),
            "damaged files": damage_everything,
            "signals": lambda g: send_signals(g, moment),
            "full disk": fill_the_disk,
        }
        for number, (title, trial) in enumerate(trials.items()):
            run = scratch / f"trial{number}" / "run"
            run.parent.mkdir()
            found = trial({**given, "output": run})
            if run.is_dir():
                assert_equal_to_the_bit(REFERENCE, run)
            rows.append(f"| {title} | {found} | equal to the bit |")
            print(rows[-1], flush=True)
    print("\n| what | how often | encoder, decoder and Adam's moments |\n|---|---|---|", *rows, sep="\n")
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "sentence-transformers"))
    print(f"\nSeed {options.seed}; {versions}; {platform.machine()}.")


if __name__ == "__main__":
    main()
