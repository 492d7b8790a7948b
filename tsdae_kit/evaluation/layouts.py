"""Finds the files of evaluation data: by their names, in the project's own layout, BEIR's and TREC's.

Kinds, endings in capitals and compression are those of all files of text. Where two files could play one role, the
first in the order below does, and the other is named: a score must not depend on a file that nobody meant.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tsdae_kit.corpus.files import kind_of, stem_of
from tsdae_kit.errors import KitError

logger = logging.getLogger("tsdae_kit")
_TABLES = ("json", "csv", "tsv", "parquet", "arrow")
_JUDGEMENT_FOLDER = "qrels"


@dataclass(frozen=True)
class SearchFiles:
    """The files of retrieval: queries and documents, which may be those of all splits, and a split's judgements."""

    queries: Path
    docs: Path
    qrels: Path


@dataclass(frozen=True)
class Layout:
    """The files of a folder that belong to one split.

    Attributes:
        search: Those of retrieval, if there are judgements.
        rerank: The reranking lists.
        pairs: The files of pairs.
    """

    search: SearchFiles | None
    rerank: Path | None
    pairs: tuple[Path, ...]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to score."""
        return not (self.search or self.rerank or self.pairs)


def find_layout(folder: Path, split: str) -> Layout:
    """Return the folder's files for a split; a name without a split means ``test``, of queries any split.

    Raises:
        KitError: For judgements without queries or documents.
    """
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    tables = [path for path in files if kind_of(path) in _TABLES]
    plain = split == "test"
    return Layout(
        search=_find_search(folder, files, tables, split),
        rerank=_first(_named(tables, [f"rerank_{split}", *["rerank"] * plain])),
        pairs=tuple(_find_pairs(tables, split)),
    )


def _find_search(folder: Path, files: Sequence[Path], tables: Sequence[Path], split: str) -> SearchFiles | None:
    subfolders = [path for path in sorted(folder.iterdir()) if path.is_dir() and path.name.lower() == _JUDGEMENT_FOLDER]
    beir = [path for place in subfolders for path in sorted(place.iterdir()) if path.is_file() and _name(path) == split]
    own = _named(files, [f"qrels_{split}", f"{split}_qrels", *["qrels"] * (split == "test")])
    qrels = _first([*own, *beir])
    if qrels is None:
        return None
    queries = _first(_named(tables, [f"queries_{split}"])) or _first(_named(tables, ["queries"]))
    docs = _first(_named(tables, ["docs", "corpus"]))
    if queries is None or docs is None:
        missing = "queries.jsonl" if queries is None else "docs.jsonl (or corpus.jsonl)"
        raise KitError(
            f"{folder} holds {qrels.name} and no {missing}. Retrieval takes queries, documents and judgements."
        )
    return SearchFiles(queries, docs, qrels)


def describe_layouts(split: str) -> str:
    """Return the names of the files that a folder may hold for a split."""
    end = "" if split == "test" else f"_{split}"
    return (
        f"queries{end}.jsonl with docs.jsonl and qrels{end}.tsv, or queries.jsonl with corpus.jsonl and "
        f"qrels/{split}.tsv (BEIR's); rerank{end}.jsonl; pairs_{split}.tsv"
    )


def list_folder(folder: Path) -> str:
    """Return the names of what a folder holds, and of the judgements of BEIR's layout."""
    names = []
    for path in sorted(folder.iterdir()):
        inside = path.is_dir() and path.name.lower() == _JUDGEMENT_FOLDER
        names += [f"{path.name}/{file.name}" for file in sorted(path.iterdir())] if inside else [path.name]
    return ", ".join(names) or "nothing"


def pairs_name(path: Path, split: str) -> str:
    """Return ``pairs`` and what else the file's name says: ``pairs_pit_test.tsv`` -> ``pairs pit``."""
    shown = re.sub(rf"(?i)(?<![^_.-])(pairs|{split})(?![^_.-])", "", path.name[: len(stem_of(path))])
    return " ".join(["pairs", *filter(None, (part.strip(".-") for part in shown.split("_")))])


def _name(path: Path) -> str:
    """Return the name by which a file's role is known: ``QRELS.dev.tsv.gz`` and ``qrels-dev.tsv`` are qrels_dev."""
    return re.sub("[.-]", "_", stem_of(path))


def _named(files: Iterable[Path], names: Sequence[str]) -> list[Path]:
    return sorted((path for path in files if _name(path) in names), key=lambda path: names.index(_name(path)))


def _first(candidates: Sequence[Path]) -> Path | None:
    if len(candidates) > 1:
        others = ", ".join("/".join(path.parts[-2:]) for path in candidates[1:])
        logger.info("%s is read, and not %s.", candidates[0], others)
    return candidates[0] if candidates else None


def _find_pairs(tables: Sequence[Path], split: str) -> list[Path]:
    """Return the files of pairs for the split; one of which there is a ``decided`` version gives way to that."""
    found: dict[str, Path] = {}
    for path in tables:
        if {"pairs", split} <= set((name := _name(path)).split("_")) and name not in found:
            found[name] = _first(_named(tables, [name])) or path
    return [path for name, path in found.items() if f"{name}_decided" not in found]
