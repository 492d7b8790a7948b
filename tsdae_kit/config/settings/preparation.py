"""Settings of the command ``prepare``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tsdae_kit.config.fields import Group, flag, setting
from tsdae_kit.config.settings.reading import BASE_MODEL, SEED_PROBLEM, ReadingSettings
from tsdae_kit.corpus import defaults
from tsdae_kit.corpus.defaults import WordUnit


@dataclass(frozen=True)
class PrepareSettings(ReadingSettings):
    """Settings of ``prepare_corpus``: texts in, noisy/clean pairs out."""

    files: tuple[str, ...] = setting(
        (),
        "text, JSON Lines, CSV, TSV, Parquet or Arrow files (also .gz, .bz2, .xz, .zst), folders, globs; "
        "- reads lines from standard input",
        Group.MAIN, metavar="FILES", positional=True,
    )  # fmt: skip
    output: Path = setting(Path("data/prepared"), "folder to write", Group.MAIN, record="left out")
    column: tuple[str, ...] = setting(
        (),
        "columns that hold the text (default: text, after title if there is one); numbers, without a header",
        Group.MAIN, metavar="NAME",
    )  # fmt: skip
    split: Literal["line", "sentences", "paragraphs"] = setting(
        "line",
        "one text per line or row; or split into sentences (learned from the corpus); or at blank lines",
        Group.MAIN,
    )
    noise: str = setting(
        defaults.NOISE,
        "delete, swap, mask, replace or insert, each with an optional :RATIO, or module.function; "
        "several separated by commas, as swap:0.1,delete",
        Group.NOISE,
    )
    deletion_ratio: float = setting(
        defaults.DELETION_RATIO, "share of a sentence's words to delete (0.6 in the paper)", Group.NOISE
    )
    words: WordUnit = setting(
        defaults.WORD_UNIT,
        "what a word is: Unicode words, and characters in scripts without spaces (auto); Unicode words; "
        "Treebank tokens; characters",
        Group.NOISE,
    )
    protect: Path | None = setting(None, "file of words that noise never changes, one per line", Group.NOISE)
    mask_token: str = setting(defaults.MASK_TOKEN, "replacement for masked words", Group.NOISE)
    min_chars: int = setting(
        defaults.MIN_CHARS, "drop shorter sentences (characters of scripts without spaces count as two)", Group.FILTERS
    )
    max_chars: int = setting(defaults.MAX_CHARS, "drop longer sentences", Group.FILTERS)
    min_letters: float = setting(defaults.MIN_LETTERS, "drop sentences with a smaller share of letters", Group.FILTERS)
    near_duplicates: float | None = setting(
        None, "drop sentences this similar to an earlier one (0.8 is usual; slow)", Group.FILTERS
    )
    keep_rejects: bool = setting(False, "write dropped sentences, with the reason, to rejects.jsonl", Group.FILTERS)
    held_out: float = setting(
        1000, "sentences held out of training: a share if below 1, else a count (at most a tenth of the corpus)",
        Group.MAIN,
    )  # fmt: skip
    seed: int = setting(defaults.SEED, "decides the noise and which sentences are held out", Group.ADVANCED)
    model: str = setting(
        BASE_MODEL, "base model whose tokenizer counts tokens for the report", Group.ADVANCED, record="left out"
    )
    max_length: int | None = setting(
        None, "the report counts texts with more tokens (default: the model's limit)", Group.ADVANCED,
        record="left out",
    )  # fmt: skip
    workers: int | None = setting(
        None, "processes that clean and add noise (default: one per core)", Group.HARDWARE, record="left out"
    )
    engine: Literal["local", "ray"] = setting(
        "local", "this machine, or the Ray cluster that RAY_ADDRESS names", Group.HARDWARE
    )
    overwrite: bool = setting(False, "replace other data in the output folder", Group.MAIN, record="left out")

    def validate(self) -> list[str]:
        """Return every contradiction between the settings, as sentences."""
        problems = super().validate()
        if not self.files:
            problems.append("no input given: name a text file, a folder or a glob")
        if not 0 <= self.deletion_ratio < 1:
            problems.append(f"--deletion-ratio {self.deletion_ratio} is outside 0 (keep all) to below 1")
        if not 1 <= self.min_chars <= self.max_chars:
            problems.append(f"--min-chars {self.min_chars} must be from 1 to --max-chars {self.max_chars}")
        if not 0 <= self.min_letters <= 1:
            problems.append(f"--min-letters {self.min_letters} is outside 0 to 1")
        if self.near_duplicates is not None and not 0.3 <= self.near_duplicates <= 0.95:
            problems.append(f"--near-duplicates {self.near_duplicates} is outside 0.3 (hardly alike) to 0.95")
        problems += [
            f"{flag(name)} {value} is below 1"
            for name in ("workers", "max_length")
            if (value := getattr(self, name)) is not None and value < 1
        ]
        if self.near_duplicates is not None and self.engine == "ray":
            problems.append(
                "--near-duplicates compares every sentence with all before it, which --engine ray cannot do"
            )
        if not 0 <= self.seed < 2**32:
            problems.append(SEED_PROBLEM.format(self.seed))
        if self.held_out < 0 or (self.held_out >= 1 and self.held_out != int(self.held_out)):
            problems.append(f"--held-out {self.held_out} is neither a share below 1 nor a whole number")
        return problems
