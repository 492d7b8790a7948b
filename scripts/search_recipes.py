"""Searches for a recipe of stage one that pays: trains variants, scores them on tuning data, appends what it finds.

    python -m scripts.search_recipes ../shared/datasets --recipes plain anchor --domains cranfield twitter --seeds 42

A domain's decoder is warmed up once (200 steps, the encoder frozen) and every recipe begins with it. At each mark two
encoders are scored: the last, and the mean of its weights and the base model's (``blend``). Scores are those on tuning
data: askubuntu's dev queries among 5,000 documents, cranfield, twitter's PIT dev pairs, mqp's dev pairs. One JSON
line for each; what the file holds already is not done again. ``--table`` prints the differences from the base model.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize
from transformers import TrainerCallback

from scripts.compare import main_tasks
from scripts.methods import ALIKE, layer_rates, prepare_once
from tsdae_kit import ResumableTrainer, TSDAELoss, load_prepared
from tsdae_kit.config.settings.training import DecoderKind, TrainSettings
from tsdae_kit.corpus.noise_transform import NoiseTransform
from tsdae_kit.evaluation.metrics import score
from tsdae_kit.evaluation.scoring import Embeddings, score_task
from tsdae_kit.evaluation.tasks import Task
from tsdae_kit.framework_output import quiet_frameworks
from tsdae_kit.models.devices import choose_device
from tsdae_kit.models.loading import load_encoder
from tsdae_kit.training.runner import resolve_hardware
from tsdae_kit.training.trainer import load_loss_state_dict, loss_state_dict
from tsdae_kit.training.tsdae_task import TSDAETask, denoising_arguments
from tsdae_kit.tsdae.regularization import Regularization

WARM, HELD_OUT, TRAINED, SCORED = 200, 500, 48, 128  # steps, rows, tokens
SOFT = 0.1  # the temperature of a contrast with soft goals
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
        taught: The same, with the base model's embeddings of the clean sentences.
        soft: The same, whose goal is how near the base model has those to each other, not the own one alone.
        rebuild: Whether there is a reconstruction.
        deletion: The share of words deleted.
        decoder: What rebuilds.
        tied: Whether it shares the encoder's weights.
        layers: How many of the encoder's layers it has, the first ones; all, if None.
        decay: What a layer's rate is, as a share of that of the layer above.
        batch: Sentences a step.
        noise: What is done to a sentence, as ``prepare --noise`` has it.
    """

    rate: float = 2e-5
    anchor: float = 0.0
    contrast: float = 0.0
    taught: float = 0.0
    soft: float = 0.0
    rebuild: bool = True
    deletion: float = 0.6
    decoder: DecoderKind = "cross-attention"
    tied: bool = True
    layers: int | None = None
    decay: float = 1.0
    batch: int = 32
    noise: str = "delete"


RECIPES = {
    "plain": Recipe(rate=1e-5),
    "fast": Recipe(rate=3e-5),
    "untied": Recipe(rate=1e-5, tied=False),
    "prefix": Recipe(rate=1e-5, decoder="prefix"),
    "anchor": Recipe(anchor=10.0),
    "loose-anchor": Recipe(anchor=1.0),
    "contrast": Recipe(rate=1e-5, contrast=0.1),
    "anchored-contrast": Recipe(contrast=0.1, anchor=10.0),
    "held": Recipe(contrast=0.1, anchor=50.0),
    "light": Recipe(rate=1e-5, deletion=0.3),
    "taught": Recipe(taught=1.0, anchor=10.0),
    "cheap": Recipe(taught=1.0),
    "taught-slow": Recipe(taught=1.0, anchor=10.0, rate=1e-5),
    "taught-held": Recipe(taught=1.0, anchor=50.0),
    "taught-light": Recipe(taught=1.0, anchor=10.0, deletion=0.3),
    "taught-heavy": Recipe(taught=1.0, anchor=10.0, deletion=0.8),
    "taught-decay": Recipe(taught=1.0, anchor=10.0, decay=0.7),
    "taught-steep": Recipe(taught=1.0, anchor=10.0, decay=0.5),
    "taught-shallow": Recipe(taught=1.0, anchor=10.0, tied=False, layers=1),
    "taught-soft": Recipe(soft=1.0, anchor=10.0),
    "taught-soft-decay": Recipe(soft=1.0, anchor=10.0, decay=0.7),
    "taught-slow-decay": Recipe(taught=1.0, anchor=10.0, rate=1e-5, decay=0.7),
    "taught-slow-held": Recipe(taught=1.0, anchor=50.0, rate=1e-5),
    "taught-live": Recipe(taught=1.0, contrast=0.1, anchor=10.0),
    "taught-wide": Recipe(taught=1.0, anchor=10.0, batch=128),
    "taught-mask": Recipe(taught=1.0, anchor=10.0, noise="mask"),
    "taught-swap": Recipe(taught=1.0, anchor=10.0, noise="swap:0.3,delete"),
    "only-anchored-contrast": Recipe(contrast=1.0, rebuild=False, anchor=10.0),
    "only-taught": Recipe(taught=1.0, rebuild=False, anchor=10.0),
    "cheap-taught": Recipe(taught=1.0, rebuild=False),
}


