"""Finds the files that are meant, opens them plain or compressed, and knows what kind each is.

A kind is told from the name, never guessed from the content: a guess would read one file of a folder
differently from the others without a word. Test queries and judgements that lie in a folder are no corpus: training
on them would make every later score on them worthless.
"""

from __future__ import annotations

import bz2
import glob
import gzip
import hashlib
import json
import logging
import lzma
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from tsdae_kit.errors import KitError

logger = logging.getLogger("tsdae_kit")

KINDS = {
    ".txt": "lines", ".text": "lines", ".jsonl": "json", ".ndjson": "json", ".json": "json", ".csv": "csv",
    ".tsv": "tsv", ".parquet": "parquet", ".arrow": "arrow", ".feather": "arrow",
}  # fmt: skip
_COMPRESSED = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zst": None}
_LAYOUT = {"dataset_dict.json", "dataset_info.json", "state.json"}  # of a folder saved by ``datasets``
# Words in the names of test data, in the layouts that evaluate reads. Queries are some beside judgements or documents;
# by other names, beside judgements alone: many a project has questions, and a folder of documents.
_JUDGEMENTS, _LISTS = {"qrels"}, {"rerank"}
_QUERIES, _OTHER_QUERIES = {"queries"}, {"query", "topics", "questions"}
_PAIRS, _SPLITS = {"pairs", "nli", "sts"}, {"train", "dev", "test", "all"}
_DOCUMENTS = {"docs", "documents", "corpus", "passages", "collection"}


def kind_of(path: Path) -> str | None:
    """Return lines, json, csv, tsv, parquet or arrow, or ``None`` for another name; capitals make no difference."""
    *_, before, last = ["", "", *(suffix.lower() for suffix in path.suffixes)]
    return KINDS.get(before if last in _COMPRESSED else last)


def stem_of(path: Path) -> str:
    """Return a file's name without the endings that say its kind and compression, in small letters."""
    return _stem(path).lower()


def _stem(path: Path) -> str:
    name = path.name
    for endings in (_COMPRESSED, KINDS):
        ending = Path(name).suffix
        name = name.removesuffix(ending) if ending.lower() in endings else name
    return name


def is_evaluation_data(path: Path) -> bool:
    """Return whether a file's name, folder and neighbours say that it holds test queries, pairs or judgements."""
    return any(_is_evaluation_data(place) for place in dict.fromkeys((path, path.resolve())))  # also behind a link


def _is_evaluation_data(path: Path) -> bool:
    folder, own = path.resolve().parent, _words_of(path)
    if own & (_JUDGEMENTS | _LISTS) or (own & _PAIRS and own & _SPLITS):
        return True
    if own & _DOCUMENTS:
        return False
    around = _words_of(folder)
    if around & _JUDGEMENTS:
        return True
    # Queries lie beside documents or judgements, or in a folder of their own beside those
    for queries, neighbours in ((_QUERIES, _JUDGEMENTS | _DOCUMENTS), (_OTHER_QUERIES, _JUDGEMENTS)):
        places = [folder] * bool(own & queries) + [folder.parent] * bool((own | around) & queries)
        if any(_words_of(other) & neighbours for place in places for other in place.iterdir()):
            return True
    return False


def _words_of(path: Path) -> set[str]:
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", _stem(path))
    return set(re.split(r"[\W_]+", parted.lower()))


def find_files(names: Sequence[str]) -> list[Path]:
    """Return the files meant by file names, folders (searched to the bottom) and globs, sorted within each.

    A folder saved by ``datasets`` gives the files it lists; a folder that is met twice is searched once.

    Raises:
        KitError: Naming every input that is missing, empty or a folder without texts.
    """
    found: dict[Path, Path] = {}  # by where they really are: one file given twice, or through links, is read once
    problems: list[str] = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            matches = _search(path)
            if not matches:
                problems.append(f"The folder {name} holds no texts ({', '.join(KINDS)}, also compressed)")
        elif path.exists():
            matches = [path]
            if path.is_file() and is_evaluation_data(path):
                problems.append(f"{name} holds evaluation data, which must not be trained on: name the documents alone")
        else:
            there = sorted(Path(p) for p in glob.glob(name, recursive=True) if Path(p).is_file())  # noqa: PTH207
            matches = _leave_out_evaluation_data(name, there)
            if not matches:
                problems.append(f"There is no file {name}" + " but evaluation data" * bool(there))
        problems += [f"The file {p} is empty" for p in matches if p.is_file() and p.stat().st_size == 0]
        for match in matches:
            found.setdefault(match.resolve(), match)
    if problems:
        raise KitError(". ".join(problems) + ". Name files of texts.")
    return list(found.values())


