"""Stage prepare: texts in, a data set of noisy/clean pairs out.

``python -m tsdae_kit.prepare corpus.txt``. A fingerprint of the input's bytes and the settings identifies the output:
a finished folder is recognised and left alone. Everything streams: chunks of the files go to worker processes, and
their rows come back in order, whatever the number of workers.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from tsdae_kit.config.python_objects import DatasetLike
from tsdae_kit.config.settings.preparation import PrepareSettings
from tsdae_kit.corpus import local_engine, ray_engine
from tsdae_kit.corpus.chunk_processor import ChunkProcessor, TextSplitter
from tsdae_kit.corpus.cleaning import CleaningRules
from tsdae_kit.corpus.deduplication import require_datasketch
from tsdae_kit.corpus.file_search import as_file, find_files
from tsdae_kit.corpus.files import content_digest
from tsdae_kit.corpus.formats import Format
from tsdae_kit.corpus.noise import Noise
from tsdae_kit.corpus.object_files import texts_as_file
from tsdae_kit.corpus.parsing import parse_texts
from tsdae_kit.corpus.preparation_report import report_preparation
from tsdae_kit.corpus.prepared_folder import KNOWN_FILES, read_manifest, write_manifest
from tsdae_kit.corpus.reading import read_chunks
from tsdae_kit.corpus.sentences import ParagraphSplitter, learn_sentences
from tsdae_kit.corpus.word_lists import common_words, read_words
from tsdae_kit.errors import KitError, first_line
from tsdae_kit.filesystem import atomic_folder, check_only_known_files, folder_lock

logger = logging.getLogger("tsdae_kit")
_ADVICE = {  # if no sentence is left, by the reason for most of the drops
    "too short": "Lower --min-chars, or check the input",
    "too long": "Cut the texts with --split sentences, or raise --max-chars",
    "few letters": "Lower --min-letters, or check the input",
    "empty": "Check the input, or name the columns that hold the text with --column",
}


def prepare(settings: PrepareSettings, texts: Iterable[str] | DatasetLike | None = None) -> Path:
    """Write the prepared data set, unless it is there already; return its folder.

    Args:
        settings: The command's.
        texts: The corpus as Python objects, instead of ``files``.

    Raises:
        KitError: For missing, empty or unreadable input, or an output folder that holds other data.
    """
    with texts_as_file(texts, settings) as with_files:
        return _prepare(with_files)


def _prepare(settings: PrepareSettings) -> Path:
    started = time.monotonic()
    output = settings.output
    with ExitStack() as stack:
        noise = _make_noise(settings)
        paths = find_files([stack.enter_context(as_file(name)) for name in settings.files])
        # Before the corpus is read: a second process waits, then finds the work done; a read-only place shows at once.
        stack.enter_context(folder_lock(output, wait=True))
        fingerprint = _compute_fingerprint(settings, noise, content_digest(paths))
        manifest = read_manifest(output)
        if manifest is not None and manifest["fingerprint"] == fingerprint:
            report_preparation(output, manifest, settings)
            logger.info("%s already holds this corpus with these settings: nothing to do.", output)
            return output
        _check_output(output, is_prepared=manifest is not None, overwrite=settings.overwrite)
        with _convert_write_errors(output), atomic_folder(output) as folder:
            manifest = {"fingerprint": fingerprint, **_write_dataset(folder, paths, settings, noise, fingerprint)}
            write_manifest(folder, manifest)
        report_preparation(output, manifest, settings)  # last: whatever fails in it, the data is in its place
    speed = (manifest["train"] + manifest["held_out"]) / (time.monotonic() - started)
    logger.info("%s sentences per second. Next: python -m tsdae_kit.train --data %s", f"{speed:,.0f}", output)
    return output


def _make_noise(settings: PrepareSettings) -> Noise:
    """Return the noise of the settings, still without a vocabulary."""
    return Noise(
        settings.deletion_ratio, settings.words, settings.seed, settings.noise,
        read_words(settings.protect, "--protect", Format.of(settings)), mask_token=settings.mask_token,
    )  # fmt: skip


def _compute_fingerprint(settings: PrepareSettings, noise: Noise, content: str) -> str:
    """Return a digest of the input and of the settings that decide the result.

    Where a setting names a file of words or a custom noise function, their content counts too.
    """
    relevant = {
        entry.name: getattr(settings, entry.name)
        for entry in fields(settings)
        if entry.metadata["recorded"] and entry.name not in ("files", "protect")
    }
    relevant["protect"] = noise.protect
    for operation, _ in noise.steps:
        if isinstance(operation, str):
            source = Path(sys.modules[operation.rpartition(".")[0]].__file__ or "")
            relevant[operation] = hashlib.blake2b(source.read_bytes(), digest_size=16).hexdigest()
    text = json.dumps([content, relevant], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _check_output(output: Path, is_prepared: bool, overwrite: bool) -> None:
    """Refuse an output that holds something else, unless it is prepared data that may be overwritten."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not is_prepared:
        raise KitError(f"{output} exists and is no prepared data set. Choose another --output.")
    if not overwrite:
        raise KitError(f"{output} holds other data or settings. Pass --overwrite, or choose another --output.")
    check_only_known_files(output, KNOWN_FILES)