class Terms(Regularization):
    """What a recipe adds to the reconstruction: a contrast with the encoder's own embeddings, the base's terms."""

    def __init__(self, recipe: Recipe, base: SentenceTransformer) -> None:
        super().__init__(recipe.taught, recipe.anchor, base)
        self.own, self.soft = Regularization(recipe.contrast), recipe.soft

    def __call__(self, encoder: SentenceTransformer, noisy: Tensor, clean: dict[str, Tensor]) -> Tensor:
        """Return the weighted sum."""
        total = torch.zeros((), device=noisy.device)
        if self.contrastive_weight or self.drift_penalty:
            total = total + super().__call__(encoder, noisy, clean)
        if self.soft and self.base:
            wanted = normalize(self.base(dict(clean))["sentence_embedding"].float(), dim=1)
            goal, seen = (rows @ wanted.T / SOFT for rows in (wanted, normalize(noisy.float(), dim=1)))
            total = total + self.soft * cross_entropy(seen, goal.softmax(dim=1))
        return total + self.own(encoder, noisy, clean) if self.own.contrastive_weight else total


class TermsLoss(torch.nn.Module):
    """The terms without a reconstruction."""

    def __init__(self, encoder: SentenceTransformer, terms: Terms) -> None:
        super().__init__()
        self.encoder, self.terms = encoder, terms

    def forward(self, sentence_features: Any, labels: Tensor | None = None) -> Tensor:
        """Return the weighted sum."""
        source, target = sentence_features
        return self.terms(self.encoder, self.encoder(source)["sentence_embedding"], target)


def measure(encoder: SentenceTransformer, tasks: list[Task]) -> float:
    """Return the mean of the tasks' main metrics."""
    training, length = encoder.training, encoder.max_seq_length
    encoder.max_seq_length = SCORED
    embed = Embeddings(encoder, "the encoder", 64)
    with torch.inference_mode():
        value = mean(score(score_task(task, embed)[task.metric_names[0]]) for task in tasks)
    encoder.train(training)
    encoder.max_seq_length = length
    return value


