"""Writes an encoder's folder, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer

from tsdae_kit.errors import KitError, first_line
from tsdae_kit.filesystem import atomic_folder
from tsdae_kit.models.compatibility import write_compatible_config


def write_model(encoder: SentenceTransformer, path: Path, complete: Callable[[Path], None] | None = None) -> None:
    """Write a model, whole or not at all.

    Args:
        encoder: The model.
        path: Its folder.
        complete: Gets the folder with the model and a card in it, before it has its name; without, no card is made.

    Raises:
        KitError: If it cannot be written.
    """
    try:
        with atomic_folder(path) as folder:
            encoder.save_pretrained(str(folder), create_model_card=complete is not None)
            write_compatible_config(encoder, folder)
            if complete:
                complete(folder)
    except (OSError, SafetensorError) as error:
        raise KitError(
            f"{path} could not be written ({first_line(error)}). Make room, then --resume writes it."
        ) from error
