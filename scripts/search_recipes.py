"""Searches for a recipe of stage one that pays: trains variants, scores them on tuning data, appends what it finds.

    python scripts/search_recipes.py ../shared/datasets --recipes default anchor --domains cranfield twitter --seeds 42

A domain's decoder is warmed up once (200 steps, the encoder frozen) and every recipe begins with it. At each mark two
encoders are scored: the last, and the mean of its weights and the base model's (``blend``). Scores are those on tuning
data: askubuntu's dev queries among 5,000 documents, cranfield, twitter's PIT dev pairs, mqp's dev pairs; beside them
stands the test without labels (held-out noisy sentences find their clean ones). One JSON line for each; what the file
holds already is not done again. ``--table`` prints the differences from the base model.
"""

from __future__ import annotations

import argparse
import copy
import json
import tempfile
from collections import defaultdict
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize
from transformers import TrainerCallback

from tsdae_kit import ResumableTrainer, TSDAELoss, load_pairs, prepare_corpus
from tsdae_kit.console import quiet_frameworks
from tsdae_kit.denoising.cross_entropy import SharedGradient, mean_cross_entropy
from tsdae_kit.evaluation.data import read_tasks
from tsdae_kit.evaluation.samples import score
from tsdae_kit.evaluation.scoring import Embeddings, score_task
from tsdae_kit.evaluation.tasks import Retrieval, Task
from tsdae_kit.settings import DecoderKind, TrainSettings
from tsdae_kit.text.noise import NoiseTransform
from tsdae_kit.train import Adaptation
from tsdae_kit.training.models import choose_device, load_encoder
from tsdae_kit.training.session import fill_in
from tsdae_kit.training.trainer import load_own_state, own_state

WARM, DOCS, TEMPERATURE, HELD_OUT = 200, 5000, 0.05, 500
DOMAINS = {  # corpus, evaluation data, part
    "askubuntu": ("askubuntu", "askubuntu", "dev"),
    "cranfield": ("cranfield", "cranfield", "test"),
    "twitter": ("twitter", "twitter", "dev"),
    "mqp": ("medquad", "mqp", "dev"),
}


@dataclass(frozen=True)
class Recipe:
    """What is tried.

    Attributes:
        rate: The encoder's learning rate.
        anchor: Weight of 1 - cosine between a clean sentence's embedding and the base model's.
        contrast: Weight of in-batch cross-entropy between noisy and clean embeddings, temperature 0.05.
        rebuild: Weight of the reconstruction.
        deletion: The share of words deleted.
        decoder: What rebuilds.
        tied: Whether it shares the encoder's weights.
    """

    rate: float = 1e-5
    anchor: float = 0.0
    contrast: float = 0.0
    rebuild: float = 1.0
    deletion: float = 0.6
    decoder: DecoderKind = "cross-attention"
    tied: bool = True
    batch: int = 32


RECIPES = {
    "default": Recipe(),
    "fast": Recipe(rate=3e-5),
    "untied": Recipe(tied=False),
    "prefix": Recipe(decoder="prefix"),
    "anchor": Recipe(rate=2e-5, anchor=10.0),
    "loose-anchor": Recipe(rate=2e-5, anchor=1.0),
    "contrast": Recipe(contrast=0.1),
    "anchored-contrast": Recipe(rate=2e-5, contrast=0.1, anchor=10.0),
    "light": Recipe(deletion=0.3),
    "only-anchored-contrast": Recipe(rate=2e-5, contrast=1.0, rebuild=0.0, anchor=10.0),
}


