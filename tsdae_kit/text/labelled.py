"""Labelled pairs from files: whatever their columns are called, texts first, then what is known of them.

The columns decide what a file is: texts alone (a pair or triplet that belongs together), 0 and 1,
scores, or classes. Files are read whole, by pyarrow: labelled data is small.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, json, parquet, types

from tsdae_kit.errors import KitError, first_line
from tsdae_kit.text.files import content_digest

logger = logging.getLogger("tsdae_kit")
Labels = Literal["none", "binary", "scores", "classes"]
LABEL = "label"
_LABEL_COLUMNS = ("label", "labels", "score", "scores", "similarity", "gold_label")
_NO_TEXT = ("id", "document", "guid", "split")
# In this order a loss takes them, in whatever order a file has them; other names keep the file's order.
_ROLES = ("anchor", "query", "question", "premise", "positive", "answer", "hypothesis", "negative")
_NLI = (b"entailment", b"neutral", b"contradiction")
_SHOWN = 8  # column names in an error


@dataclass(frozen=True)
class LabelledFile:
    """The rows of one file.

    Attributes:
        path: Where they come from.
        rows: Columns of texts in the order in which a loss takes them, then ``label`` if there is one.
        labels: What the label is.
        classes: The names of the classes, in the order of their numbers.
    """

    path: Path
    rows: pa.Table
    labels: Labels
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelledPairs:
    """All files of a run.

    Attributes:
        files: One or more.
        fingerprint: A digest of their bytes.
    """

    files: tuple[LabelledFile, ...]
    fingerprint: str

    @property
    def size(self) -> int:
        """How many rows there are to train on."""
        return sum(len(file.rows) for file in self.files)

    @property
    def held_out_size(self) -> int:
        """None is held out: what helps is measured on the task's own test data."""
        return 0


def load_labelled(paths: Sequence[Path]) -> LabelledPairs:
    """Return the labelled rows of the files.

    Raises:
        KitError: For a file that is missing, damaged, or has no two columns of text.
    """
    for path in paths:
        if not path.is_file():
            raise KitError(f"There is no file {path}. Pass JSON Lines, CSV, TSV or Parquet with labelled pairs.")
    return LabelledPairs(tuple(map(_load, paths)), content_digest(paths))


def positives(file: LabelledFile) -> LabelledFile:
    """Return the texts that belong together: of labels 0 and 1 those with 1, without the label.

    Raises:
        KitError: If there are none.
    """
    if LABEL not in file.rows.column_names:
        return file
    rows = file.rows.filter(pc.equal(file.rows[LABEL], 1)).drop_columns([LABEL])
    if file.labels != "binary" or not len(rows):
        raise KitError(f"{file.path} holds no texts that belong together (labels: {file.labels}; 1 is for such pairs).")
    return replace(file, rows=rows, labels="none")


def _load(path: Path) -> LabelledFile:
    try:
        table = _read(path)
    except (OSError, ValueError) as error:  # Arrow's errors are ValueErrors
        raise KitError(f"{path} cannot be read ({first_line(error)}). Mend the file, or take it out.") from error
    label = next((name for name in _LABEL_COLUMNS if name in table.column_names), None)
    texts = [name for name in table.column_names if name not in (label, *_NO_TEXT) and _is_text(table[name].type)]
    texts.sort(key=lambda name: _ROLES.index(role) if (role := name.partition("_")[0].lower()) in _ROLES else -1)
    shown = ", ".join(table.column_names[:_SHOWN])
    if len(texts) < 2 or (label and len(texts) > 2):
        wanted = "two, with a label," if label else "at least two"
        raise KitError(f"{path} has {len(texts)} columns of text where {wanted} are needed (columns: {shown}).")
    kept = table.select([*texts, label] if label else texts).drop_null()
    for name in texts:
        kept = kept.filter(pc.not_equal(pc.utf8_trim_whitespace(kept[name]), ""))
    if dropped := len(table) - len(kept):
        logger.warning("%s: %s of %s rows lack a text or a label and are left out.", path, dropped, len(table))
    if not len(kept):
        raise KitError(f"{path} holds no row with all its texts. Its columns are: {shown}.")
    return _with_label(path, kept, texts, label)


def _with_label(path: Path, rows: pa.Table, texts: list[str], label: str | None) -> LabelledFile:
    if label is None:
        return LabelledFile(path, rows, "none")
    column, kind = rows[label], rows[label].type
    if types.is_integer(kind) or types.is_boolean(kind) or types.is_floating(kind):
        values = set(pc.unique(column).to_pylist())
        if values <= {0, 1}:
            return _labelled(path, rows.select(texts), column.cast(pa.int64()), "binary")
        if not (types.is_integer(kind) and values <= {0, 1, 2}):
            return _labelled(path, rows.select(texts), column.cast(pa.float64()), "scores")
    names = pc.unique(column.cast(pa.string())).to_pylist()
    classes = tuple(sorted(names))
    if len(classes) > 20:
        raise KitError(f"{path}: the column {label!r} holds {len(classes)} different texts, no labels.")
    numbers = pc.index_in(column.cast(pa.string()), pa.array(classes)).cast(pa.int64())
    return _labelled(path, rows.select(texts), numbers, "classes", classes)


def _labelled(path: Path, rows: pa.Table, label: Any, labels: Labels, classes: tuple[str, ...] = ()) -> LabelledFile:
    return LabelledFile(path, rows.append_column(LABEL, label), labels, classes)


def _is_text(kind: pa.DataType) -> bool:
    return bool(types.is_string(kind) or types.is_large_string(kind))


def _read(path: Path) -> pa.Table:
    name = path.name.removesuffix(".gz").lower()
    if name.endswith(".parquet"):
        return parquet.read_table(path)
    stream = pa.input_stream(str(path), compression="detect")
    if name.endswith((".jsonl", ".json", ".ndjson")):
        return json.read_json(stream)
    if name.endswith(".csv"):
        return csv.read_csv(stream, parse_options=csv.ParseOptions(newlines_in_values=True))
    if name.endswith(".tsv"):
        # Of such files most have no quotes, and those of the evaluation data no header: label, text 1, text 2
        first = pa.input_stream(str(path), compression="detect").read(10_000).split(b"\n")[0].split(b"\t")
        headless = len(first) == 3 and (_is_number(first[0]) or first[0] in _NLI)
        options = csv.ReadOptions(column_names=[LABEL, "text1", "text2"] if headless else None)
        return csv.read_csv(stream, options, csv.ParseOptions(delimiter="\t", quote_char=False))
    raise KitError(f"{path} is none of .jsonl, .csv, .tsv, .parquet. Convert it, or name it by what it is.")


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
