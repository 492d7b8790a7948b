"""Times the library's TSDAE recipe against ours, in turn, each round in a fresh process on the same sentences.

    python scripts/benchmark.py train --batch-size 32 --precision bf16 [--corpus FILE] [--rounds 3] [--steps 12]

The library's side is its example's: `SentenceTransformerTrainer`, `DenoisingAutoEncoderLoss` tied, random batches,
noise by nltk in a `set_transform` (with 60 % deleted). Ours: the defaults of `train`, without the phase in which the
encoder is frozen, so that both sides compute the same gradients. Prints a Markdown table of medians and the ratio.
"""

from __future__ import annotations

import argparse
import gzip
import json
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from nltk.tokenize import NLTKWordTokenizer
from nltk.tokenize.treebank import TreebankWordDetokenizer
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import DenoisingAutoEncoderLoss
from transformers import TrainerCallback

from tsdae_kit import Noise, NoiseTransform, ResumableTrainer, TSDAELoss
from tsdae_kit.config.settings.training import TrainSettings
from tsdae_kit.framework_output import quiet_frameworks
from tsdae_kit.models.devices import choose_device
from tsdae_kit.models.loading import load_encoder
from tsdae_kit.training.memory import keep_freed_memory
from tsdae_kit.training.runner import resolve_hardware
from tsdae_kit.training.tsdae_task import TSDAETask, denoising_arguments

WARM = 3  # steps before the clock starts
SAMPLE = Path(__file__).parents[1] / "data" / "health" / "corpus.txt.gz"


class Clock(TrainerCallback):
    """Takes the time at the end of each step, so that a step includes making its batch."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Take it."""
        self.times.append(time.perf_counter())


def librarys_noise(rows: dict[str, list[str]]) -> dict[str, list[str]]:
    tokenize, detokenize = NLTKWordTokenizer().tokenize, TreebankWordDetokenizer().detokenize
    noisy = []
    for text in rows["text"]:
        words = tokenize(text)
        kept = [word for word in words if random.random() > 0.6]
        noisy.append(detokenize(kept) if kept else random.choice(words))
    return {"noisy": noisy, "text": rows["text"]}


def make_official(model: SentenceTransformer, texts: list[str], options: argparse.Namespace, out: str) -> Any:
    dataset = Dataset.from_dict({"text": texts})
    dataset.set_transform(librarys_noise, columns=["text"], output_all_columns=True)
    arguments = SentenceTransformerTrainingArguments(
        out, max_steps=WARM + options.steps, per_device_train_batch_size=options.batch_size, learning_rate=3e-5,
        warmup_steps=0.1, bf16=options.precision == "bf16", use_cpu=model.device.type == "cpu",
        save_strategy="no", report_to="none", disable_tqdm=True,
    )  # fmt: skip
    loss = DenoisingAutoEncoderLoss(model, tie_encoder_decoder=True)
    return SentenceTransformerTrainer(model=model, args=arguments, train_dataset=dataset, loss=loss)


def make_ours(model: SentenceTransformer, texts: list[str], options: argparse.Namespace, out: str) -> Any:
    if model.device.type == "cpu":
        keep_freed_memory()  # as a run does
    steps = WARM + options.steps
    settings = TrainSettings(
        output=Path(out), max_steps=steps, batch_size=options.batch_size, precision=options.precision,
        save_steps=10**6, decoder_warmup_steps=0,
    )  # fmt: skip
    settings = TSDAETask().resolve(resolve_hardware(settings, model))
    arguments = denoising_arguments(settings, model.device.type, evaluates=False)
    arguments.save_strategy = "no"
    dataset = Dataset.from_dict({"clean": texts}).with_transform(NoiseTransform(Noise()))
    return ResumableTrainer(model=model, args=arguments, train_dataset=dataset, loss=TSDAELoss(model))


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Return this machine's own GFLOP/s in a product of 1,024 x 1,024 matrices, the best of five."""
    a = torch.randn(1024, 1024, device=device, dtype=dtype)
    best = 0.0
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(10):
            a @ a
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = max(best, 10 * 2 * 1024**3 / (time.perf_counter() - began) / 1e9)
    return best


def run_side(options: argparse.Namespace) -> None:
    """Train one side and print its figures as a line of JSON."""
    device = choose_device(None)
    opener = gzip.open if options.corpus.suffix == ".gz" else open
    with opener(options.corpus, "rt", encoding="utf-8") as stream:
        # Enough for whole windows of the length-grouped order, so that neither side meets easier sentences.
        texts = [line.strip() for line, _ in zip(stream, range(max(2000, 64 * options.batch_size)), strict=False)]
    with quiet_frameworks(), tempfile.TemporaryDirectory() as out:
        model = load_encoder(options.model, device)
        trainer = (make_official if options.side == "official" else make_ours)(model, texts, options, out)
        seen: list[int] = []
        trainer.loss.register_forward_pre_hook(lambda _, given: seen.append(int(given[0][1]["attention_mask"].sum())))
        clock = Clock()
        trainer.add_callback(clock)
        trainer.train()
        seconds = clock.times[-1] - clock.times[WARM - 1]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if device.type == "cuda":
        memory = torch.cuda.max_memory_allocated() / 2**20
    dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
    figures = {
        "sentences/s": options.steps * options.batch_size / seconds,
        "target tokens/s": sum(seen[WARM : WARM + options.steps]) / seconds,
        "peak memory, MB": memory,
        "machine's matmul, GFLOP/s": matmul_peak(device, dtype),
    }
    print(json.dumps(figures))


def main() -> None:
    if sys.argv[1:2] == ["prepare"]:
        from benchmark_prepare import main as benchmark_prepare

        benchmark_prepare(sys.argv[2:], SAMPLE, librarys_noise)
        return
    if sys.argv[1:2] == ["rows"]:
        from benchmark_rows import main as benchmark_rows

        benchmark_rows(sys.argv[2:], SAMPLE)
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "prepare", "rows"])
    parser.add_argument("--corpus", type=Path, default=SAMPLE)
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=["official", "ours"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        run_side(options)
        return
    found: dict[str, list[dict[str, float]]] = {"official": [], "ours": []}
    for _ in range(options.rounds):
        for side, figures in found.items():
            command = [sys.executable, *sys.argv, "--side", side]
            printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            figures.append(json.loads(printed.splitlines()[-1]))
    print("| " + f"batch {options.batch_size}, {options.precision} | library | tsdae_kit | ratio |\n|---|---|---|---|")
    for name in found["ours"][0]:
        theirs, ours = (statistics.median(round_[name] for round_ in found[side]) for side in ("official", "ours"))
        ratios = [b[name] / a[name] for a, b in zip(found["official"], found["ours"], strict=True)]
        print(f"| {name} | {theirs:,.0f} | {ours:,.0f} | {statistics.median(ratios):.2f} |")
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "sentence-transformers", "transformers"))
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} CPU threads"
    print(f"\nMedians of {options.rounds} rounds of {options.steps} steps; {versions}; {platform.machine()}, {device}.")


if __name__ == "__main__":
    main()
