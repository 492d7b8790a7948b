"""Trains what is to be compared, scores it on what is reported, and prints a table with intervals.

    python -m scripts.compare rivals ../shared/datasets     # stage one against other ways, from all-MiniLM-L6-v2
    python -m scripts.compare variants ../shared/datasets   # stage one with other noise, larger batches, more steps
    python -m scripts.compare stages ../shared/datasets     # stage two with and without stage one before it
    python -m scripts.compare stages ../shared/datasets --tuning    # the same models, on data that may be looked at
    python -m scripts.compare scratch ../shared/datasets    # the same for a small new model
    python -m scripts.compare scratch-mini ../shared/datasets   # and for a larger one, on a GPU

A model is scored on its field's test data (Ask Ubuntu's with some 5,000 documents), and on STS-B, the control. Its
scores, on all items and on 2,000 resamples of them, are kept in ``runs/compare``, so that a command that was broken off
goes on where it was; ``--table`` only prints. A cell is the mean of the seeds' differences from the first row (among
rivals the base model, among variants the default, else stage two alone), with its 95 % interval under resampling;
``results/`` gets all scores (``EXPERIMENT.json``, beside those of other fields, seeds and rows that it holds).
``--tuning`` scores on tuning data in place of test data, where a field has some (``EXPERIMENT-tuning.json``). Stage
two's negatives are mined from 10,000 of the field's sentences, by the base model, or (own) by the one that stage one
has adapted.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, cast

import numpy as np
from sentence_transformers import SentenceTransformer

from scripts.methods import (
    RIVALS,
    VARIANTS,
    Field,
    Method,
    from_scratch,
    from_scratch_longer,
    from_scratch_mini,
    joined,
    joined_on_mined,
    joined_whole,
    on_own_negatives,
    on_pairs_only,
    pairs_after,
    pairs_alone,
    pairs_averaged,
    prepare_once,
    stage_one,
    stage_two,
    untrained,
    untrained_mini,
    whole,
)
from tsdae_kit.evaluation.bootstrap import Difference, average, resample
from tsdae_kit.evaluation.loading import read_tasks
from tsdae_kit.evaluation.metrics import score
from tsdae_kit.evaluation.scoring import Embeddings, score_task
from tsdae_kit.evaluation.tasks import Retrieval, Task
from tsdae_kit.framework_output import quiet_frameworks
from tsdae_kit.models.devices import choose_device
from tsdae_kit.models.loading import load_encoder

CONTROL, DOCS, MINED = "stsb", 5000, 10_000  # documents beside the relevant ones; sentences mined for negatives
BASE, MEAN = "base", "mean"  # names of a row and of a column
LAST = (CONTROL, MEAN)
FIELDS = {  # corpus: what is reported
    "askubuntu": ("askubuntu",),
    "twitter": ("twitter",),
    "medquad": ("mqp", "rqe", "liveqa_med"),
    "cacm": ("cacm",),
    "cisi": ("cisi",),
    "med": ("med",),
}
TUNING = {  # data and parts that no stage learns from
    "askubuntu": (("askubuntu", "dev"),),
    "twitter": (("twitter", "dev"),),
    "medquad": (("mqp", "dev"), ("mqp", "train")),
}
PAIRS = {"askubuntu": "askubuntu", "twitter": "twitter", "medquad": "rqe"}  # their train part is stage two's
EXPERIMENTS: dict[str, tuple[tuple[str, ...], dict[str, Sequence[Method]]]] = {
    "rivals": (tuple(FIELDS), {name: [method] for name, method in RIVALS.items()}),
    "variants": (tuple(TUNING), {name: [method] for name, method in VARIANTS.items()}),
    "stages": (
        tuple(PAIRS),
        {"stage two": [stage_two], "stage one, then two": [stage_one, stage_two],
         "stage one not averaged, then two": [whole, stage_two],
         "stage one, then two, own negatives": [stage_one, on_own_negatives],
         "stage one not averaged, then two, own negatives": [whole, on_own_negatives],
         "stage two, then one": [stage_two, stage_one],
         "stage two, nothing mined": [on_pairs_only],
         "both in the same steps": [joined], "both in the same steps, not averaged": [joined_whole],
         "both in the same steps, not averaged, mined negatives": [joined_on_mined]},
    ),
    "scratch": (
        ("medquad",),
        {"stage two": [untrained, pairs_alone], "untrained": [untrained], "stage one": [from_scratch],
         "stage one, then two": [from_scratch, pairs_after], "two passes of stage one": [from_scratch_longer],
         "two passes, then two": [from_scratch_longer, pairs_after],
         "stage one, then two, averaged": [from_scratch, pairs_averaged],
         "two passes, then two, averaged": [from_scratch_longer, pairs_averaged]},
    ),
    "scratch-mini": (
        ("medquad",),
        {"stage two": [untrained_mini, pairs_alone], "untrained": [untrained_mini], "stage one": [from_scratch_mini],
         "stage one, then two": [from_scratch_mini, pairs_after]},
    ),
}  # fmt: skip


def read_scored(data: Path, field: str, tuning: bool) -> list[Task]:
    """Return what a field is reported or tuned on, and the control."""
    parts = TUNING[field] if tuning else tuple((name, "test") for name in FIELDS[field])
    tasks = [_named(task, split) for name, split in parts for task in main_tasks(data / name, split)]
    control = read_tasks(str(data / CONTROL), "dev" if tuning else "test")
    return [*tasks, next(task for task in control if task.name == f"{CONTROL} pairs")]


def _named(task: Task, split: str) -> Task:
    return task if split == "test" else replace(task, name=f"{task.name}, {split}")


def main_tasks(folder: Path, split: str) -> list[Task]:
    """Return a collection's searches, with fewer documents; what else it has, if it has none."""
    tasks = read_tasks(str(folder), split)
    return [fewer_docs(task) for task in tasks if isinstance(task, Retrieval)] or tasks