class RecipeLoss(TSDAELoss):
    """The denoising loss with what a recipe adds to it."""

    def __init__(self, model: SentenceTransformer, recipe: Recipe) -> None:
        super().__init__(model, tied=recipe.tied, decoder=recipe.decoder)
        self.recipe = recipe
        self.base = [copy.deepcopy(model).eval().requires_grad_(False)]  # in a list: no part of this module

    def forward(self, sentence_features: Any, labels: Tensor | None = None) -> Tensor:
        """Return the weighted sum."""
        recipe, (source, target) = self.recipe, sentence_features
        shared = SharedGradient(self.decoder.output.weight)
        compares = recipe.anchor or recipe.contrast
        clean = source["input_ids"].new_zeros(())
        with shared.of_embeddings(self) if recipe.rebuild else nullcontext():
            noisy = self.encoder(dict(source))["sentence_embedding"]
            if recipe.rebuild:
                states, wanted = self.decoder(noisy, target["input_ids"], target["attention_mask"])
            if compares:
                clean = normalize(self.encoder(dict(target))["sentence_embedding"].float(), dim=1)
        value = noisy.new_zeros((), dtype=torch.float32)
        if recipe.rebuild:  # after all look-ups, so that it comes before them in the backward pass
            value = recipe.rebuild * mean_cross_entropy(states, self.decoder.output, wanted, shared, len(wanted))
        if recipe.anchor:
            with torch.no_grad():
                was = normalize(self.base[0](dict(target))["sentence_embedding"].float(), dim=1)
            value = value + recipe.anchor * (1 - (clean * was).sum(1)).mean()
        if recipe.contrast:
            similar = normalize(noisy.float(), dim=1) @ clean.T / TEMPERATURE
            value = value + recipe.contrast * cross_entropy(similar, torch.arange(len(clean), device=clean.device))
        total: Tensor = value
        return total


def tuning_tasks(data: Path, domain: str) -> list[Task]:
    """Return what a domain is tuned on; of many documents, the relevant ones and the first so many others."""
    _, folder, split = DOMAINS[domain]
    tasks = []
    for task in read_tasks(str(data / folder), split):
        if isinstance(task, Retrieval) and len(task.docs) > DOCS:
            relevant = {row for grades in task.grades for row in grades}
            kept = sorted(relevant | set(range(DOCS)))
            place = {row: i for i, row in enumerate(kept)}
            grades = tuple({place[row]: grade for row, grade in grades.items()} for grades in task.grades)
            task = replace(task, docs=tuple(task.docs[row] for row in kept), grades=grades)
        tasks.append(task)
    kinds = [task for task in tasks if type(task) is type(tasks[0]) and task.metrics == tasks[0].metrics]
    return [task for task in kinds if "url" not in task.name.lower()] or kinds


def measure(encoder: SentenceTransformer, tasks: list[Task]) -> float:
    """Return the mean of the tasks' main metrics."""
    training = encoder.training
    embed = Embeddings(encoder, "the encoder", 64)
    with torch.autocast(encoder.device.type, torch.bfloat16):
        value = mean(score(score_task(task, embed)[task.metrics[0]]) for task in tasks)
    encoder.train(training)
    return value