@contextmanager
def _convert_write_errors(output: Path) -> Iterator[None]:
    """Turn a failed write (a full disk) into a :class:`KitError`; pyarrow's errors do not name the file."""
    try:
        yield
    except OSError as error:
        raise KitError(
            f"{output} could not be written ({first_line(error)}). Free some space (the data takes its text's size "
            "about three times while it is made), or choose another --output."
        ) from error


def _write_dataset(
    folder: Path, paths: Sequence[Path], settings: PrepareSettings, noise: Noise, fingerprint: str
) -> dict[str, Any]:
    """Write the data set into the folder; return the manifest's counts and noise.

    Raises:
        KitError: If no sentence is left, or no text has anything in a column that was asked for.
    """
    processor = _make_processor(paths, settings, noise)
    write_dataset = ray_engine.write_dataset if settings.engine == "ray" else local_engine.write_dataset
    counts = write_dataset(folder, paths, processor, settings, fingerprint)
    if not counts["train"]:
        dropped = counts["dropped"]
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items()) or "no texts"
        advice = _ADVICE.get(max(dropped, key=dropped.__getitem__, default=""), "Check the input")
        raise KitError(f"No sentence is left of {len(paths)} file(s): {reasons}. {advice}.")
    if missing := [name for name in settings.column if counts["columns"] and name not in counts["columns"]]:
        raise KitError(f"No text of the input has anything in the column {missing[0]!r}. Leave it out of --column.")
    return {**counts, "noise": asdict(processor.noise)}


def _make_processor(paths: Sequence[Path], settings: PrepareSettings, noise: Noise) -> ChunkProcessor:
    """Return the processor of chunks; a vocabulary and the ends of sentences are learned from the corpus first."""
    file_format = replace(
        Format.of(settings), columns=tuple(dict.fromkeys(settings.column)), paragraphs=settings.split == "paragraphs"
    )
    if any(kind in settings.noise for kind in ("replace", "insert")):
        noise = replace(noise, vocabulary=common_words(_read_texts(paths, file_format), settings.words))
    if settings.near_duplicates is not None:
        require_datasketch()
    return ChunkProcessor(
        file_format=file_format,
        rules=CleaningRules(settings.min_chars, settings.max_chars, settings.min_letters),
        noise=noise,
        splitter=_make_splitter(paths, file_format, settings),
        with_documents=settings.split != "line",
        with_signatures=settings.near_duplicates is not None,
        keep_dropped=settings.keep_rejects,
    )


def _make_splitter(paths: Sequence[Path], file_format: Format, settings: PrepareSettings) -> TextSplitter | None:
    if settings.split == "sentences":
        return learn_sentences(_read_texts(paths, file_format))
    return ParagraphSplitter() if settings.split == "paragraphs" else None


def _read_texts(paths: Sequence[Path], file_format: Format) -> Iterator[str]:
    return (text for chunk in read_chunks(paths, file_format) for text, _ in parse_texts(chunk, file_format))