def fewer_docs(task: Retrieval) -> Retrieval:
    """Return the task with its relevant documents and the first 5,000 others."""
    relevant = {row for grades in task.grades for row in grades}
    kept = sorted(relevant | set(range(min(DOCS, len(task.docs)))))
    place = {row: i for i, row in enumerate(kept)}
    grades = tuple({place[row]: grade for row, grade in grades.items()} for grades in task.grades)
    identical_docs = tuple(place.get(row, -1) for row in task.identical_docs)
    return replace(task, docs=tuple(task.docs[row] for row in kept), grades=grades, identical_docs=identical_docs)


class Lab:
    """Where models are trained and their scores are kept."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.work: Path = options.work
        self.name = f"{options.experiment}-tuning" if options.tuning else str(options.experiment)
        self.scores = self.work / self.name

    def field(self, name: str) -> Field:
        """Return a field's text, prepared once."""
        corpus: Path = self.options.data / name / "corpus.txt"
        prepared = prepare_once(corpus, self.work / "data" / name)
        mined = self.work / "data" / f"{name}-mined.txt"
        if not mined.exists():
            lines = corpus.read_text(encoding="utf-8").splitlines()
            mined.write_text("\n".join(Random(0).sample(lines, min(MINED, len(lines)))), encoding="utf-8")
        pairs = self.options.data / PAIRS[name] / "pairs_train.tsv" if name in PAIRS else None
        return Field(corpus, prepared, mined, pairs, self.options.steps)

    def path(self, field: str, seed: int, row: str) -> Path:
        """Return where a row's scores are kept."""
        scores: Path = self.scores
        return scores / f"{field}-{seed}-{row}.npz"

    def measure(self, field: str, seed: int, row: str, methods: Sequence[Method]) -> None:
        """Train with the methods in turn, each from the model before it, and keep the last one's scores."""
        tasks = read_scored(self.options.data, field, self.options.tuning)
        kept = read_scores(self.path(field, seed, row))
        missing = [task for task in tasks if task.name not in kept]
        if not missing:
            return
        model = self.options.model
        for i, method in enumerate(methods):
            chain = [m.__name__ for m in methods[: i + 1]]
            folder = self.work / "models" / "-".join([field, str(seed), str(self.options.steps), *chain])
            done = folder / "model"
            if not done.exists():
                trained = Path(method(model, self.field(field), seed, folder))
                if trained != done:
                    trained.rename(done)
                for checkpoint in folder.glob("checkpoint-*"):
                    shutil.rmtree(checkpoint)
            model = str(done)
        keep_scores(load_encoder(model, choose_device(None)), missing, kept, self.path(field, seed, row))


Scores = dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]


def read_scores(path: Path) -> Scores:
    """Return by task its score, then those of its resamples; nothing if there is no such file."""
    scores = dict(np.load(path)) if path.exists() else {}
    # Files of version 0.1 also hold a test without labels, which belongs to no mean.
    return {task: values for task, values in scores.items() if not task.endswith(" noisy to clean")}


