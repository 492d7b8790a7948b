"""Reads evaluation data: a folder with queries and judgements, reranking lists, pairs, or several of these.

The layout is the README's. A mistake in a file is one line with the file and the line number; what
would make scores quietly wrong (a judged document that is not there) is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from tsdae_kit.errors import KitError
from tsdae_kit.evaluation.tasks import Pairs, Reranking, Retrieval, Task
from tsdae_kit.text.pairs import read_manifest

FILES = "queries.jsonl with docs.jsonl and qrels.tsv, rerank.jsonl, pairs_test.tsv"


def read_tasks(name: str, split: str) -> list[Task]:
    """Return everything to score that a folder or a file holds.

    Args:
        name: A folder of evaluation data or of prepared pairs, a file of pairs (.tsv), or a text file.
        split: ``test`` or ``dev``.

    Raises:
        KitError: If there is nothing, naming what there is; or if a file is not as it should be.
    """
    path = Path(name)
    if not path.exists():
        raise KitError(f"The evaluation data {name} does not exist. Name a folder that holds {FILES}.")
    if path.is_file() and path.suffix == ".tsv":
        return [_read_pairs(path, f"{path.resolve().parent.name}/{path.name}")]
    if path.is_file() or read_manifest(path) is not None:
        from tsdae_kit.evaluation.unlabelled import make_proxies

        return list(make_proxies(path))
    label = path.resolve().name
    suffix = "" if split == "test" else f"_{split}"
    tasks: list[Task] = []
    if (path / f"qrels{suffix}.tsv").exists():
        tasks.append(_read_retrieval(path, suffix, f"{label} retrieval"))
    if (path / f"rerank{suffix}.jsonl").exists():
        tasks.append(_read_reranking(path / f"rerank{suffix}.jsonl", f"{label} reranking"))
    tasks += [_read_pairs(file, f"{label} {_pairs_name(file, split)}") for file in _find_pairs(path, split)]
    if not tasks:
        held = ", ".join(sorted(entry.name for entry in path.iterdir())) or "nothing"
        advice = f"For split {split} it should hold {FILES.replace('_test', f'_{split}')}"
        if (path / "corpus.txt").exists():
            advice += f"; without labels, name the text: --data {path / 'corpus.txt'}"
        raise KitError(f"{name} holds no evaluation data for split {split} (it holds: {held:.300}). {advice}.")
    return tasks


def holds_split(path: Path, split: str) -> bool:
    """Return whether a folder has files of the split."""
    found = [path / f"qrels_{split}.tsv", path / f"rerank_{split}.jsonl", *_find_pairs(path, split)]
    return any(file.exists() for file in found)


def _find_pairs(folder: Path, split: str) -> list[Path]:
    """Return the files of pairs for the split; one of which there is a ``_decided`` version gives way to that."""
    found = [path for path in sorted(folder.glob("*.tsv")) if {"pairs", split} <= set(path.stem.split("_"))]
    return [path for path in found if path.with_name(f"{path.stem}_decided.tsv") not in found]


def _pairs_name(path: Path, split: str) -> str:
    """Return ``pairs`` and what else the file's name says: ``pairs_pit_test.tsv`` -> ``pairs pit``."""
    return " ".join(["pairs", *(part for part in path.stem.split("_") if part not in ("pairs", split))])


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except FileNotFoundError as error:
        raise KitError(f"{path} is missing. Retrieval takes queries.jsonl, docs.jsonl and qrels.tsv.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise KitError(f"{path} cannot be read ({error}). Give a UTF-8 file.") from error


def _json_rows(path: Path, fields: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in _lines(path):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise KitError(f"{path}, line {number}: no JSON ({error}). Write one object a line.") from error
        missing = [field for field in fields if not isinstance(row, dict) or row.get(field) is None]
        if missing:
            there = ", ".join(row) if isinstance(row, dict) else type(row).__name__
            raise KitError(f"{path}, line {number}: {', '.join(missing)} missing (there is: {there:.100}). Add it.")
        yield number, row


def _texts(path: Path) -> dict[str, str]:
    """Return the texts by id, titles before them; an empty one is in its place (Cranfield has two)."""
    found: dict[str, str] = {}
    for number, row in _json_rows(path, ("id", "text")):
        text = " ".join(str(part) for part in (row.get("title"), row["text"]) if part)
        if str(row["id"]) in found:
            raise KitError(f"{path}, line {number}: the id {row['id']!r} was there before. Give each line its own.")
        found[str(row["id"])] = text
    return found


def _columns(path: Path, names: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in _lines(path):
        cells = line.split("\t")
        if len(cells) != 3:
            raise KitError(f"{path}, line {number}: {len(cells)} columns instead of 3. Write {names}, parted by tabs.")
        yield number, cells


def _read_retrieval(folder: Path, suffix: str, name: str) -> Retrieval:
    queries, docs = _texts(folder / f"queries{suffix}.jsonl"), _texts(folder / "docs.jsonl")
    numbers = {key: number for number, key in enumerate(docs)}
    qrels = folder / f"qrels{suffix}.tsv"
    grades: dict[str, dict[int, int]] = {}
    for line, (query, document, grade) in _columns(qrels, "query id, document id, grade"):
        unknown = [
            f"the {kind} {key!r} is not in {file}"
            for kind, key, known, file in (
                ("query", query, queries, f"queries{suffix}.jsonl"), ("document", document, numbers, "docs.jsonl"),
            )
            if key not in known
        ]  # fmt: skip
        if unknown or not grade.strip().lstrip("-").isdigit():
            fault = " and ".join(unknown) or f"the grade {grade!r} is no whole number"
            raise KitError(f"{qrels}, line {line}: {fault}. Mend the line or leave it out.")
        grades.setdefault(query, {})[numbers[document]] = int(grade)
    judged = {query: found for query, found in grades.items() if any(grade > 0 for grade in found.values())}
    if not judged:
        raise KitError(f"{qrels} marks no document as relevant. Give some a grade above 0.")
    texts = tuple(queries[query] for query in judged)
    return Retrieval(name, texts, tuple(docs.values()), tuple(judged.values()))


def _read_reranking(path: Path, name: str) -> Reranking:
    kept = []
    for number, row in _json_rows(path, ("query",)):
        positive, negative = row.get("positive"), row.get("negative")
        if not isinstance(positive, list) or not isinstance(negative, list):
            raise KitError(f"{path}, line {number}: positive and negative must be lists of texts. Write [...].")
        if any(not isinstance(text, str) for text in chain(positive, negative)):
            raise KitError(f"{path}, line {number}: positive and negative must hold texts alone. Mend the line.")
        if positive and negative:  # else every order is right
            kept.append((str(row["query"]), tuple(positive), tuple(negative)))
    if not kept:
        raise KitError(f"{path} holds no query with a positive and a negative. Add some.")
    queries, positives, negatives = zip(*kept, strict=True)
    return Reranking(name, queries, positives, negatives)


def _read_pairs(path: Path, name: str) -> Pairs:
    rows = [
        (_number(path, line, score), first, second)
        for line, (score, first, second) in _columns(path, "score, text 1 and text 2")
    ]
    if len({score for score, _, _ in rows}) < 2:
        raise KitError(f"{path} holds fewer than two different scores: nothing to tell apart. Add other pairs.")
    gold, firsts, seconds = zip(*rows, strict=True)
    return Pairs(name, firsts, seconds, gold)


def _number(path: Path, line: int, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise KitError(f"{path}, line {line}: the score {text!r} is no number. Write it in the first column.")
    return number
