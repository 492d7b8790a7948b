"""Scores the library's TSDAE recipe and ours on a retrieval collection, at the same numbers of joint steps.

    python scripts/measure_recipes.py ../shared/datasets/cranfield

Both start from the same model and train on the collection's ``corpus.txt`` in the same batches' size, with
the same (working) noise. The library's recipe is its example's: tied, learning rate 3e-5, no warm-up of
the decoder. Ours freezes the encoder for the decoder's first 200 steps. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path

import torch
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.sentence_transformer.losses import DenoisingAutoEncoderLoss

from tsdae_kit import adapt, load_pairs, prepare_corpus
from tsdae_kit.text.noise import NoiseTransform
from tsdae_kit.training.models import choose_device, load_encoder

JOINT_STEPS = (100, 200)
BATCH_SIZE = 32


def make_evaluator(folder: Path) -> InformationRetrievalEvaluator:
    def read(name: str) -> dict[str, str]:
        rows = map(json.loads, (folder / name).read_text(encoding="utf-8").splitlines())
        return {row["id"]: f"{row.get('title') or ''} {row['text']}".strip() for row in rows}

    relevant: dict[str, set[str]] = {}
    with (folder / "qrels.tsv").open(encoding="utf-8") as stream:
        for query, document, grade in csv.reader(stream, delimiter="\t"):
            if grade.isdigit() and int(grade) > 0:
                relevant.setdefault(query, set()).add(document)
    queries = {key: text for key, text in read("queries.jsonl").items() if key in relevant}
    return InformationRetrievalEvaluator(
        queries, read("docs.jsonl"), relevant, name="r", ndcg_at_k=[10], mrr_at_k=[10], accuracy_at_k=[10],
        precision_recall_at_k=[10], map_at_k=[10], write_csv=False,
    )  # fmt: skip


def score(evaluator: InformationRetrievalEvaluator, model: SentenceTransformer) -> tuple[float, float]:
    result = evaluator(model)
    return 100 * result["r_cosine_ndcg@10"], 100 * result["r_cosine_mrr@10"]


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
    evaluator = make_evaluator(options.collection)
    lines = [f"| {options.collection.name} | nDCG@10 | MRR@10 |", "|---|---|---|"]
    base = score(evaluator, load_encoder(options.model, choose_device(None)))
    lines.append(f"| {options.model}, as it is | {base[0]:.1f} | {base[1]:.1f} |")
    with tempfile.TemporaryDirectory() as scratch:
        data = prepare_corpus(
            files=[str(options.collection / "corpus.txt")], output=Path(scratch) / "data", held_out=200
        )
        for name, train in (("library's recipe", train_as_the_library), ("tsdae_kit", train_as_we_do)):
            for step, folder in train(data, options.model, Path(scratch) / name, options.seed).items():
                ndcg, mrr = score(evaluator, SentenceTransformer(str(folder)))
                lines.append(f"| {name}, {step} joint steps | {ndcg:.1f} | {mrr:.1f} |")
                print(lines[-1], flush=True)
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "sentence-transformers", "transformers"))
    print("\n".join(lines))
    print(f"\nSeed {options.seed}, batch {BATCH_SIZE}; {versions}; {platform.processor() or platform.machine()}.")


if __name__ == "__main__":
    main()
