"""Finds evaluation data by file names, in the project's own layout, BEIR's and TREC's.

File kinds, upper-case endings and compression are as for all text files. If two files could have the same role, the
first in the order below is read, and the other is logged: a score must not depend on a file that nobody meant.
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
_TABLE_KINDS = ("json", "csv", "tsv", "parquet", "arrow")
_QRELS_FOLDER = "qrels"


@dataclass(frozen=True)
class RetrievalFiles:
    """The files of retrieval: queries and documents, which the splits may share, and the judgements of one split."""

    queries: Path
    docs: Path
    qrels: Path


@dataclass(frozen=True)
class Layout:
    """The files of one split in a folder.

    Attributes:
        retrieval: The files of retrieval, if there are judgements.
        reranking: The file of reranking lists.
        pairs: The files of pairs.
    """

    retrieval: RetrievalFiles | None
    reranking: Path | None
    pairs: tuple[Path, ...]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to score."""
        return not (self.retrieval or self.reranking or self.pairs)


def find_layout(folder: Path, split: str) -> Layout:
    """Return the folder's files for a split; without a split in its name, a file is ``test``, queries are of any split.

    Raises:
        KitError: For judgements without queries or documents.
    """
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    tables = [path for path in files if kind_of(path) in _TABLE_KINDS]
    return Layout(
        retrieval=_find_retrieval(folder, files, tables, split),
        reranking=_first(_with_roles(tables, [f"rerank_{split}", *["rerank"] * (split == "test")])),
        pairs=tuple(_find_pairs(tables, split)),
    )


def _find_retrieval(folder: Path, files: Sequence[Path], tables: Sequence[Path], split: str) -> RetrievalFiles | None:
    subfolders = [path for path in sorted(folder.iterdir()) if _is_qrels_folder(path)]
    beir = [path for place in subfolders for path in sorted(place.iterdir()) if path.is_file() and _role(path) == split]
    own = _with_roles(files, [f"qrels_{split}", f"{split}_qrels", *["qrels"] * (split == "test")])
    qrels = _first([*own, *beir])
    if qrels is None:
        return None
    queries = _first(_with_roles(tables, [f"queries_{split}"])) or _first(_with_roles(tables, ["queries"]))
    docs = _first(_with_roles(tables, ["docs", "corpus"]))
    if queries is None or docs is None:
        missing = "queries.jsonl" if queries is None else "docs.jsonl (or corpus.jsonl)"
        raise KitError(
            f"{folder} holds {qrels.name} but no {missing}. Retrieval needs queries, documents and judgements."
        )
    return RetrievalFiles(queries, docs, qrels)


def _find_pairs(tables: Sequence[Path], split: str) -> list[Path]:
    """Return the files of pairs for the split; a ``decided`` version replaces its file."""
    files: dict[str, Path] = {}
    for path in tables:
        if {"pairs", split} <= set((role := _role(path)).split("_")) and role not in files:
            files[role] = _first(_with_roles(tables, [role])) or path
    return [path for role, path in files.items() if f"{role}_decided" not in files]


def _role(path: Path) -> str:
    """Return the file's name as one spelling of its role: ``QRELS.dev.tsv.gz``, ``qrels-dev.tsv`` -> ``qrels_dev``."""
    return re.sub("[.-]", "_", stem_of(path))


def _with_roles(files: Iterable[Path], roles: Sequence[str]) -> list[Path]:
    """Return the files that have one of the roles, in the order of the roles."""
    return sorted((path for path in files if _role(path) in roles), key=lambda path: roles.index(_role(path)))


def _first(candidates: Sequence[Path]) -> Path | None:
    if len(candidates) > 1:
        ignored = ", ".join("/".join(path.parts[-2:]) for path in candidates[1:])
        logger.info("%s is read; ignored: %s.", candidates[0], ignored)
    return candidates[0] if candidates else None


def _is_qrels_folder(path: Path) -> bool:
    return path.is_dir() and path.name.lower() == _QRELS_FOLDER


def describe_layouts(split: str) -> str:
    """Return the names of the files that a folder may hold for a split."""
    end = "" if split == "test" else f"_{split}"
    return (
        f"queries{end}.jsonl with docs.jsonl and qrels{end}.tsv, or queries.jsonl with corpus.jsonl and "
        f"qrels/{split}.tsv (BEIR's); rerank{end}.jsonl; pairs_{split}.tsv"
    )


def list_folder(folder: Path) -> str:
    """Return the names of a folder's files, also of those in ``qrels``."""
    names = []
    for path in sorted(folder.iterdir()):
        is_qrels = _is_qrels_folder(path)
        names += [f"{path.name}/{file.name}" for file in sorted(path.iterdir())] if is_qrels else [path.name]
    return ", ".join(names) or "nothing"


def pairs_name(path: Path, split: str) -> str:
    """Return ``pairs`` and the rest of a file's name: ``pairs_pit_test.tsv`` -> ``pairs pit``."""
    rest = re.sub(rf"(?i)(?<![^_.-])(pairs|{split})(?![^_.-])", "", path.name[: len(stem_of(path))])
    return " ".join(["pairs", *filter(None, (word.strip(".-") for word in rest.split("_")))])
