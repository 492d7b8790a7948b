"""Choices and defaults of the corpus classes, which the settings of the command line take over.

Imports nothing of the package and no library, so that ``--help`` stays fast. Each default is written here alone.
"""

from __future__ import annotations

from typing import Literal

EncodingErrors = Literal["strict", "replace"]
Quoting = Literal["auto", "none", "quotes"]
WordUnit = Literal["auto", "unicode", "nltk", "characters"]

ENCODING = "utf-8"
ENCODING_ERRORS: EncodingErrors = "strict"
QUOTING: Quoting = "auto"

NOISE = "delete"
DELETION_RATIO = 0.6
WORD_UNIT: WordUnit = "auto"
MASK_TOKEN = "[MASK]"
SEED = 42

MIN_CHARS = 10
MAX_CHARS = 2000
MIN_LETTERS = 0.3
