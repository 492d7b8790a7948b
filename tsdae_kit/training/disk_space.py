"""The disk space of a run: estimated, logged and checked before its first step."""

from __future__ import annotations

import logging
import shutil

from sentence_transformers import SentenceTransformer
from torch import nn

from tsdae_kit.config.settings.training import RunSettings
from tsdae_kit.console import show_bytes
from tsdae_kit.errors import KitError
from tsdae_kit.models.encoders import count_parameters

logger = logging.getLogger("tsdae_kit")


def check_disk_space(settings: RunSettings, encoder: SentenceTransformer, loss: nn.Module) -> None:
    """Log the size of the checkpoints, and refuse to begin where not even one fits next to the final model.

    Raises:
        KitError: If the disk is too full.
    """
    parent = next(path for path in [settings.output, *settings.output.absolute().parents] if path.is_dir())
    free = shutil.disk_usage(parent).free
    final = 4 * count_parameters(encoder)
    regularization = getattr(loss, "regularization", None)
    if (regularization and regularization.base) or settings.base_weight:
        final *= 2  # the run keeps the base model too
    trainable = count_parameters(loss, encoder, trainable=True)
    saved = trainable if settings.lora_rank else count_parameters(loss, encoder)
    one = 4 * (saved + 2 * trainable)  # the weights and Adam's two moments, in float32
    needed = (settings.save_total_limit + 1) * one + final
    logger.info("A checkpoint takes about %s, the whole run %s; %s are free.", *map(show_bytes, (one, needed, free)))
    if free < one + final:
        raise KitError(
            f"{settings.output} needs {show_bytes(one + final)} at least for a checkpoint and the models, and "
            f"{show_bytes(free)} are free. Make room, or choose another --output."
        )
    if free < needed:
        logger.warning("!!! The disk may fill up during the run; lower --save-total-limit or make room.")