def keep_scores(encoder: SentenceTransformer, tasks: Sequence[Task], kept: Scores, path: Path) -> None:
    """Write what was kept, and the main metric of each task with its resamples."""
    embed = Embeddings(encoder, "the model", 64)
    for task in tasks:
        metric = score_task(task, embed)[task.metric_names[0]]
        kept[task.name] = np.concatenate([[score(metric)], resample(metric, task.name)])
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}")  # others may be at it: the base model is every seed's
    with part.open("wb") as stream:
        np.savez(stream, **cast(Any, kept))
    part.rename(path)


def gather(
    lab: Lab, rows: Sequence[str], fields: Sequence[str], seeds: Sequence[int]
) -> dict[tuple[str, str, int], Scores]:
    """Return the scores that there are of each row, field and seed; the base model's for all seeds."""
    found = {
        (row, field, seed): read_scores(lab.path(field, 0 if row == BASE else seed, row))
        for row in rows
        for field in fields
        for seed in seeds
    }
    return {key: scores for key, scores in found.items() if scores}


def print_table(lab: Lab, rows: Sequence[str], fields: Sequence[str], seeds: Sequence[int]) -> None:
    """Print each row's differences from the first, and write all scores."""
    scores, reference = gather(lab, rows, fields, seeds), rows[0]
    names: dict[str, str] = {}
    columns: dict[str, dict[str, str]] = {}
    for row in rows:
        pooled: dict[str, list[Difference]] = {}
        have = len(seeds)
        for field in fields:
            both = [
                (scores[row, field, seed], scores[reference, field, seed])
                for seed in seeds
                if {(row, field, seed), (reference, field, seed)} <= scores.keys()
            ]
            have = min(have, len(both))
            for task in both[0][0] if both else ():
                changes = [own[task] - (row != reference) * first[task] for own, first in both]
                seen = average([Difference(float(change[0]), change[1:]) for change in changes])
                for column in _columns_of(task):
                    pooled.setdefault(column, []).append(seen)
        names[row] = row if have == len(seeds) else f"{row} ({have} of {len(seeds)} seeds)"
        for column, found in pooled.items():
            mean = average(found)
            columns.setdefault(column, {})[row] = f"{mean.value:.1f}" if row == reference else _show(mean)
    order = sorted(columns, key=lambda column: LAST.index(column) if column in LAST else -1)
    print("| | " + " | ".join(order) + " |\n" + "|---" * (len(order) + 1) + "|")
    for row in rows:
        print(f"| {names[row]} | " + " | ".join(columns[column].get(row, "") for column in order) + " |")
    kept = {
        ", ".join(map(str, key)): {task: round(float(values[0]), 2) for task, values in found.items()}
        for key, found in scores.items()
    }
    path = lab.options.results / f"{lab.name}.json"
    before = json.loads(path.read_text())["scores"] if path.exists() else {}  # of other fields, seeds and rows
    report = {"seeds": list(seeds), "steps": lab.options.steps, "scores": {**before, **kept}}
    path.write_text(json.dumps(report, indent=1) + "\n")


def _columns_of(task: str) -> tuple[str, ...]:
    return (CONTROL,) if task.startswith(CONTROL) else (task, MEAN)


def _show(difference: Difference) -> str:
    low, high = difference.interval
    mark = "**" if low > 0 or high < 0 else ""
    return f"{mark}{difference.value:+.1f}{mark} ({low:+.1f} to {high:+.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=EXPERIMENTS)
    parser.add_argument("data", type=Path, help="the folder of the collections")
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    parser.add_argument("--fields", nargs="+", choices=FIELDS, help="(default: all of the experiment)")
    parser.add_argument("--rows", nargs="+", help="train these only (default: all)")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=50, help="of 32 sentences, in which the encoder learns")
    parser.add_argument("--work", type=Path, default=Path("runs/compare"))
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--tuning", action="store_true", help="score on tuning data")
    parser.add_argument("--table", action="store_true", help="only print what is there")
    options = parser.parse_args()
    fields, rows = EXPERIMENTS[options.experiment]
    fields = tuple(options.fields or (field for field in fields if not options.tuning or field in TUNING))
    if options.tuning and not TUNING.keys() >= set(fields):
        parser.error(f"only these fields have tuning data: {', '.join(TUNING)}")
    lab = Lab(options)
    base = [] if options.experiment.startswith("scratch") else [BASE]
    if not options.table:
        with quiet_frameworks():
            for name in base:
                for field in fields:
                    lab.measure(field, 0, name, [])
            for seed in options.seeds:
                for field in fields:
                    for name, methods in rows.items():
                        if name in (options.rows or rows):
                            lab.measure(field, seed, name, methods)
    order = [*base, *rows] if options.experiment == "rivals" else [*rows, *base]
    print_table(lab, order, fields, options.seeds)


if __name__ == "__main__":
    main()
