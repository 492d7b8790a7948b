"""The documentation builds without a warning or a network, shows all that is public, and its links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import fields
from html import unescape
from pathlib import Path

import pytest

import tsdae_kit
from tsdae_kit.__main__ import COMMANDS

if sys.version_info < (3, 11):
    pytest.skip("the extra docs is for Python 3.11 and newer", allow_module_level=True)

from scripts.run_tutorial import NOTEBOOK, run_notebook

ROOT = Path(__file__).parents[1]
MARKDOWN = sorted(
    path for pattern in ("*.md", "docs/*.md", "results/*.md", "data/*.md") for path in ROOT.glob(pattern)
)  # fmt: skip
KINDS = [command.settings for command in COMMANDS.values()]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("site")
    proxies = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")  # no way out
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "--quiet", "-c", "docs", ".", str(output)],
        cwd=ROOT, env=os.environ | proxies, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return output


@pytest.mark.slow
def test_every_public_name_is_on_the_api_page(site: Path) -> None:
    page = (site / "docs/api.html").read_text(encoding="utf-8")
    assert {name for name in tsdae_kit.__all__ if f'id="tsdae_kit.{name}"' not in page} == set()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_setting_stands_there_with_its_default_and_help(site: Path, kind: type) -> None:
    page = (site / "docs/api.html").read_text(encoding="utf-8")
    section = page[page.index(f'id="tsdae_kit.config.settings.{kind.__name__}"') :].partition("</dl>")[0]
    text = " ".join(unescape(re.sub(r"<[^>]+>", "", section)).split())
    for entry in fields(kind):
        assert f" {entry.name} " in f" {text} "
        assert " ".join(entry.metadata["help"].split()) in text
        assert entry.default in (None, ()) or str(entry.default) in text


@pytest.mark.slow
def test_every_document_is_in_the_site(site: Path) -> None:
    assert [path for path in MARKDOWN if not (site / path.relative_to(ROOT)).with_suffix(".html").exists()] == []
    assert (site / "docs/tutorial.html").read_text(encoding="utf-8").count("highlight-python") > 8
    assert (site / "docs/index.html").exists()
    assert 'url=docs/index.html"' in (site / "index.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_its_pages_load_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(r"<(?:script|img|link)\b[^>]*?(?:src|href)=\"(https?:[^\"]+)", page.read_text("utf-8"))
        assert loaded == [], page.name


def anchors(text: str) -> set[str]:
    """Return the anchors of a document's headings, as forges make them."""
    headings = re.findall(r"^#{1,6} (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.M), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_relative_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link) or link.startswith("#tsdae_kit."):  # the site's own anchors: Sphinx checks them
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.slow
@pytest.mark.timeout(900)  # a minute or two on a core of its own
def test_the_tutorial_runs(tmp_path: Path) -> None:
    notebook = run_notebook(tmp_path)
    shown = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()))
    assert "exit code 75" in shown
    assert "equal to the bit: True" in shown
    assert len(re.findall(r"^tutorial/\w+/final .*(?:no difference shown|better|worse)$", shown, re.M)) == 2


def test_the_tutorial_is_kept_without_a_machines_traces() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert not re.search(r"/(home|root|tmp|usr|work|Users)/|site-packages|%\|", text)
    assert '"execution_count": null' in text
    assert not re.search(r'"execution_count": \d', text)
    assert len(text) < 40_000
