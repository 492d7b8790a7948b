"""Mines hard negatives: sentences of the corpus that are near an anchor, by an encoder, and are not its positive.

The library's function finds them, with the relative margin of NV-Retriever (arXiv 2407.15831): a sentence nearly as
near as the positive may be a positive itself and is left out. The rows are kept in the run folder, so that a resumed
run, whose encoder has changed, trains on the same ones.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import pyarrow as pa
from datasets import Dataset
from pyarrow import parquet
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import mine_hard_negatives

from tsdae_kit.config.settings.training import RunSettings
from tsdae_kit.errors import KitError
from tsdae_kit.models.devices import autocast
from tsdae_kit.run_folder import RunFolder

logger = logging.getLogger("tsdae_kit")
MARGIN = 0.05  # of the positive's similarity
DEPTH = 100  # nearest sentences looked at
_AT_ONCE = 256  # pairs compared with the whole corpus


def mine_negatives(
    rows: pa.Table,
    sentences: Sequence[str],
    load: Callable[[], SentenceTransformer],
    file: Path,
    settings: RunSettings,
    prompts: tuple[str, str] = ("", ""),
) -> pa.Table:
    """Return the pairs that have a hard negative, with it as a third column.

    Args:
        rows: Anchors and positives.
        sentences: The corpus, each sentence once; the positives are searched too.
        load: Returns the encoder that searches.
        file: Of the run folder; where it is there already, it is read.
        settings: The run's, resolved: precision and batch size hold here too.
        prompts: Of the anchors, and of the positives and the corpus's sentences.

    Raises:
        KitError: If none is found, or the file is gone from a run that has trained on it.
    """
    if not settings.overwrite and file.exists():
        return parquet.read_table(file)
    if not settings.overwrite and RunFolder(file.parent).checkpoints():
        raise KitError(f"{file}, the negatives that this run has trained on, is gone. Restore it, or start a new run.")
    corpus, encoder = list(sentences), load()
    logger.info("Searching %s sentences for hard negatives of %s pairs.", f"{len(corpus):,}", f"{len(rows):,}")
    # The library's progress bars cannot be switched off.
    with redirect_stderr(StringIO()), autocast(encoder.device, settings.precision):
        mined = mine_hard_negatives(
            Dataset(rows), encoder, corpus=corpus, relative_margin=MARGIN, range_max=DEPTH, num_negatives=1,
            batch_size=settings.batch_size, faiss_batch_size=_AT_ONCE, verbose=False,
            query_prompt=prompts[0], corpus_prompt=prompts[1],
        )  # fmt: skip
    if not len(mined):
        raise KitError("No hard negatives were found. Leave --mine-negatives out, or name a larger corpus.")
    logger.info("%s of %s pairs have a hard negative in the corpus.", f"{len(mined):,}", f"{len(rows):,}")
    table: pa.Table = mined.data.table.combine_chunks()
    return table
