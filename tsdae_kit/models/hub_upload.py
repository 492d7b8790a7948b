"""--push-to-hub: the final model goes to the Hugging Face hub, once it is whole on the disk."""

from __future__ import annotations

import logging
from pathlib import Path

from huggingface_hub import HfApi, get_token
from huggingface_hub.constants import HF_HUB_OFFLINE
from huggingface_hub.errors import HFValidationError, HTTPError  # type: ignore[attr-defined]
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from tsdae_kit.errors import KitError, first_line

logger = logging.getLogger("tsdae_kit")


def check_push(repository: str) -> None:
    """See to it, before anything is trained, that a push is not bound to fail.

    Raises:
        KitError: If the hub is switched off, or the name is none.
    """
    if HF_HUB_OFFLINE:
        raise KitError("--push-to-hub needs the hub, which HF_HUB_OFFLINE switches off. Leave out one of them.")
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise KitError(f"--push-to-hub {repository}: {first_line(error)}. Write NAME/MODEL.") from error
    if repository.count("/") != 1:
        raise KitError(f"--push-to-hub {repository} does not say whose it is. Write NAME/MODEL.")
    if get_token() is None:
        raise KitError("--push-to-hub needs a token, and there is none. Run `hf auth login`, or set HF_TOKEN.")


def push(final: Path, repository: str) -> None:
    """Upload the final model's folder; a repository that is new is private.

    Raises:
        KitError: If the hub cannot be reached, or refuses.
    """
    hub = HfApi(library_name="tsdae_kit")
    try:
        address = hub.create_repo(repository, private=True, exist_ok=True)
        hub.upload_folder(repo_id=repository, folder_path=final, commit_message="Model adapted with tsdae_kit")
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        raise KitError(
            f"{final} is whole, but was not pushed to {repository} ({first_line(error)}). "
            "See to the connection and to `hf auth login`; then the same command with --resume pushes it."
        ) from error
    logger.info("Pushed to %s.", address)
