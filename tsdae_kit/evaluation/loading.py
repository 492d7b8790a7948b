"""Reads evaluation data: a folder of retrieval, reranking and pairs, or one file of pairs or reranking lists.

The README describes the layouts.
"""

from __future__ import annotations

from pathlib import Path

from tsdae_kit.config.settings.reading import ReadingSettings
from tsdae_kit.corpus.files import is_evaluation_data, kind_of, stem_of
from tsdae_kit.corpus.formats import Format
from tsdae_kit.errors import KitError
from tsdae_kit.evaluation.layouts import describe_layouts, find_layout, list_folder, pairs_name
from tsdae_kit.evaluation.pairs import holds_pairs, holds_texts, read_pairs
from tsdae_kit.evaluation.reranking import read_reranking
from tsdae_kit.evaluation.retrieval import read_retrieval
from tsdae_kit.evaluation.tasks import Task

DEFAULT_READING = ReadingSettings()


def read_tasks(name: str, split: str, reading: ReadingSettings = DEFAULT_READING) -> list[Task]:
    """Return the tasks of a folder or a file, at least one.

    Args:
        name: A folder of evaluation data, a file of pairs, or a file of reranking lists.
        split: ``test`` or ``dev``.
        reading: The encoding and quoting of the files.

    Raises:
        KitError: If there is nothing to score, or a file is invalid.
    """
    path, form = Path(name), Format.of(reading)
    if not path.exists():
        raise KitError(
            f"The evaluation data {name} does not exist. Name a folder that holds {describe_layouts(split)}."
        )
    if path.is_file():
        return [_read_file(path, split, form)]
    tasks = _read_folder(path, split, form)
    if not tasks:
        raise KitError(
            f"{name} holds no labelled data for split {split} (it holds: {list_folder(path):.300}). "
            f"Name a folder that holds {describe_layouts(split)}."
        )
    return tasks


def holds_split(path: Path, split: str) -> bool:
    """Return whether a folder has files of the split."""
    return path.is_dir() and not find_layout(path, split).is_empty


def _read_folder(path: Path, split: str, form: Format) -> list[Task]:
    label, layout = path.resolve().name, find_layout(path, split)
    tasks: list[Task] = []
    if layout.retrieval:
        tasks.append(read_retrieval(layout.retrieval, f"{label} retrieval", form))
    if layout.reranking:
        tasks.append(read_reranking(layout.reranking, f"{label} reranking", form))
    tasks += [read_pairs(file, f"{label} {pairs_name(file, split)}", form) for file in layout.pairs]
    return tasks


def _read_file(path: Path, split: str, form: Format) -> Task:
    label = f"{path.resolve().parent.name}/{path.name}"
    words = stem_of(path).replace("-", "_").split("_")
    if "rerank" in words:
        return read_reranking(path, label, form)
    is_pairs_table = kind_of(path) == "tsv" and not is_evaluation_data(path) and not holds_texts(path, form)
    if "pairs" in words or is_pairs_table or holds_pairs(path, form):
        return read_pairs(path, label, form)
    if is_evaluation_data(path):
        raise KitError(f"{path} is one file of several. Name their folder: --data {path.parent}.")
    raise KitError(
        f"{path} holds no labelled data: it has no column of scores, and its name does not contain rerank. "
        f"Name a file of pairs (score, text1, text2), or a folder that holds {describe_layouts(split)}."
    )
