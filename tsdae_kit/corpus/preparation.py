"""Stage prepare: texts in, a data set of noisy/clean pairs out.

``python -m tsdae_kit.prepare corpus.txt``. The output is known by the fingerprint of its input's bytes
and its settings: run again, a finished folder is recognised and left alone. Everything streams: chunks of
the files go to worker processes and come back as rows, in order, whatever the number of workers.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from tsdae_kit.config.settings import PrepareSettings
from tsdae_kit.console import table
from tsdae_kit.corpus import local_engine, ray_engine
from tsdae_kit.corpus.chunk_processor import Recipe
from tsdae_kit.corpus.cleaning import Rules
from tsdae_kit.corpus.corpus_statistics import compute_statistics
from tsdae_kit.corpus.dataset import read_manifest, write_manifest
from tsdae_kit.corpus.deduplication import datasketch
from tsdae_kit.corpus.files import as_file, content_digest, find_files
from tsdae_kit.corpus.noise import Noise
from tsdae_kit.corpus.parsing import texts_of
from tsdae_kit.corpus.reading import TEXT, TITLE, Format, read_chunks
from tsdae_kit.corpus.sentences import Paragraphs, learn_sentences
from tsdae_kit.corpus.words import common_words, read_words
from tsdae_kit.errors import KitError, first_line, warn_on_error
from tsdae_kit.filesystem import atomic_file, atomic_folder, check_only_known_files, folder_lock
from tsdae_kit.reporting.prepared_page import make_prepared_page

logger = logging.getLogger("tsdae_kit")
REPORT = "report.html"
ADVICE = {  # where nothing is left of a corpus, by the reason for most of it
    "too short": "Lower --min-chars, or check the input",
    "too long": "Cut the texts with --split sentences, or raise --max-chars",
    "few letters": "Lower --min-letters, or check the input",
    "empty": "Check the input, or name the columns that hold the text with --column",
}
_IN_SPLIT = ("dataset_info.json", "state.json", "data-*.arrow", "cache-*.arrow", "[0-9]" * 6 + ".parquet")
# All that a prepared folder holds: what --overwrite deletes.
_WRITTEN = ("manifest.json", "dataset_dict.json", REPORT, "rejects.jsonl",
            *[f"{split}/{name}" for split in ("train", "held_out") for name in _IN_SPLIT])  # fmt: skip


def prepare(settings: PrepareSettings) -> Path:
    """Write the prepared data set, or recognise it; return its folder."""
    started = time.monotonic()
    with ExitStack() as stack:
        noise = Noise(
            settings.deletion_ratio, settings.words, settings.seed, settings.noise,
            read_words(settings.protect, "--protect", Format.of(settings)), mask_token=settings.mask_token,
        )  # fmt: skip
        paths = find_files([stack.enter_context(as_file(name)) for name in settings.files])
        output = settings.output
        # Before the corpus is read: a second process waits, then finds the work done; a read-only place shows at once.
        stack.enter_context(folder_lock(output, wait=True))
        fingerprint = _fingerprint(settings, noise, content_digest(paths))
        manifest = read_manifest(output)
        if manifest is not None and manifest["fingerprint"] == fingerprint:
            _report(output, manifest, settings)
            logger.info("%s already holds this corpus with these settings: nothing to do.", output)
            return output
        _check_output(output, is_prepared=manifest is not None, overwrite=settings.overwrite)
        with _writing(output), atomic_folder(output) as folder:
            manifest = {"fingerprint": fingerprint, **_make(folder, paths, settings, noise, fingerprint)}
            write_manifest(folder, manifest)
        _report(output, manifest, settings)  # the data have their name by now, whatever becomes of it
    speed = (manifest["train"] + manifest["held_out"]) / (time.monotonic() - started)
    logger.info("%s sentences per second. Next: python -m tsdae_kit.train --data %s", f"{speed:,.0f}", output)
    return output


@contextmanager
def _writing(output: Path) -> Iterator[None]:
    """Turn a write that fails (a full disk) into one line; pyarrow's errors do not name the file."""
    try:
        yield
    except OSError as error:
        raise KitError(
            f"{output} could not be written ({first_line(error)}). Free some space (the data takes its text's size "
            "about three times while it is made), or choose another --output."
        ) from error


