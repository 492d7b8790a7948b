"""Hard negatives: sentences of the field's corpus that an encoder takes for near, and that are not the answer.

The library's function finds them, with the margin of NV-Retriever (arXiv 2407.15831): what is nearly as
close as the positive may be one, and is left alone. What was found is kept in the run's folder, so that a
resumed run, whose encoder has changed, trains on the same rows.
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

from tsdae_kit.config.settings import RunSettings
from tsdae_kit.errors import KitError
from tsdae_kit.filesystem import atomic_file
from tsdae_kit.models.devices import autocast
from tsdae_kit.training.checkpoints import list_checkpoints

logger = logging.getLogger("tsdae_kit")
MARGIN = 0.05  # of the positive's similarity
DEPTH = 100  # nearest sentences looked at
_AT_ONCE = 256  # pairs compared with the whole corpus


def mine_negatives(
    rows: pa.Table,
    sentences: Sequence[str],
    load: Callable[[], SentenceTransformer],
    kept: Path,
    settings: RunSettings,
    prompts: tuple[str, str] = ("", ""),
) -> pa.Table:
    """Return the pairs that have a hard negative, with it as a third column.

    Args:
        rows: Anchors and positives.
        sentences: The corpus, each sentence once; the positives are searched too.
        load: Gives the encoder that finds them.
        kept: The file in the run's folder, which is read where it is there already.
        settings: The run's, filled in: precision and batch size hold here too.
        prompts: What stands before anchors, and before positives and the corpus's sentences.

    Raises:
        KitError: If none is found, or the file is gone from a run that has trained on it.
    """
    if not settings.overwrite and kept.exists():
        return parquet.read_table(kept)
    if not settings.overwrite and list_checkpoints(kept.parent):
        raise KitError(f"{kept}, the negatives that this run has trained on, is gone. Restore it, or start a new run.")
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


def keep_negatives(table: pa.Table, kept: Path) -> None:
    """Write what was found into the run's folder, unless it is there."""
    if not kept.exists():
        with atomic_file(kept) as path:
            parquet.write_table(table, path)
