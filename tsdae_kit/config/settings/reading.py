"""Settings of every command that reads text files, and help texts that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tsdae_kit.config.fields import Group, setting
from tsdae_kit.corpus import defaults
from tsdae_kit.corpus.defaults import EncodingErrors, Quoting

BASE_MODEL = "all-MiniLM-L6-v2"
TRUST_HELP = "run code that comes with the model; read it first"
NOISE_HELP = "the noise function of the data, if it is your own: prepared data cannot name code to run"
DEVICE_HELP = "cpu, cuda or mps (default: the fastest available)"
SEED_PROBLEM = "--seed {} is outside 0 to 4,294,967,295"


@dataclass(frozen=True)
class ReadingSettings:
    """How the text files that a command reads are written."""

    encoding: str = setting(
        defaults.ENCODING, "encoding of text files; a byte order mark of UTF-16 or UTF-32 is recognised", Group.ADVANCED
    )
    encoding_errors: EncodingErrors = setting(
        defaults.ENCODING_ERRORS, "bytes that are invalid in --encoding: stop, or replace them", Group.ADVANCED
    )
    quoting: Quoting = setting(
        defaults.QUOTING,
        "whether quotation marks enclose fields: in CSV but not in TSV (auto); never; in both",
        Group.ADVANCED,
    )

    def validate(self) -> list[str]:
        """Return every contradiction between the settings, as sentences."""
        try:
            "\n".encode(self.encoding)
        except (LookupError, ValueError):
            return [f"--encoding {self.encoding!r} is none that Python knows (utf-8, latin-1, gb18030 are)"]
        return []


def repeated(names: Sequence[str]) -> list[str]:
    """Return a problem for each name that is passed twice."""
    return [f"{name} is named twice" for name in dict.fromkeys(names) if names.count(name) > 1]
