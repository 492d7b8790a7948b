"""Model objects that a user passes instead of names: a run gets a folder that it can be resumed from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from sentence_transformers import SentenceTransformer
from torch import nn

from tsdae_kit.errors import KitError
from tsdae_kit.filesystem import path_digests
from tsdae_kit.models.saving import write_model


def name_base_folder(
    settings: Mapping[str, object], default_output: Path
) -> tuple[dict[str, object], Callable[[], None]]:
    """Return explicit settings with a model object replaced by a folder, ``<output>-base``, and what writes the folder.

    Args:
        settings: Explicit settings of a training command.
        default_output: The run's folder, if they do not name one.

    Raises:
        KitError: If the object is no ``SentenceTransformer``; by what is returned, if the folder holds another model.
    """
    model = settings.get("model")
    if not isinstance(model, nn.Module):
        return dict(settings), lambda: None
    encoder = _check_kind(model)
    output = Path(str(settings.get("output", default_output)))
    folder = output.with_name(f"{output.name}-base")
    write = partial(_write_base, encoder, folder, bool(settings.get("overwrite")))
    return {**settings, "model": str(folder)}, write


def _write_base(encoder: SentenceTransformer, folder: Path, overwrite: bool) -> None:
    if overwrite or not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        write_model(encoder, folder)
        return
    with TemporaryDirectory(prefix="tsdae_kit-") as place:
        copy = Path(place, "model")
        write_model(encoder, copy)
        digests = path_digests([folder, copy])
    if digests[str(folder)] != digests[str(copy)]:
        raise KitError(
            f"{folder} holds another model than the one passed. To continue its run, pass model={str(folder)!r}; "
            "for a new run, pass overwrite=True or another output."
        )


@contextmanager
def borrowed_encoders(models: Mapping[str, object]) -> Iterator[dict[str, SentenceTransformer]]:
    """Yield model objects by name; put them back to their devices after the block.

    Raises:
        KitError: If one is no ``SentenceTransformer``.
    """
    encoders = {name: _check_kind(model) for name, model in models.items()}
    devices = {name: encoder.device for name, encoder in encoders.items()}
    try:
        yield encoders
    finally:
        for name, encoder in encoders.items():
            encoder.to(devices[name])


def _check_kind(model: object) -> SentenceTransformer:
    if not isinstance(model, SentenceTransformer):
        raise KitError(f"The model is a {type(model).__name__}. Pass a SentenceTransformer, a folder or a hub name.")
    return model
