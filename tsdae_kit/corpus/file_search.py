"""Finds the files that the user means.

Evaluation queries and judgements in a folder are left out: training on them would make every later score worthless.
"""

from __future__ import annotations

import glob
import json
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tsdae_kit.corpus.files import KINDS, is_evaluation_data, kind_of
from tsdae_kit.errors import KitError

logger = logging.getLogger("tsdae_kit")
_DATASET_FILES = {"dataset_dict.json", "dataset_info.json", "state.json"}  # of a folder saved by ``datasets``


def find_files(names: Sequence[str]) -> list[Path]:
    """Return the files that names mean: of files, folders (searched recursively) and globs, sorted within each.

    Of a folder saved by ``datasets``, the files are those that it lists. A folder met twice is searched once.

    Raises:
        KitError: Naming every input that is missing, empty, evaluation data or a folder without texts.
    """
    found: dict[Path, Path] = {}  # by the resolved path: a file named twice, or through links, is read once
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
            globbed = sorted(Path(p) for p in glob.glob(name, recursive=True) if Path(p).is_file())  # noqa: PTH207
            matches = _drop_evaluation_data(name, globbed)
            if not matches:
                problems.append(f"There is no file {name}" + " but evaluation data" * bool(globbed))
        problems += [f"The file {p} is empty" for p in matches if p.is_file() and p.stat().st_size == 0]
        for match in matches:
            found.setdefault(match.resolve(), match)
    if problems:
        raise KitError(". ".join(problems) + ". Name files of texts.")
    return list(found.values())


def _search(folder: Path) -> list[Path]:
    """Return the text files below a folder, without hidden ones (editors' copies, ``._corpus.txt`` of macOS)."""
    found: list[Path] = []
    other_kinds: set[str] = set()
    objects: list[str] = []
    for place, names in _walk(folder):
        listed = _listed_files(place)
        for path in (place / name for name in names):
            if path.is_file() and kind_of(path) and (listed is None or path.name in listed):
                if path.suffix.lower() == ".json" and _is_one_object(path):
                    objects.append(str(path.relative_to(folder)))
                else:
                    found.append(path)
            elif listed is None:
                other_kinds.add(path.suffix or path.name)
    if found and other_kinds:
        logger.info("%s: files of other kinds are passed over (%s).", folder, ", ".join(sorted(other_kinds)[:8]))
    if found and objects:
        logger.info("%s: a JSON file that is one object holds no rows and is passed over (%s).", folder,
                    ", ".join(sorted(objects)[:8]))  # fmt: skip
    return _drop_evaluation_data(str(folder), sorted(found))


def _walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield each folder with the names of its files, without hidden ones and the layout files of ``datasets``."""
    seen: set[tuple[int, int]] = set()

    def refuse(error: OSError) -> None:
        raise KitError(f"{error.filename}: {error.strerror}. Check its permissions, or name the files.") from error

    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        status = Path(place).stat()
        if (status.st_dev, status.st_ino) in seen:  # a circle of links
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(place), sorted(name for name in names if not name.startswith(".") and name not in _DATASET_FILES)


def _is_one_object(path: Path) -> bool:
    """Return whether a JSON file is a single object: no list, and no lines of objects."""
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


def _drop_evaluation_data(where: str, paths: Sequence[Path]) -> list[Path]:
    """Return the other files, and log the names of the evaluation data."""
    dropped = [path for path in paths if is_evaluation_data(path)]
    if dropped:
        names = ", ".join(dict.fromkeys(path.name for path in dropped))
        logger.warning("%s: %s: evaluation data, which is left out of the corpus.", where, f"{names:.200}")
    return [path for path in paths if path not in set(dropped)]


def _listed_files(folder: Path) -> set[str] | None:
    """Return the names of the data files in a folder saved by ``datasets`` (others there are its caches)."""
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        return {entry["filename"] for entry in state["_data_files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def as_file(name: str) -> Iterator[str]:
    """Yield a name that can be read twice: standard input or a pipe is copied to a temporary file."""
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
