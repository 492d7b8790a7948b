"""Decodes blocks of text files; an error names the file and the line."""

from __future__ import annotations

import codecs

from tsdae_kit.errors import KitError


def is_utf8(encoding: str) -> bool:
    """Return whether the name means UTF-8, in any spelling."""
    return codecs.lookup(encoding).name == "utf-8"


def block_encoding(encoding: str) -> str:
    """Return the encoding of a file's blocks: the file's own, or UTF-8 where its line end is not one byte (UTF-16)."""
    return encoding if "\n".encode(encoding) == b"\n" else "utf-8"


def decode_block(content: bytes, path: str, first_line: int, codec: tuple[str, str]) -> str:
    """Return a block as text.

    Args:
        content: Whole lines.
        path: The file, for errors.
        first_line: The number of the block's first line.
        codec: The encoding, and what to do with invalid bytes: ``strict`` or ``replace``. A zero byte is invalid in
            every encoding; it is replaced with a space.

    Raises:
        KitError: Naming the file and the line of an invalid byte.
    """
    encoding, errors = codec
    if (zero := content.find(b"\0")) >= 0:
        if errors != "replace":
            line = first_line + content.count(b"\n", 0, zero)
            raise KitError(
                f"{path}, line {line}: it holds a zero byte, so it is no {encoding.upper()} text. "
                "Convert the file, pass its --encoding (utf-16?), or --encoding-errors replace."
            )
        content = content.replace(b"\0", b" ")
    try:
        return content.decode(encoding, errors)
    except UnicodeDecodeError as error:
        raise invalid_byte_error(path, first_line + content.count(b"\n", 0, error.start), error, encoding) from error


def invalid_byte_error(path: str, line: int, error: UnicodeDecodeError, encoding: str) -> KitError:
    """Return the error for a byte that is invalid in the encoding."""
    byte, name = error.object[error.start], encoding.upper() if is_utf8(encoding) else encoding
    return KitError(
        f"{path}, line {line}: the byte 0x{byte:02x} is not {name}. "
        "Convert the file, pass its --encoding, or --encoding-errors replace."
    )
