"""Counts which texts of evaluation data stand in the text that a model is trained on, too: scores on them flatter it.

Compared are queries and the texts of pairs, not the documents searched: adapting to those is what the kit is for. Texts
are equal whatever their case and white space; one of several sentences is there if all of its sentences are, as
``prepare --split sentences`` would have left them. The training text streams; memory holds the evaluation data alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from tsdae_kit.config.settings import PrepareSettings, ReadingSettings
from tsdae_kit.corpus.cleaning import clean_text
from tsdae_kit.corpus.formats import Format
from tsdae_kit.corpus.parsing import read_rows
from tsdae_kit.corpus.prepared_folder import prepared_texts, read_manifest
from tsdae_kit.corpus.sentences import SentenceSplitter
from tsdae_kit.errors import KitError
from tsdae_kit.evaluation.tasks import Pairs, Task, is_proxy

logger = logging.getLogger("tsdae_kit")
Texts = Iterable[Iterable[object]]  # in batches; what is no text is passed over


def warn_of_overlap(tasks: Sequence[Task], trained_on: Texts, place: str) -> None:
    """Say in one line how many texts of the tasks are in the training text, if any are.

    Args:
        tasks: What models are scored on; proxies, which are made of the training text, are passed over.
        trained_on: The training text.
        place: What to call it.
    """
    counts = count_overlap(tasks, trained_on)
    shown = " and ".join(
        f"{found:,} of {total:,} {'texts' if isinstance(task, Pairs) else 'queries'} of {task.name}"
        for task, found, total in counts if found
    )  # fmt: skip
    if shown:
        logger.warning("!!! %s stand in the training text (%s): scores on them flatter the model.", shown, place)


def count_overlap(tasks: Sequence[Task], trained_on: Texts) -> list[tuple[Task, int, int]]:
    """Return for each task that is no proxy how many of its texts are in the training text, and how many it has."""
    tested = [(task, [_parts(text) for text in _texts(task)]) for task in tasks if not is_proxy(task)]
    wanted = {part for _, texts in tested for parts in texts for part in parts}
    found: set[str] = set()
    if wanted:
        for batch in trained_on:
            found.update(wanted.intersection(_key(text) for text in batch if isinstance(text, str)))
    return [(task, sum(_is_in(parts, found) for parts in texts), len(texts)) for task, texts in tested]


def read_training_texts(path: Path, reading: ReadingSettings, fingerprint: str) -> Texts:
    """Return what a run was trained on.

    Args:
        path: A prepared folder, or a labelled file, of which all columns are read.
        reading: How the file is written.
        fingerprint: That of the run's data.

    Raises:
        KitError: If it is not there any more, now or (of a file that cannot be read) as it is read.
    """
    if path.is_file():
        return _labelled_texts(path, reading)
    manifest = read_manifest(path)
    if manifest is None or not fingerprint.startswith(manifest["fingerprint"]):
        raise KitError(f"{path} is not there any more as it was trained on. Restore it to have it compared.")
    return prepared_texts(path)


def _labelled_texts(path: Path, reading: ReadingSettings) -> Iterator[list[object]]:
    for _, row in read_rows(path, replace(Format.of(reading), all_columns=True, header=False)):
        yield [*row.values()]
        yield from (value for value in row.values() if isinstance(value, list))


def _texts(task: Task) -> Sequence[str]:
    return (*task.first, *task.second) if isinstance(task, Pairs) else task.queries


def _parts(text: str) -> tuple[str, ...]:
    """Return what is looked for: the text, then its sentences, if it has several that ``prepare`` would take."""
    sentences = [key for part in _cutter()(text) if len(key := _key(part)) >= PrepareSettings.min_chars]
    return (_key(text), *sentences)


def _is_in(parts: Sequence[str], found: set[str]) -> bool:
    whole, *sentences = parts
    return bool(whole) and (whole in found or (bool(sentences) and found.issuperset(sentences)))


@lru_cache(maxsize=1)
def _cutter() -> SentenceSplitter:
    """Return what cuts at sentence ends, without the abbreviations that ``prepare`` learns from a corpus."""
    from nltk.tokenize.punkt import PunktSentenceTokenizer

    return SentenceSplitter(PunktSentenceTokenizer())


def _key(text: str) -> str:
    return clean_text(text).casefold()
