"""The kinds of files: which kind a name means, which names mean evaluation data, and how a file is opened.

The name decides the kind, never the content: by content, one file of a folder could be read differently from the
others without a word.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import hashlib
import lzma
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa

from tsdae_kit.errors import KitError

KINDS = {
    ".txt": "lines", ".text": "lines", ".jsonl": "json", ".ndjson": "json", ".json": "json", ".csv": "csv",
    ".tsv": "tsv", ".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow",
}  # fmt: skip
_OPENERS: dict[str, Callable[[IO[bytes]], Any]] = {
    ".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open,
    ".zst": lambda file: pa.CompressedInputStream(pa.PythonFile(file), "zstd"),
}  # fmt: skip
# Words in the names of evaluation data, in the layouts that evaluate reads. Files called queries are evaluation data
# if judgements or documents lie in the same folder; by their other names, only if judgements do: many a project has
# a file of questions and a folder of documents.
_JUDGEMENTS, _RANKED_LISTS = {"qrels"}, {"rerank"}
_QUERIES, _OTHER_QUERIES = {"queries"}, {"query", "topics", "questions"}
_PAIRS, _SPLITS = {"pairs", "nli", "sts"}, {"train", "dev", "test", "all"}
_DOCUMENTS = {"docs", "documents", "corpus", "passages", "collection"}


def kind_of(path: Path) -> str | None:
    """Return lines, json, csv, tsv, parquet or arrow, or ``None`` for another name; case makes no difference."""
    *_, before, last = ["", "", *(suffix.lower() for suffix in path.suffixes)]
    return KINDS.get(before if last in _OPENERS else last)


def stem_of(path: Path) -> str:
    """Return a file's name in lower case, without the suffixes of its kind and compression."""
    return _stem(path).lower()


def _stem(path: Path) -> str:
    name = path.name
    for suffixes in (_OPENERS, KINDS):
        suffix = Path(name).suffix
        name = name.removesuffix(suffix) if suffix.lower() in suffixes else name
    return name


def is_evaluation_data(path: Path) -> bool:
    """Return whether a file's name, folder and neighbours say that it holds evaluation queries, pairs or judgements."""
    return any(map(_is_named_evaluation_data, dict.fromkeys((path, path.resolve()))))  # also the target of a link


def _is_named_evaluation_data(path: Path) -> bool:
    folder, own = path.resolve().parent, _words_of(path)
    if own & (_JUDGEMENTS | _RANKED_LISTS) or (own & _PAIRS and own & _SPLITS):
        return True
    if own & _DOCUMENTS:
        return False
    folder_words = _words_of(folder)
    if folder_words & _JUDGEMENTS:
        return True
    # Queries lie in the folder of the documents or judgements, or in a folder next to theirs.
    for queries, neighbours in ((_QUERIES, _JUDGEMENTS | _DOCUMENTS), (_OTHER_QUERIES, _JUDGEMENTS)):
        places = [folder] * bool(own & queries) + [folder.parent] * bool((own | folder_words) & queries)
        if any(_words_of(other) & neighbours for place in places for other in place.iterdir()):
            return True
    return False


def _words_of(path: Path) -> set[str]:
    separated = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", _stem(path))
    return set(re.split(r"[\W_]+", separated.lower()))


@contextmanager
def open_stream(path: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Yield the file's decompressed bytes, and the file itself, whose position is the progress of reading."""
    with path.open("rb") as file:
        opener = _OPENERS.get(path.suffix.lower())
        yield cast("IO[bytes]", opener(file)) if opener else file, file


@contextmanager
def convert_read_errors(path: Path, position: Callable[[], str]) -> Iterator[None]:
    """Turn the errors that libraries raise for a damaged file into a :class:`KitError`.

    Args:
        path: The file.
        position: Returns the last line or row that was read.
    """
    try:
        yield
    except (OSError, EOFError, zlib.error, lzma.LZMAError, csv.Error, ValueError, KeyError,
            NotImplementedError, MemoryError) as error:  # the last three: pyarrow, for damaged files  # fmt: skip
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise KitError(f"{path}, after {position()}: {reason}. Check that the file is whole and readable.") from error


def content_digest(paths: Sequence[Path]) -> str:
    """Return a digest of the files' bytes and kinds, in order (not their names: a moved corpus is the same corpus)."""
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        try:
            with path.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise KitError(f"{path} cannot be read ({error.strerror}). Check its permissions.") from error
        digest.update(f"\0end of a file of {kind_of(path)}\0".encode())
    return digest.hexdigest()