class Marks(TrainerCallback):
    """Scores the encoder, and its blend with the base model, at some steps."""

    def __init__(self, encoder: SentenceTransformer, tasks: list[Task], marks: list[int], found: Any) -> None:
        self.encoder, self.tasks, self.marks, self.found = encoder, tasks, marks, found
        self.base = {name: p.detach().clone() for name, p in encoder.named_parameters()}
        self.mean = {name: p.detach().clone() for name, p in encoder.named_parameters()}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Score."""
        with torch.no_grad():
            for name, p in self.encoder.named_parameters():
                self.mean[name].lerp_(p, 1 / state.global_step)
            if state.global_step not in self.marks:
                return
            last = {name: p.detach().clone() for name, p in self.encoder.named_parameters()}
            kinds = {
                "last": last,
                "blend": {name: (p + self.base[name]) / 2 for name, p in last.items()},
                "mean": self.mean,
            }
            for kind, weights in kinds.items():
                self.set(weights)
                self.found(state.global_step, kind, measure(self.encoder, self.tasks))
            self.set(last)

    def set(self, weights: dict[str, Tensor]) -> None:
        """Give the encoder these weights."""
        for name, p in self.encoder.named_parameters():
            p.copy_(weights[name])


def make_trainer(
    encoder: SentenceTransformer,
    loss: torch.nn.Module,
    data: Any,
    given: dict[str, Any],
    *callbacks: TrainerCallback,
    decay: float = 1.0,
) -> ResumableTrainer:
    never = 10**6
    settings = TrainSettings(
        output=Path(tempfile.mkdtemp()), save_steps=never, logging_steps=never, decoder_warmup_steps=0, **ALIKE,
        **given,
    )  # fmt: skip
    settings = TSDAETask().resolve(resolve_hardware(settings, encoder))
    arguments = denoising_arguments(settings, encoder.device.type, evaluates=False)
    arguments.save_strategy = "no"
    rates: Any = arguments.learning_rate_mapping
    if isinstance(loss, TermsLoss):  # it has no decoder
        rates.clear()
    if decay != 1:
        rates.update(layer_rates(encoder, arguments.learning_rate, decay))
    return ResumableTrainer(model=encoder, args=arguments, train_dataset=data, loss=loss, callbacks=list(callbacks))


def make_loss(
    encoder: SentenceTransformer, base: SentenceTransformer, data: Any, recipe: Recipe, seed: int, cache: Path
) -> torch.nn.Module:
    """Return the loss, with a decoder that was trained alone; made once."""
    torch.manual_seed(seed)
    card: Any = encoder.model_card_data
    card.widget = [{"source_sentence": "a", "sentences": ["b"]}]  # else the library looks for examples
    terms = Terms(recipe, base)
    if not recipe.rebuild:
        return TermsLoss(encoder, terms)
    loss = TSDAELoss(encoder, tied=recipe.tied, decoder=recipe.decoder, regularization=terms)
    if recipe.layers:
        layers = loss.decoder.lm.base_model.encoder
        layers.layer = layers.layer[: recipe.layers]
    if not cache.exists():
        encoder.requires_grad_(False)
        make_trainer(encoder, loss, data, {"max_steps": WARM, "seed": seed}).train()
        encoder.requires_grad_(True)
        cache.parent.mkdir(parents=True, exist_ok=True)
        save_file(loss_state_dict(loss, encoder), cache)
    load_loss_state_dict(loss, encoder, cache)
    return loss


def prepare(options: argparse.Namespace, domain: str, recipe: Recipe) -> Path:
    """Return a domain's text with a recipe's noise, prepared once."""
    noise = "" if recipe.noise == "delete" else f"-{recipe.noise}"
    folder: Path = options.work / f"{domain}-{recipe.deletion}{noise}"
    corpus = options.data / DOMAINS[domain][0] / "corpus.txt"
    return prepare_once(corpus, folder, HELD_OUT, noise=recipe.noise, deletion_ratio=recipe.deletion)


def run(options: argparse.Namespace, domain: str, name: str, seed: int) -> None:
    recipe = RECIPES[name]
    prepared = prepare(options, domain, recipe)
    pairs = load_prepared(prepared)
    data = pairs.train.with_transform(NoiseTransform(pairs.noise))
    _, folder, split = DOMAINS[domain]
    tasks = main_tasks(options.data / folder, split)
    decoder = f"{recipe.decoder}-{recipe.tied}-{recipe.layers}-{seed}"
    cache = prepared.with_name(f"{prepared.name}-{decoder}.safetensors")

    def append(step: int, kind: str, value: float, recipe: str = name) -> None:
        line = {
            "domain": domain,
            "recipe": recipe,
            "seed": seed,
            "step": step,
            "kind": kind,
            "score": round(value, 3),
        }
        with options.output.open("a") as stream:
            stream.write(json.dumps(line) + "\n")

    with quiet_frameworks():
        encoder, base = (load_encoder(options.model, choose_device(None)) for _ in range(2))
        encoder.max_seq_length = base.max_seq_length = TRAINED
        if not any(e["domain"] == domain and e["recipe"] == "base" for e in read(options.output)):
            append(0, "last", measure(base, tasks), "base")
        loss = make_loss(encoder, base, data, recipe, seed, cache)
        marks = Marks(encoder, tasks, options.marks, append)
        given = {
            "max_steps": options.marks[-1], "seed": seed, "learning_rate": recipe.rate, "batch_size": recipe.batch
        }  # fmt: skip
        make_trainer(encoder, loss, data, given, marks, decay=recipe.decay).train()


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
