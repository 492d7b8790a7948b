"""Runs the tutorial's notebook in a folder of its own and writes what its cells show into it.

python scripts/run_tutorial.py
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs/tutorial.ipynb"


def run_notebook(folder: Path) -> nbformat.NotebookNode:
    """Return the notebook with its cells run in a folder, where the sample is found as in the repository.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell fails.
    """
    (folder / "data").mkdir()
    (folder / "data/health").symlink_to(ROOT / "data/health")
    environment = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}  # on busy cores, more threads wait for each other
    environment |= os.environ | {"NO_COLOR": "1"}  # the output is kept as plain text
    notebook: nbformat.NotebookNode = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute(
        env=environment
    )
    return notebook


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Keep the shown texts alone: no counts, times or metadata, none of what went to standard error."""
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.execution_count, cell.metadata = None, {}
        text = "".join(output.text for output in cell.outputs if output.get("name") == "stdout")
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=text)] if text.strip() else []


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        notebook = run_notebook(Path(folder))
    tidy(notebook)
    notebook.metadata.language_info = {"name": "python"}  # not this machine's version
    nbformat.write(notebook, NOTEBOOK)
    print(f"Written: {NOTEBOOK.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
