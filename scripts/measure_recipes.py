"""Scores the library's TSDAE recipe and ours on a retrieval collection, at the same numbers of joint steps.

    python scripts/measure_recipes.py ../shared/datasets/cranfield

Both start from the same model and train on the collection's ``corpus.txt`` in the same batches' size, with
the same (working) noise. The library's recipe is its example's: tied, learning rate 3e-5, no warm-up of
the decoder. Ours freezes the encoder for the decoder's first 200 steps. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
from pathlib import Path

import torch
from sentence_transformers import (
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import DenoisingAutoEncoderLoss

from tsdae_kit import adapt, load_pairs, prepare_corpus, score_models
from tsdae_kit.text.noise import NoiseTransform
from tsdae_kit.training.models import choose_device, load_encoder

JOINT_STEPS = (100, 200)
BATCH_SIZE = 32


def train_as_the_library(data: Path, model: str, output: Path, seed: int) -> dict[int, Path]:
    encoder = load_encoder(model, choose_device(None))
    corpus = load_pairs(data)
    arguments = SentenceTransformerTrainingArguments(
        str(output), max_steps=JOINT_STEPS[-1], per_device_train_batch_size=BATCH_SIZE, learning_rate=3e-5,
        warmup_steps=0.1, save_steps=JOINT_STEPS[0], seed=seed, report_to="none", disable_tqdm=True,
    )  # fmt: skip
    torch.manual_seed(seed)
    SentenceTransformerTrainer(
        model=encoder,
        args=arguments,
        train_dataset=corpus.train.with_transform(NoiseTransform(corpus.noise)),
        loss=DenoisingAutoEncoderLoss(encoder, tie_encoder_decoder=True),
    ).train()
    return {step: output / f"checkpoint-{step}" for step in JOINT_STEPS}


def train_as_we_do(data: Path, model: str, output: Path, seed: int) -> dict[int, Path]:
    warmup = 200
    adapt(
        data=data, model=model, output=output, seed=seed, batch_size=BATCH_SIZE, max_steps=warmup + JOINT_STEPS[-1],
        decoder_warmup_steps=warmup, save_steps=JOINT_STEPS[0], save_total_limit=9,
    )  # fmt: skip
    return {step: output / f"checkpoint-{warmup + step}" for step in JOINT_STEPS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", type=Path, help="a folder with corpus.txt, queries.jsonl, docs.jsonl, qrels.tsv")
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    parser.add_argument("--seed", type=int, default=42)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        data = prepare_corpus(
            files=[str(options.collection / "corpus.txt")], output=Path(scratch) / "data", held_out=200
        )
        names = {options.model: f"{options.model}, as it is"}
        for name, train in (("library's recipe", train_as_the_library), ("tsdae_kit", train_as_we_do)):
            trained = train(data, options.model, Path(scratch) / name, options.seed)
            names |= {str(folder): f"{name}, {step} joint steps" for step, folder in trained.items()}
        report = score_models(models=list(names), data=[options.collection], output=Path(scratch) / "scores.json")
    lines = [f"| {options.collection.name} | nDCG@10 | MRR@10 |", "|---|---|---|"]
    for folder, name in names.items():
        found = {row["metric"]: row["score"] for row in report["results"] if row["model"] == folder}
        lines.append(f"| {name} | {found['nDCG@10']:.1f} | {found['MRR@10']:.1f} |")
    versions = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    print("\n".join(lines))
    print(f"\nSeed {options.seed}, batch {BATCH_SIZE}; {versions}; {platform.processor() or platform.machine()}.")


if __name__ == "__main__":
    main()
