"""Builds one site of the repository's own Markdown: README, guides, figures, and an API reference from the code.

The source folder is the repository's root (``sphinx-build -c docs . build/docs``), so that a link between two
documents is the same on a forge and in the site, and Sphinx checks all of them. The tables of settings are made
from the dataclasses that the flags are made from. Nothing is fetched: no inventories of other projects.
"""

from __future__ import annotations

import json
from importlib import import_module
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any, get_type_hints

from docutils import nodes
from myst_parser.parsers.sphinx_ import MystParser
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from tsdae_kit.config.conversion import describe_type
from tsdae_kit.config.fields import ordered_fields

project = "tsdae_kit"
author = "the authors of tsdae_kit"
project_copyright = "the authors of tsdae_kit; Apache-2.0"
version = release = installed_version("tsdae_kit")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
source_suffix = {".md": "markdown", ".ipynb": "notebook"}
root_doc = "docs/index"
include_patterns = ["docs/**", "*.md", "results/*.md", "data/README.md"]
exclude_patterns = [".*", "build", "dist", "runs", "data/prepared", "data/*/prepared", "tsdae_kit", "tests", "scripts"]

myst_heading_anchors = 3  # as forges make them
myst_enable_extensions = ["colon_fence"]
highlight_language = "text"
smartquotes = False  # two hyphens begin a flag
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_use_ivar = True
autoclass_content = "both"  # what __init__ takes stands in its own docstring
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = f"tsdae_kit {version}"
html_extra_path = ["redirect"]  # build/docs/index.html
html_show_sourcelink = False


class NotebookParser(MystParser):
    """Reads a notebook as Markdown: its texts, its code, and the texts that the code showed."""

    supported = ("notebook",)

    def parse(self, inputstring: str, document: nodes.document) -> None:
        """Parse the cells, one after the other."""
        parts = []
        for cell in json.loads(inputstring)["cells"]:
            source = "".join(cell["source"])
            parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
            shown = "".join("".join(output.get("text", ())) for output in cell.get("outputs", ()))
            if shown:
                parts.append(f"```text\n{shown.rstrip()}\n```")
        super().parse("\n\n".join(parts), document)


class SettingsTable(SphinxDirective):
    """``settings``: a stage's dataclass, with a row for each field. The argument is the class's name."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the class's description with its table."""
        module, _, name = self.arguments[0].rpartition(".")
        kind = getattr(import_module(module), name)
        self.env.note_dependency(str(Path(import_module(module).__file__ or "")))
        hints = get_type_hints(kind)
        lines = [f"````{{py:class}} {name}", f":module: {module}", "", kind.__doc__ or "", ""]
        lines += ["| setting | takes | default | |", "|---|---|---|---|"]
        for entry in ordered_fields(kind):
            spelled = "`FILES`, or " if entry.metadata["positional"] else ""
            default = "" if entry.default in (None, ()) else f"`{entry.default}`"
            note = "; may change on resume" if entry.metadata["may_change"] else ""
            cells = (
                f"{spelled}`{entry.name}`",
                describe_type(hints[entry.name]),
                default,
                entry.metadata["help"] + note,
            )
            lines.append("| " + " | ".join(cells) + " |")
        return self.parse_text_to_nodes("\n".join([*lines, "````"]))


def setup(app: Sphinx) -> dict[str, Any]:
    """Make the directive and the notebooks known."""
    app.add_directive("settings", SettingsTable)
    app.add_source_parser(NotebookParser)
    return {"parallel_read_safe": True}
