"""Checkpoints that are complete or not there, and the choice of the one to continue from.

The framework writes a checkpoint file by file under its final name, and resumes from the highest number unchecked: a
kill during a save leaves a folder that blocks every later resume. Here a checkpoint is written under a temporary
name, gets a manifest with the size and SHA-256 of every file, and is renamed. A checkpoint that does not match its
manifest is skipped, with its name and the reason, and never restored in part.
"""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

from tsdae_kit.errors import KitError
from tsdae_kit.filesystem import sha256_of, write_json
from tsdae_kit.run_folder import MANIFEST, RunFolder, checkpoint_step

logger = logging.getLogger("tsdae_kit")


def write_checksums(folder: Path, run_id: str) -> None:
    """Write the manifest of everything in ``folder``: sizes, checksums and the run it belongs to."""
    files = {
        str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    write_json(folder / MANIFEST, {"run": run_id, "files": files})


def verify_checkpoint(folder: Path, run_id: str) -> str | None:
    """Return why the checkpoint cannot be used, or ``None`` if every file is as it was written."""
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
        content = json.loads(text)
        owner = content["run"]
        files = {name: (int(file["bytes"]), file["sha256"]) for name, file in content["files"].items()}
        if not text.endswith("}\n"):
            return "its manifest is cut off"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "its manifest is missing or damaged"
    if owner != run_id:
        return "it belongs to another run"
    for name, (size, digest) in files.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            return f"its manifest names {name}, which is outside"
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size:,} bytes, not {size:,}"
        if sha256_of(path) != digest:
            return f"{name} has changed since it was written"
    return None


def select_checkpoint(run: RunFolder, run_id: str, requested: Path | None = None) -> Path | None:
    """Return the checkpoint to continue from: the requested one, or the newest that matches its manifest.

    Returns ``None`` if the run has no checkpoint at all. Each skipped checkpoint is named with the reason.

    Raises:
        KitError: If the requested checkpoint cannot be used, or if there are checkpoints and none can.
    """
    checkpoints = run.checkpoints()
    if requested is not None:
        has_step = checkpoint_step(requested) >= 0
        if reason := verify_checkpoint(requested, run_id) if has_step else "its name is not checkpoint-STEP":
            names = ", ".join(path.name for path in checkpoints) or "none"
            raise KitError(f"The checkpoint {requested} cannot be used: {reason}. In {run} there are: {names}.")
        return requested
    reasons = []
    for path in checkpoints:
        reason = verify_checkpoint(path, run_id)
        if reason is None:
            return path
        logger.warning("Skipping %s: %s.", path.name, reason)
        reasons.append(f"{path.name}: {reason}")
    if reasons:
        raise KitError(
            f"No checkpoint in {run} can be used ({'; '.join(reasons)}). "
            "Restore one from a backup, or start again with --overwrite."
        )
    return None


def rotate(run: RunFolder, run_id: str, limit: int, protected: set[int]) -> None:
    """Delete the oldest checkpoints beyond ``limit``, once the newest has been read back and matches its manifest.

    Args:
        run: The run's folder.
        run_id: The run's id.
        limit: The number to keep.
        protected: Steps whose checkpoints are never deleted.
    """
    checkpoints = run.checkpoints()
    surplus = [path for path in checkpoints[limit:] if checkpoint_step(path) not in protected]
    if not surplus:
        return
    newest = checkpoints[0]
    if reason := verify_checkpoint(newest, run_id):
        logger.warning("!!! %s does not read back as written (%s): older checkpoints are kept.", newest.name, reason)
        return
    for path in surplus:
        shutil.rmtree(path, ignore_errors=True)