class Marks(TrainerCallback):
    """Scores the encoder, and its blend with the base model, at some steps."""

    def __init__(self, encoder: SentenceTransformer, tasks: list[list[Task]], marks: list[int], found: Any) -> None:
        self.encoder, self.tasks, self.marks, self.found = encoder, tasks, marks, found
        self.base = {name: p.detach().clone() for name, p in encoder.named_parameters()}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Score."""
        with torch.no_grad():
            if state.global_step not in self.marks:
                return
            last = {name: p.detach().clone() for name, p in self.encoder.named_parameters()}
            kinds = {
                "last": last,
                "blend": {name: (p + self.base[name]) / 2 for name, p in last.items()},
            }
            for kind, weights in kinds.items():
                self.set(weights)
                self.found(state.global_step, kind, *(measure(self.encoder, tasks) for tasks in self.tasks))
            self.set(last)

    def set(self, weights: dict[str, Tensor]) -> None:
        """Give the encoder these weights."""
        for name, p in self.encoder.named_parameters():
            p.copy_(weights[name])


def make_trainer(loss: TSDAELoss, data: Any, recipe: Recipe, steps: int, seed: int, callbacks: Any) -> ResumableTrainer:
    stage = Adaptation()
    settings = TrainSettings(
        output=Path(tempfile.mkdtemp()), max_steps=steps, batch_size=recipe.batch, save_steps=10**6, seed=seed,
        decoder_warmup_steps=0, learning_rate=recipe.rate, logging_steps=10**6,
    )  # fmt: skip
    settings = stage.resolve(fill_in(settings, loss.encoder), steps)
    arguments = stage.make_arguments(settings, loss.encoder, evaluates=False, steps=steps)
    arguments.save_strategy = "no"
    return ResumableTrainer(model=loss.encoder, args=arguments, train_dataset=data, loss=loss, callbacks=callbacks)


def warmed(model: str, data: Any, recipe: Recipe, seed: int, cache: Path) -> RecipeLoss:
    """Return the loss with a decoder that was trained alone; made once."""
    torch.manual_seed(seed)
    encoder = load_encoder(model, choose_device(None))
    encoder.max_seq_length = 128
    card: Any = encoder.model_card_data
    card.widget = [{"source_sentence": "a", "sentences": ["b"]}]  # else the library looks for examples
    loss = RecipeLoss(encoder, recipe)
    if not recipe.rebuild:  # its decoder is not used
        return loss
    if not cache.exists():
        plain = RecipeLoss(encoder, replace(recipe, anchor=0.0, contrast=0.0, rebuild=1.0))
        encoder.requires_grad_(False)
        make_trainer(plain, data, recipe, WARM, seed, []).train()
        encoder.requires_grad_(True)
        cache.parent.mkdir(parents=True, exist_ok=True)
        save_file(own_state(plain, encoder), cache)
    load_own_state(loss, encoder, cache)
    return loss


def run(options: argparse.Namespace, domain: str, name: str, seed: int) -> None:
    recipe, work = RECIPES[name], options.work
    for deletion in {RECIPES["default"].deletion, recipe.deletion}:
        if not (work / f"{domain}-{deletion}").exists():
            corpus = options.data / DOMAINS[domain][0] / "corpus.txt"
            prepare_corpus(
                files=[str(corpus)], output=work / f"{domain}-{deletion}", held_out=HELD_OUT, deletion_ratio=deletion
            )
    pairs = load_pairs(work / f"{domain}-{recipe.deletion}")
    data = pairs.train.with_transform(NoiseTransform(pairs.noise))
    tasks = tuning_tasks(options.data, domain)
    proxy = read_tasks(str(work / f"{domain}-{RECIPES['default'].deletion}"), "test")
    cache = work / f"{domain}-{recipe.deletion}-{recipe.decoder}-{recipe.tied}-{seed}.safetensors"

    def append(step: int, kind: str, value: float, proxy: float, recipe: str = name) -> None:
        line = {
            "domain": domain,
            "recipe": recipe,
            "seed": seed,
            "step": step,
            "kind": kind,
            "score": round(value, 3),
            "proxy": round(proxy, 3),
        }
        with options.output.open("a") as stream:
            stream.write(json.dumps(line) + "\n")

    with quiet_frameworks():
        if not any(e["domain"] == domain and e["recipe"] == "base" for e in read(options.output)):
            encoder = load_encoder(options.model, choose_device(None))
            encoder.max_seq_length = 128
            append(0, "last", measure(encoder, tasks), measure(encoder, proxy), "base")
        loss = warmed(options.model, data, recipe, seed, cache)
        marks = Marks(loss.encoder, [tasks, proxy], options.marks, append)
        make_trainer(loss, data, recipe, options.marks[-1], seed, [marks]).train()


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def print_table(path: Path) -> None:
    """Print each recipe's mean difference from the base model, by domain."""
    entries = read(path)
    base = {e["domain"]: e["score"] for e in entries if e["recipe"] == "base"}
    cells: dict[tuple[str, int, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for e in entries:
        if e["recipe"] != "base":
            cells[e["recipe"], e["step"], e["kind"]][e["domain"]].append(e["score"] - base[e["domain"]])
    print("| recipe | joint steps | weights | " + " | ".join(base) + " | mean |\n" + "|---" * (len(base) + 4) + "|")
    print("| base | | | " + " | ".join(f"{value:.1f}" for value in base.values()) + " | |")
    for (recipe, step, kind), row in sorted(cells.items()):
        values = [mean(row[domain]) if row[domain] else None for domain in base]
        shown = " | ".join("" if value is None else f"{value:+.2f}" for value in values)
        known = [value for value in values if value is not None]
        print(f"| {recipe} | {step} | {kind} | {shown} | {mean(known):+.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder of the collections")
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=RECIPES)
    parser.add_argument("--domains", nargs="+", default=list(DOMAINS), choices=DOMAINS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[42])
    parser.add_argument("--marks", nargs="+", type=int, default=[100, 200], help="joint steps at which is scored")
    parser.add_argument("--output", type=Path, default=Path("results/search.jsonl"))
    parser.add_argument("--work", type=Path, default=Path("runs/search"), help="prepared data and warm decoders")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if not options.table:
        for seed in options.seeds:
            for name in options.recipes:
                for domain in options.domains:
                    done = {(e["domain"], e["recipe"], e["seed"], e["step"]) for e in read(options.output)}
                    if (domain, name, seed, options.marks[-1]) not in done:
                        run(options, domain, name, seed)
    print_table(options.output)


if __name__ == "__main__":
    main()
