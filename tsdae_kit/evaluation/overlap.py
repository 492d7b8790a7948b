"""Counts the evaluation texts that are also in a model's training text, where scores are optimistic.

Queries and the texts of pairs count; the documents searched do not, because a model may be adapted to them. Texts are
equal in any case and white space. A text of several sentences also counts if all its sentences are there, as
``prepare --split sentences`` leaves them. The training text streams; memory holds only the evaluation data.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from nltk.tokenize.punkt import PunktSentenceTokenizer

from tsdae_kit.config.settings.preparation import PrepareSettings
from tsdae_kit.config.settings.reading import ReadingSettings
from tsdae_kit.corpus.cleaning import clean_text
from tsdae_kit.corpus.formats import Format
from tsdae_kit.corpus.parsing import read_rows
from tsdae_kit.corpus.prepared_folder import prepared_texts, read_manifest
from tsdae_kit.corpus.sentences import SentenceSplitter
from tsdae_kit.errors import KitError
from tsdae_kit.evaluation.tasks import Pairs, Task

logger = logging.getLogger("tsdae_kit")
TextBatches = Iterable[Iterable[object]]  # values other than texts are ignored


@dataclass(frozen=True)
class Overlap:
    """How many texts of a task are in the training text."""

    task: Task
    count: int
    total: int


def warn_of_overlap(tasks: Sequence[Task], training_texts: TextBatches, source: str) -> None:
    """Log how many texts of the tasks are in the training text, if any.

    Args:
        tasks: The tasks.
        training_texts: The training text.
        source: The name of the training text for the message.
    """
    shown = " and ".join(
        f"{overlap.count:,} of {overlap.total:,} {'texts' if isinstance(overlap.task, Pairs) else 'queries'} of "
        f"{overlap.task.name}"
        for overlap in count_overlap(tasks, training_texts)
        if overlap.count
    )
    if shown:
        logger.warning("!!! %s are in the training text (%s): scores on them are optimistic.", shown, source)


def count_overlap(tasks: Sequence[Task], training_texts: TextBatches) -> list[Overlap]:
    """Return the overlap of each task with the training text."""
    keys_by_task = [(task, [_keys(text) for text in _evaluated_texts(task)]) for task in tasks]
    all_keys = {key for _, keys_of_texts in keys_by_task for keys in keys_of_texts for key in keys}
    seen: set[str] = set()
    if all_keys:
        for batch in training_texts:
            seen.update(all_keys.intersection(_normalize(text) for text in batch if isinstance(text, str)))
    return [
        Overlap(task, sum(_is_seen(keys, seen) for keys in keys_of_texts), len(keys_of_texts))
        for task, keys_of_texts in keys_by_task
    ]


def read_training_texts(path: Path, reading: ReadingSettings, fingerprint: str) -> TextBatches:
    """Return the texts that a run was trained on.

    Args:
        path: A prepared folder, or a labelled file, whose columns are all read.
        reading: The encoding and quoting of the file.
        fingerprint: The fingerprint of the run's data.

    Raises:
        KitError: If the data is missing or has changed; for a file, also while it is read.
    """
    if path.is_file():
        return _labelled_texts(path, reading)
    manifest = read_manifest(path)
    if manifest is None or not fingerprint.startswith(manifest["fingerprint"]):
        raise KitError(f"{path} is missing or has changed since the training. Restore it to compare it.")
    return prepared_texts(path)


def _labelled_texts(path: Path, reading: ReadingSettings) -> Iterator[list[object]]:
    for _, row in read_rows(path, replace(Format.of(reading), all_columns=True, header=False)):
        yield [*row.values()]
        yield from (value for value in row.values() if isinstance(value, list))


def _evaluated_texts(task: Task) -> Sequence[str]:
    return (*task.first, *task.second) if isinstance(task, Pairs) else task.queries


def _keys(text: str) -> tuple[str, ...]:
    """Return the normalized text, then its sentences, if it has several that ``prepare`` keeps."""
    sentences = map(_normalize, _sentence_splitter()(text))
    return (_normalize(text), *(key for key in sentences if len(key) >= PrepareSettings.min_chars))


def _is_seen(keys: Sequence[str], seen: set[str]) -> bool:
    text, *sentences = keys
    return bool(text) and (text in seen or (bool(sentences) and seen.issuperset(sentences)))


@lru_cache(maxsize=1)
def _sentence_splitter() -> SentenceSplitter:
    """Return the sentence splitter of ``prepare``, without abbreviations learned from a corpus."""
    return SentenceSplitter(PunktSentenceTokenizer())


def _normalize(text: str) -> str:
    return clean_text(text).casefold()
