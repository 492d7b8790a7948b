"""--push-to-hub: uploads the final model to the Hugging Face hub, once it is complete on the disk."""

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
    """Check before the training that a push can succeed.

    Raises:
        KitError: If the hub is switched off, the name is not NAME/MODEL, or there is no token.
    """
    if HF_HUB_OFFLINE:
        raise KitError("--push-to-hub needs the hub, but HF_HUB_OFFLINE switches it off. Leave out one of them.")
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise KitError(f"--push-to-hub {repository}: {first_line(error)}. Write NAME/MODEL.") from error
    if repository.count("/") != 1:
        raise KitError(f"--push-to-hub {repository} names no owner. Write NAME/MODEL.")
    if get_token() is None:
        raise KitError("--push-to-hub needs a token, and none is set. Run `hf auth login`, or set HF_TOKEN.")


def push(final: Path, repository: str) -> None:
    """Upload the final model's folder; a new repository is private.

    Raises:
        KitError: If the hub cannot be reached, or refuses.
    """
    hub = HfApi(library_name="tsdae_kit")
    try:
        address = hub.create_repo(repository, private=True, exist_ok=True)
        hub.upload_folder(repo_id=repository, folder_path=final, commit_message="Model adapted with tsdae_kit")
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        raise KitError(
            f"{final} is complete, but was not pushed to {repository} ({first_line(error)}). "
            "Check the connection and `hf auth login`; then the same command with --resume pushes it."
        ) from error
    logger.info("Pushed to %s.", address)
