"""Checkpoints that are whole or not there, and the choice of the one to continue from.

The framework writes a checkpoint file by file under its final name and takes the highest number
unchecked, so that a kill during a save leaves a folder that blocks every later resume. Here it is
written under another name, sealed with the size and SHA-256 of every file, and renamed; what does not
match its seal is passed over by name, and never half-restored.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from pathlib import Path

from tsdae_kit.errors import KitError
from tsdae_kit.filesystem import sha256_of, write_json

logger = logging.getLogger("tsdae_kit")
SEAL = "manifest.json"
_NAME = re.compile(r"checkpoint-(\d+)")


def seal(folder: Path, run_id: str) -> None:
    """Write the manifest of everything in ``folder``: sizes, checksums and the run it belongs to."""
    files = {
        str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    write_json(folder / SEAL, {"run": run_id, "files": files})


def list_files(folder: Path) -> list[str]:
    """Return the files that a checkpoint's manifest names; none, where it is missing or damaged."""
    try:
        return list(json.loads((folder / SEAL).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def verify_checkpoint(folder: Path, run_id: str) -> str | None:
    """Return why the checkpoint cannot be used, or ``None`` if every file is as it was written."""
    try:
        text = (folder / SEAL).read_text(encoding="utf-8")
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


def checkpoint_step(checkpoint: Path) -> int:
    """Return the step in a checkpoint's name; -1 for another name."""
    match = _NAME.fullmatch(checkpoint.name)
    return int(match[1]) if match else -1


def list_checkpoints(run: Path) -> list[Path]:
    """Return the run's checkpoint folders, whole or not, newest step first."""
    found = [path for path in run.glob("checkpoint-*") if path.is_dir() and checkpoint_step(path) >= 0]
    return sorted(found, key=checkpoint_step, reverse=True)


def select_checkpoint(run: Path, run_id: str, wanted: Path | None = None) -> Path | None:
    """Return the checkpoint to continue from: ``wanted``, or the newest that matches its manifest.

    Returns ``None`` if the run has no checkpoint at all. Each one passed over is named with its fault.

    Raises:
        KitError: If ``wanted`` cannot be used, or if there are checkpoints and none can.
    """
    present = list_checkpoints(run)
    if wanted is not None:
        fault = verify_checkpoint(wanted, run_id) if checkpoint_step(wanted) >= 0 else "its name is not checkpoint-STEP"
        if fault:
            names = ", ".join(path.name for path in present) or "none"
            raise KitError(f"The checkpoint {wanted} cannot be used: {fault}. In {run} there are: {names}.")
        return wanted
    faults = []
    for path in present:
        fault = verify_checkpoint(path, run_id)
        if fault is None:
            return path
        logger.warning("Passing over %s: %s.", path.name, fault)
        faults.append(f"{path.name}: {fault}")
    if faults:
        raise KitError(
            f"No checkpoint in {run} can be used ({'; '.join(faults)}). "
            "Restore one from a backup, or start again with --overwrite."
        )
    return None


def rotate(run: Path, run_id: str, limit: int, protected: set[int]) -> None:
    """Delete the oldest checkpoints beyond ``limit``, by step, once the newest has been read back and matches.

    Args:
        run: The run's folder.
        run_id: The run's id, for the check.
        limit: How many to keep.
        protected: Steps whose checkpoints stay in any case.
    """
    present = list_checkpoints(run)
    surplus = [path for path in present[limit:] if checkpoint_step(path) not in protected]
    if not surplus:
        return
    if fault := verify_checkpoint(present[0], run_id):
        logger.warning("!!! %s does not read back as written (%s): older checkpoints are kept.", present[0].name, fault)
        return
    for path in surplus:
        shutil.rmtree(path, ignore_errors=True)
