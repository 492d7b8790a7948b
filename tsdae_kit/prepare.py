"""Stage prepare: text files in, a data set of noisy/clean pairs out.

``python -m tsdae_kit.prepare corpus.txt``. The output is known by the fingerprint of its input's bytes
and its settings: run again, a finished folder is recognised and left alone.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from tsdae_kit.console import quiet_frameworks, show_messages, table
from tsdae_kit.settings import KitError, PrepareSettings, make_settings, parse_arguments, run_command

logger = logging.getLogger("tsdae_kit")


def prepare_corpus(**given: Any) -> Path:
    """Turn text files into noisy/clean pairs; return the folder written.

    Args:
        **given: Fields of :class:`tsdae_kit.settings.PrepareSettings`, for example
            ``files=["corpus.txt"], output="data/prepared"``.

    Raises:
        KitError: For missing, empty or undecodable input, or an output folder that holds other data.
            Nothing is left under the output's name then.
    """
    settings = make_settings(PrepareSettings, given)
    with show_messages(), quiet_frameworks():
        return _prepare(settings)


def _prepare(settings: PrepareSettings) -> Path:
    from tsdae_kit.folders import locked, new_folder
    from tsdae_kit.text.pairs import read_manifest
    from tsdae_kit.text.reading import content_digest, find_files

    started = time.monotonic()
    paths = find_files(settings.files)
    fingerprint = _fingerprint(settings, content_digest(paths))
    output = settings.output
    with locked(output, wait=True):  # a second process on the same output waits, then finds the work done
        manifest = read_manifest(output)
        if manifest is not None and manifest["fingerprint"] == fingerprint:
            logger.info("%s already holds this corpus with these settings: nothing to do.", output)
            return output
        _check_replaceable(output, is_prepared=manifest is not None, overwrite=settings.overwrite)
        with new_folder(output) as folder:
            manifest = _write(folder, paths, settings, fingerprint)
    _report(output, manifest, time.monotonic() - started)
    return output


def _fingerprint(settings: PrepareSettings, content: str) -> str:
    relevant = {k: v for k, v in asdict(settings).items() if k not in ("files", "output", "overwrite")}
    text = json.dumps([content, relevant], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _check_replaceable(output: Path, is_prepared: bool, overwrite: bool) -> None:
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not is_prepared:
        raise KitError(f"{output} exists and is no prepared data set. Choose another --output.")
    if not overwrite:
        raise KitError(f"{output} holds other data or settings. Pass --overwrite, or choose another --output.")


def _write(folder: Path, paths: Sequence[Path], settings: PrepareSettings, fingerprint: str) -> dict[str, Any]:
    from tsdae_kit.text.cleaning import SentenceFilter
    from tsdae_kit.text.noise import Noise
    from tsdae_kit.text.pairs import write_manifest, write_pairs

    noise = Noise(settings.deletion_ratio, settings.words, settings.seed)
    sieve = SentenceFilter(settings.min_chars, settings.max_chars)
    sentences = partial(_sentences, paths, settings.encoding_errors, sieve)
    train, held_out = write_pairs(folder, sentences(), noise, settings.held_out)
    dropped = {reason: count for reason, count in sieve.dropped.items() if count}
    if not train:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items()) or "no lines"
        raise KitError(f"No sentence is left of {len(paths)} file(s): {reasons}. Check the input, or --min-chars.")
    manifest = {
        "fingerprint": fingerprint,
        "files": [os.fsencode(path).decode("utf-8", "replace") for path in paths],
        "read": sieve.kept + sum(sieve.dropped.values()),
        "dropped": dropped,
        "train": train,
        "held_out": held_out,
        "noise": asdict(noise),
    }
    write_manifest(folder, manifest)
    return manifest


def _sentences(paths: Sequence[Path], errors: str, sieve: Any) -> Iterator[str]:
    from tsdae_kit.text.reading import read_lines

    for path in paths:
        for line in read_lines(path, errors):
            if (sentence := sieve.accept(line)) is not None:
                yield sentence


def _report(output: Path, manifest: dict[str, Any], seconds: float) -> None:
    from tsdae_kit.text.pairs import load_pairs
    from tsdae_kit.text.words import SPLITTERS

    corpus = load_pairs(output)
    sample = corpus.train[: min(1000, len(corpus.train))]
    split = SPLITTERS[corpus.noise.words]
    words = sum(len(split(text)) for text in sample["clean"])
    left = sum(len(split(text)) for text in sample["noisy"])
    rows = [("lines read", f"{manifest['read']:,}")]
    rows += [(f"  dropped: {reason}", f"{count:,}") for reason, count in manifest["dropped"].items()]
    rows += [
        ("sentences to train on", f"{manifest['train']:,}"),
        ("sentences held out", f"{manifest['held_out']:,}"),
        ("words deleted", f"{1 - left / max(words, 1):.1%}"),
        ("sentences per second", f"{(manifest['train'] + manifest['held_out']) / seconds:,.0f}"),
    ]
    logger.info("%s", table(rows))
    for noisy, clean in list(zip(sample["noisy"], sample["clean"], strict=True))[:3]:
        logger.info("  clean: %.100s\n  noisy: %.100s", clean, noisy)
    logger.info("Written to %s. Next: python -m tsdae_kit.train --data %s", output, output)


def main(argv: Sequence[str] | None = None) -> None:
    """Run ``python -m tsdae_kit.prepare``."""
    prog = "python -m tsdae_kit.prepare"
    description = "Turn raw text into noisy/clean sentence pairs for denoising training."
    run_command(prog, lambda: prepare_corpus(**parse_arguments(PrepareSettings, prog, description, argv)))


if __name__ == "__main__":
    main()