def _fingerprint(settings: PrepareSettings, noise: Noise, content: str) -> str:
    """Return a digest of the input and of the settings that decide the result; also of files that these name."""
    relevant = {
        entry.name: getattr(settings, entry.name)
        for entry in fields(settings)
        if entry.metadata["recorded"] and entry.name not in ("files", "protect")
    }
    relevant["protect"] = noise.protect
    for step, _ in noise.steps:
        if isinstance(step, str):
            source = Path(sys.modules[step.rpartition(".")[0]].__file__ or "")
            relevant[step] = hashlib.blake2b(source.read_bytes(), digest_size=16).hexdigest()
    text = json.dumps([content, relevant], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _check_output(output: Path, is_prepared: bool, overwrite: bool) -> None:
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not is_prepared:
        raise KitError(f"{output} exists and is no prepared data set. Choose another --output.")
    if not overwrite:
        raise KitError(f"{output} holds other data or settings. Pass --overwrite, or choose another --output.")
    check_only_known_files(output, _WRITTEN)


def _make(
    folder: Path, paths: Sequence[Path], settings: PrepareSettings, noise: Noise, fingerprint: str
) -> dict[str, Any]:
    recipe = _make_recipe(paths, settings, noise)
    make_rows = ray_engine.make_rows if settings.engine == "ray" else local_engine.make_rows
    counts = make_rows(folder, paths, recipe, settings, fingerprint)
    if not counts["train"]:
        dropped = counts["dropped"]
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items()) or "no texts"
        advice = ADVICE.get(max(dropped, key=dropped.__getitem__, default=""), "Check the input")
        raise KitError(f"No sentence is left of {len(paths)} file(s): {reasons}. {advice}.")
    if missing := [name for name in settings.column if counts["columns"] and name not in counts["columns"]]:
        raise KitError(f"No text of the input has anything in the column {missing[0]!r}. Leave it out of --column.")
    return {**counts, "noise": asdict(recipe.noise)}


def _make_recipe(paths: Sequence[Path], settings: PrepareSettings, noise: Noise) -> Recipe:
    """Return what is done to each chunk; what must be learned from the corpus first is learned from its beginning."""
    form = replace(
        Format.of(settings), columns=tuple(dict.fromkeys(settings.column)), paragraphs=settings.split == "paragraphs"
    )

    def texts() -> Iterator[str]:
        return (text for chunk in read_chunks(paths, form) for text, _ in texts_of(chunk, form))

    if any(kind in settings.noise for kind in ("replace", "insert")):
        noise = replace(noise, vocabulary=common_words(texts(), settings.words))
    if settings.near_duplicates is not None:
        datasketch()
    cut: Any = Paragraphs() if settings.split == "paragraphs" else None
    if settings.split == "sentences":
        cut, read, found = learn_sentences(texts())
        logger.info("Sentence ends learned from %s characters: %s abbreviations.", f"{read:,}", f"{found:,}")
    rules = Rules(settings.min_chars, settings.max_chars, settings.min_letters)
    return Recipe(
        form, rules, noise, cut, documents=settings.split != "line", near=settings.near_duplicates is not None,
        keep_rejects=settings.keep_rejects,
    )  # fmt: skip


@warn_on_error("The report could not be written", "The data is whole.")
def _report(output: Path, manifest: dict[str, Any], settings: PrepareSettings) -> None:
    """Show the closing table and write it as a page, unless that is there already."""
    look = compute_statistics(output, manifest, settings.model, settings.max_length)
    counts = [("texts read", f"{manifest['read']:,}")]
    counts += [(f"  dropped: {reason}", f"{count:,}") for reason, count in manifest["dropped"].items()]
    counts += [("sentences to train on", f"{manifest['train']:,}"), ("sentences held out", f"{manifest['held_out']:,}")]
    logger.info("%s", table([*counts, *look.rows]))
    columns = manifest.get("columns", {})
    titled, texts_there = sum(columns.get(name, 0) for name in columns if name.lower() == TITLE), columns.get(TEXT, 0)
    if titled and not settings.column:
        logger.info("%s of %s texts have a title, which stands before the text (--column text leaves titles out).",
                    f"{titled:,}", f"{texts_there:,}")  # fmt: skip
    for reason, texts in manifest["examples"].items():
        logger.info("%s: %s", reason, " | ".join(f"{text:.60}" for text in texts if text.strip()))
    for clean, noisy in look.examples:
        logger.info("  clean: %.100s\n  noisy: %.100s", clean, noisy)
    page = make_prepared_page([*counts, *look.rows], look.lengths, look.examples, manifest["examples"])
    path = output / REPORT
    if not path.exists() or path.read_text(encoding="utf-8") != page:
        with atomic_file(path) as temporary:
            temporary.write_text(page, encoding="utf-8", errors="xmlcharrefreplace")
    logger.info("Written to %s; the same as a page: %s", output, path)