def _search(folder: Path) -> list[Path]:
    """Return the files of texts in a folder; what is hidden (editors' copies, ``._corpus.txt`` of macOS) is none."""
    found: list[Path] = []
    others: set[str] = set()
    objects: list[str] = []
    seen: set[tuple[int, int]] = set()

    def refuse(error: OSError) -> None:
        raise KitError(f"{error.filename}: {error.strerror}. Check its permissions, or name the files.") from error

    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        where = Path(place).stat()
        if (where.st_dev, where.st_ino) in seen:  # links that go round in a circle
            folders.clear()
            continue
        seen.add((where.st_dev, where.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        listed = _listed(Path(place))
        for name in sorted(name for name in names if not name.startswith(".")):
            path = Path(place, name)
            if path.is_file() and kind_of(path) and (listed is None or name in listed) and name not in _LAYOUT:
                if path.suffix.lower() == ".json" and _is_one_object(path):
                    objects.append(str(path.relative_to(folder)))
                else:
                    found.append(path)
            elif listed is None and name not in _LAYOUT:
                others.add(path.suffix or name)
    if found and others:
        logger.info("%s: files of other kinds are passed over (%s).", folder, ", ".join(sorted(others)[:8]))
    if found and objects:
        logger.info("%s: a JSON file that is one object holds no rows and is passed over (%s).", folder,
                    ", ".join(sorted(objects)[:8]))  # fmt: skip
    return _leave_out_evaluation_data(str(folder), sorted(found))


def _is_one_object(path: Path) -> bool:
    """Return whether a JSON file is neither a list nor lines of objects: its first line is no whole object."""
    with path.open("rb") as stream:
        lines = (line for line in map(bytes.strip, stream) if line)
        first, second = next(lines, b"").removeprefix(b"\xef\xbb\xbf"), next(lines, b"")
    if not first.startswith(b"{"):
        return False
    try:
        json.loads(first)
    except ValueError:
        return True
    return not second  # a configuration on one line, or a single row, which is not much of a corpus


def _leave_out_evaluation_data(where: str, paths: Sequence[Path]) -> list[Path]:
    """Return the files that are no evaluation data, and say which are."""
    tests = [path for path in paths if is_evaluation_data(path)]
    if tests:
        names = ", ".join(dict.fromkeys(path.name for path in tests))
        logger.warning("%s: %s: evaluation data, which is left out of the corpus.", where, f"{names:.200}")
    return [path for path in paths if path not in set(tests)]


def _listed(folder: Path) -> set[str] | None:
    """Return the names of the data files in a folder saved by ``datasets`` (others there are its caches)."""
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        return {entry["filename"] for entry in state["_data_files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def as_file(name: str) -> Iterator[str]:
    """Yield a name for what can be read only once (standard input, a pipe): it is copied, as it is read twice."""
    path = Path(name)
    if name != "-" and (not path.exists() or path.is_dir() or path.is_file()):
        yield name
        return
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / ("standard input" if name == "-" else path.name)
        with copy.open("wb") as target:
            if name == "-":
                shutil.copyfileobj(sys.stdin.buffer, target)
            else:
                with path.open("rb") as source:
                    shutil.copyfileobj(source, target)
        yield str(copy)


@contextmanager
def open_stream(path: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Yield the file's bytes, decompressed, and the file below, whose position tells how far reading has come."""
    with path.open("rb") as below:
        suffix = path.suffix.lower()
        if suffix == ".zst":
            import pyarrow

            stream: Any = pyarrow.CompressedInputStream(pyarrow.PythonFile(below), "zstd")
        elif opener := _COMPRESSED.get(suffix):
            stream = opener(below)
        else:
            stream = below
        yield cast("IO[bytes]", stream), below


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
