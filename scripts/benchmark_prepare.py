"""Times the noise of the library's example against ours, and `prepare` from file to finished data set.

    python scripts/benchmark.py prepare [--corpus FILE] [--lines 100000 1000000 10000000] [--workers N]

The noise: both sides in turn in this process, on one core, on the same sentences; the library's is its example's
(nltk's tokenizer without the sentence splitter, which needs a download, and the Treebank detokenizer). `prepare`: one
fresh process per size, its lines made distinct by a number at their end; its memory is that of all its processes
together, looked at ten times a second. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
import gzip
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from tsdae_kit import Noise
from tsdae_kit.corpus.cleaning import clean_text

ROUNDS, SENTENCES = 5, 4000


def compare_noise(texts: list[str], librarys_noise: Callable[[dict[str, list[str]]], Any]) -> None:
    noise = Noise()
    sides: dict[str, Callable[[], Any]] = {
        "library": lambda: librarys_noise({"text": texts}),
        "tsdae_kit": lambda: [noise(text) for text in texts],
    }
    speeds: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(ROUNDS):
        for side, run in sides.items():
            began = time.perf_counter()
            run()
            speeds[side].append(len(texts) / (time.perf_counter() - began))
    ratio = statistics.median(b / a for a, b in zip(*speeds.values(), strict=True))
    print("| noise, one core | library | tsdae_kit | ratio |\n|---|---|---|---|")
    print(
        "| sentences/s | " + " | ".join(f"{statistics.median(s):,.0f}" for s in speeds.values()) + f" | {ratio:.1f} |"
    )


def write_lines(path: Path, texts: list[str], count: int) -> None:
    """Write distinct lines: the corpus over and over, with the number of the round at the end."""
    with path.open("w", encoding="utf-8") as stream:
        for start in range(0, count, len(texts)):
            ending = f" ({start // len(texts)})\n" if start else "\n"
            stream.writelines(text + ending for text in texts[: count - start])


def tree_memory(process: psutil.Process) -> int:
    """Return the resident bytes of a process and all below it."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            total += one.memory_info().rss
    return total


def time_prepare(source: Path, output: Path, workers: int) -> tuple[float, float]:
    """Return the seconds that the command takes and the most memory it holds, in MB."""
    command = [sys.executable, "-m", "tsdae_kit.prepare", str(source), "--output", str(output)]
    began = time.perf_counter()
    with subprocess.Popen([*command, "--workers", str(workers)], stdout=subprocess.DEVNULL) as process:
        peak = 0
        while process.poll() is None:
            peak = max(peak, tree_memory(psutil.Process(process.pid)))
            time.sleep(0.1)
    if process.returncode:
        sys.exit(process.returncode)
    return time.perf_counter() - began, peak / 1e6


def main(argv: list[str], corpus: Path, librarys_noise: Callable[[dict[str, list[str]]], Any]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=corpus)
    parser.add_argument("--lines", type=int, nargs="*", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = parser.parse_args(argv)
    opener = gzip.open if options.corpus.suffix == ".gz" else open
    with opener(options.corpus, "rt", encoding="utf-8") as stream:
        texts = [clean_text(line) for line in stream]
    compare_noise(texts[:: max(len(texts) // SENTENCES, 1)], librarys_noise)
    print(f"\n| prepare, lines | file, MB | seconds | sentences/s, {options.workers} workers | peak memory, MB |")
    print("|---|---|---|---|---|")
    for count in options.lines:
        with tempfile.TemporaryDirectory() as place:
            source = Path(place) / "corpus.txt"
            write_lines(source, texts, count)
            seconds, memory = time_prepare(source, Path(place) / "prepared", options.workers)
            size = source.stat().st_size / 1e6
        print(f"| {count:,} | {size:,.0f} | {seconds:.1f} | {count / seconds:,.0f} | {memory:,.0f} |", flush=True)
    versions = ", ".join(f"{name} {version(name)}" for name in ("nltk", "pyarrow", "numpy", "regex"))
    print(f"\nPython {platform.python_version()}, {versions}; {platform.machine()}, {os.cpu_count()} CPU threads.")
