"""Writes an encoder's folder, complete or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer

from tsdae_kit.errors import KitError, first_line
from tsdae_kit.filesystem import atomic_folder
from tsdae_kit.models.compatibility import write_compatible_config


def write_model(encoder: SentenceTransformer, path: Path, finish: Callable[[Path], None] | None = None) -> None:
    """Write a model's folder, complete or not at all.

    Args:
        encoder: The model.
        path: Its folder.
        finish: Changes the folder, with the model and its card in it, before it gets its name; without it, no card is
            written.

    Raises:
        KitError: If it cannot be written.
    """
    try:
        with atomic_folder(path) as folder:
            encoder.save_pretrained(str(folder), create_model_card=finish is not None)
            write_compatible_config(encoder, folder)
            if finish:
                finish(folder)
    except (OSError, SafetensorError) as error:
        raise KitError(
            f"{path} could not be written ({first_line(error)}). Make room, then --resume writes it."
        ) from error
