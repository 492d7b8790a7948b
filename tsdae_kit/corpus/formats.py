"""How a file is written (:class:`Format`), and the pieces in which it is read. A leaf: the readers build on it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from tsdae_kit.config.settings.reading import ReadingSettings
from tsdae_kit.corpus import defaults
from tsdae_kit.errors import KitError

TEXT, TITLE = "text", "title"
ID_COLUMNS = ("id", "_id")
ROWS_PER_BATCH = 4096

Row = dict[str, Any]


@dataclass(frozen=True)
class Format:
    """How the files are written, and which columns of them are read.

    Attributes:
        encoding: As the setting of this name.
        errors: As ``encoding_errors``.
        quoting: As the setting of this name.
        columns: Columns that hold the text. Empty: ``text``, with ``title`` before it where there is one.
        all_columns: Whether all columns of a row are read, whatever their names.
        header: Whether the first line of CSV and TSV names the columns. If not, their names are 1, 2, 3.
        paragraphs: Whether blank lines separate the texts of plain text.
        advice: What an error about the text column tells the user to do, with the flags of the command that reads.
    """

    encoding: str = defaults.ENCODING
    errors: str = defaults.ENCODING_ERRORS
    quoting: str = defaults.QUOTING
    columns: tuple[str, ...] = ()
    all_columns: bool = False
    header: bool = True
    paragraphs: bool = False
    advice: str = "Pass --column NAME."

    @classmethod
    def of(cls, settings: ReadingSettings) -> Format:
        """Return the format that a command's settings describe."""
        return cls(settings.encoding, settings.encoding_errors, settings.quoting)

    def select(self, names: Collection[str], where: str) -> list[str]:
        """Return the columns to read: those of the text in their order, then that of the document's id.

        Args:
            names: The file's columns.
            where: The file, for errors.

        Raises:
            KitError: If a column is missing, or two have the same name.
        """
        present = list(names)
        if self.all_columns:
            selected = present
        else:
            for column in self.columns or (TEXT,):
                if column not in present:
                    raise missing_column_error(where, column, present, self.advice)
            texts = self.columns or [*find_title(present), TEXT]
            selected = [*texts, *[key for key in ID_COLUMNS if key in present and key not in texts][:1]]
        repeated = next((name for name in selected if present.count(name) > 1), None)
        if repeated is not None:
            raise KitError(f"{where}: {present.count(repeated)} columns are called {repeated!r}. Rename all but one.")
        return selected


DEFAULT_FORMAT = Format()


@dataclass(frozen=True)
class Block:
    """Some whole lines of a text file, undecoded.

    Attributes:
        content: The bytes.
        first_line: The number of the first line, from 1.
        position: How many bytes of the file, as it lies on the disk, have been read.
    """

    content: bytes
    first_line: int
    position: int


@dataclass(frozen=True)
class RowBatch:
    """Some rows of a structured file.

    Attributes:
        rows: Values by column.
        line_numbers: The line of each row (its number, in formats without lines).
        position: How many bytes of the file, as it lies on the disk, have been read.
    """

    rows: list[Row]
    line_numbers: Sequence[int]
    position: int


@dataclass(frozen=True)
class Chunk:
    """Some whole texts or rows of one file: what a worker process gets.

    Attributes:
        path: The file, for messages.
        kind: What ``content`` is: ``lines`` or ``json`` as bytes, or parsed ``rows``.
        file_number: The file's number in the input, from 1.
        first_line: The number of the first line or row, from 1.
        content: Bytes, or rows by column.
        line_numbers: The line (or number) of each row.
        encoding: Encoding of the bytes.
        position: How many bytes of the input, over all files as they lie on the disk, have been read.
    """

    path: str
    kind: str
    file_number: int
    first_line: int
    content: bytes | list[Row]
    line_numbers: Sequence[int]
    encoding: str
    position: int


def find_title(names: Collection[str]) -> list[str]:
    """Return the title column, in any case, or an empty list."""
    return [TITLE] if TITLE in names else [name for name in names if name.lower() == TITLE][:1]


def describe_value(value: Any) -> str:
    """Return the type of a row's value in words: ``a list``, ``a number``."""
    names: dict[type, str] = {list: "a list", dict: "an object", bool: "true or false", int: "a number",
                              float: "a number", str: "text", type(None): "nothing"}  # fmt: skip
    return names.get(type(value), f"a value of type {type(value).__name__}")


def missing_column_error(where: str, column: str, names: Collection[str], advice: str) -> KitError:
    """Return the error for a missing column; it lists the columns found."""
    listed = ", ".join(map(str, names)) or "none"
    return KitError(f"{where}: there is no column {column!r} (there are: {listed:.300}). {advice}")
