"""Times what a sentence costs in corpora of growing size, and how soon a run begins or is resumed at 90 % of its epoch.

    python scripts/benchmark.py rows [--corpus FILE] [--lines 10000 100000 1000000]

One epoch each, with the commands `prepare` and `train`, of a model so small that reading, noise, tokens and the order
of the batches are most of the cost. The run is stopped at 90 % of the epoch and resumed. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from benchmark_prepare import write_lines
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import BertConfig, BertModel

from tsdae_kit.corpus.cleaning import clean_text
from tsdae_kit.corpus.words import SPACELESS
from tsdae_kit.models.from_scratch import make_tokenizer

BATCH, WIDTH, SEEN = 256, 32, 500


def make_small(texts: list[str], folder: Path) -> Path:
    """Save an encoder of one layer of 32 with a small tokenizer."""
    tokenizer = make_tokenizer(lambda: iter(texts[:SEEN]), f"[{SPACELESS}]")
    tokenizer.save_pretrained(folder / "parts")
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=WIDTH,
    )
    BertModel(config).save_pretrained(folder / "parts")
    modules = [Transformer(str(folder / "parts"), max_seq_length=32), Pooling(WIDTH, "mean")]
    SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(folder / "model"), create_model_card=False)
    return folder / "model"


def call(stage: str, *options: object) -> None:
    command = [sys.executable, "-m", f"tsdae_kit.{stage}", *map(str, options)]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)


def seconds_to_first_step(run: Path, options: list[object], beyond: int) -> float:
    """Run the command, and return the seconds until it has logged a step after ``beyond``."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "tsdae_kit.train", *map(str, options)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and last_entry(run).get("step", 0) <= beyond:
            time.sleep(0.02)
        seconds = time.perf_counter() - began
    if process.returncode:
        sys.exit(process.returncode)
    return seconds


def last_entry(run: Path) -> dict[str, float]:
    """Return the last line of a run's metrics that is about training."""
    path = run / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    entries = [json.loads(line) for line in lines if '"loss"' in line and line.endswith("}")]
    return entries[-1] if entries else {}


def main(argv: list[str], corpus: Path) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=corpus)
    parser.add_argument("--lines", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    options = parser.parse_args(argv)
    opener = gzip.open if options.corpus.suffix == ".gz" else open
    with opener(options.corpus, "rt", encoding="utf-8") as stream:
        texts = [clean_text(line) for line in stream]
    print("| rows | sentences/s | s until step 1 | s until the first step of a run resumed at 90 % |")
    print("|---|---|---|---|")
    for count in options.lines:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            write_lines(folder / "corpus.txt", texts, count)
            call("prepare", folder / "corpus.txt", "--output", folder / "data", "--held-out", 0)
            rows = json.loads((folder / "data" / "manifest.json").read_text())["train"]
            stop = math.ceil(0.9 * rows / BATCH)
            run: list[object] = [
                "--data", folder / "data", "--output", folder / "run", "--model", make_small(texts, folder),
                "--batch-size", BATCH, "--precision", "fp32", "--save-steps", 10**6, "--decoder-warmup-steps", 0,
                "--logging-steps", 1, "--device", "cpu",
            ]  # fmt: skip
            first = seconds_to_first_step(folder / "run", [*run, "--max-steps", stop], 0)
            speed = last_entry(folder / "run")["sentences_per_second"]
            resumed = seconds_to_first_step(folder / "run", [*run, "--resume", "--max-steps", stop + 2], stop)
        print(f"| {rows:,} | {speed:,.0f} | {first:.1f} | {resumed:.1f} |", flush=True)
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "sentence-transformers", "datasets"))
    print(f"\nPython {platform.python_version()}, {versions}; {platform.machine()}, {os.cpu_count()} CPU threads.")
