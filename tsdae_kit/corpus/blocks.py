"""Streams text files in blocks of about a megabyte: undecoded whole lines, or decoded text."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from tsdae_kit.corpus.decoding import block_encoding, invalid_byte_error, is_utf8
from tsdae_kit.corpus.files import convert_read_errors, open_stream
from tsdae_kit.corpus.formats import Block, Format
from tsdae_kit.errors import KitError

BLOCK_BYTES = 1 << 20
MAX_TEXT_BYTES = 64 << 20  # a longer "line" is a file without line ends, which would fill the memory
# The byte-order mark of UTF-32-LE begins with that of UTF-16-LE, so it is tried first.
_BYTE_ORDER_MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF16_LE: "utf-16",
                     codecs.BOM_UTF16_BE: "utf-16"}  # fmt: skip


def read_blocks(path: Path, file_format: Format, ends: Sequence[bytes] = (b"\n",)) -> Iterator[Block]:
    """Yield blocks that end where a text ends.

    Args:
        path: The file.
        file_format: Its encoding.
        ends: What ends a text: a line end, or blank lines.

    Raises:
        KitError: For a damaged file, or one without such ends.
    """
    lines, rest = 0, b""
    with convert_read_errors(path, lambda: f"line {lines}"), open_stream(path) as (stream, file):
        for block in _ascii_compatible_blocks(path, stream, file_format):
            rest += block
            # The end may have begun up to three bytes before this block.
            start = max(len(rest) - len(block) - 3, 0)
            found = [(at, len(end)) for end in ends if (at := rest.rfind(end, start)) >= 0]
            if found:
                cut = sum(max(found))
                whole, rest = rest[:cut], rest[cut:]
                yield Block(whole, lines + 1, file.tell())
                lines += whole.count(b"\n")
            elif len(rest) > MAX_TEXT_BYTES:
                raise KitError(
                    f"{path}, line {lines + 1}: no text ends within {MAX_TEXT_BYTES >> 20} MB. Put each text on a line."
                )
        if rest:
            yield Block(rest, lines + 1, file.tell())


def decode_stream(path: Path, stream: IO[bytes], file_format: Format) -> Iterator[str]:
    """Yield a stream as text, in blocks that may end anywhere.

    Raises:
        KitError: Naming the line of an invalid byte.
    """
    encoding = file_format.encoding
    decoder = codecs.getincrementaldecoder("utf-8-sig" if is_utf8(encoding) else encoding)(file_format.errors)
    lines = 0
    while True:
        block = stream.read(BLOCK_BYTES)
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode(encoding, "ignore")
            raise invalid_byte_error(str(path), lines + before.count("\n") + 1, error, encoding) from error
        yield text if lines or text[:1] != "\ufeff" else text[1:]
        lines += text.count("\n")
        if not block:
            return


def detect_encoding(path: Path, file_format: Format) -> str:
    """Return the file's encoding: the setting, unless that is UTF-8 and a mark says UTF-16 or UTF-32."""
    if not is_utf8(file_format.encoding):
        return file_format.encoding
    with convert_read_errors(path, lambda: "line 0"), open_stream(path) as (stream, _):
        start = stream.read(4)
    found = (encoding for mark, encoding in _BYTE_ORDER_MARKS.items() if start.startswith(mark))
    return next(found, file_format.encoding)


def first_byte(path: Path, file_format: Format) -> bytes:
    """Return the first byte of a text file that is not white space."""
    for block in read_blocks(path, file_format):
        if found := block.content.lstrip()[:1]:
            return found
    return b""


def _ascii_compatible_blocks(path: Path, stream: IO[bytes], file_format: Format) -> Iterator[bytes]:
    """Yield the stream in blocks; encodings whose line end is not one byte (UTF-16) are converted to UTF-8."""
    if block_encoding(file_format.encoding) != file_format.encoding:
        yield from (text.encode("utf-8", "replace") for text in decode_stream(path, stream, file_format))
        return
    is_start = True
    while block := stream.read(BLOCK_BYTES):
        yield block.removeprefix(codecs.BOM_UTF8) if is_start and is_utf8(file_format.encoding) else block
        is_start = False
