"""Silences what transformers, datasets and sentence-transformers print by themselves."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import datasets
from transformers.utils import logging as transformers_logging

logger = logging.getLogger("tsdae_kit")


@contextmanager
def quiet_frameworks() -> Iterator[None]:
    """Silence the libraries' progress bars, load reports and warnings in a block; then restore their settings."""
    verbosity, has_bar = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    undo: list[Callable[[], object]] = [partial(transformers_logging.set_verbosity, verbosity)]
    if has_bar:
        undo.append(transformers_logging.enable_progress_bar)
    if datasets.is_progress_bar_enabled():
        datasets.disable_progress_bars()
        undo.append(datasets.enable_progress_bars)
    for library in map(logging.getLogger, ("sentence_transformers", "torch.onnx")):
        undo.append(partial(library.setLevel, library.level))
        library.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        if not logger.isEnabledFor(logging.DEBUG):
            warnings.simplefilter("ignore")
        try:
            yield
        finally:
            for action in undo:
                action()
