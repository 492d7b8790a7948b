"""What every page has: one style, light and dark, for wide screens, phones and paper; tables and their escaping.

Strings rather than a template language: a page is a sum of tables and charts, and each is one function.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

_MARK = '<meta name="generator" content="tsdae_kit">'
_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --faint: #5d6670; --line: #d8dde3; --box: #f3f6f9;
  --c0: #2f6f9f; --c1: #c2571a; --c2: #3d8b40; --c3: #8e4ba8; --c4: #a8860d; --c5: #b03a5b; --good: #2b7a31; --bad: #b3261e; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ec; --paper: #15181c; --faint: #98a1ab; --line: #343b43; --box: #1d2227;
    --c0: #6fb1e0; --c1: #f0965a; --c2: #7cc77f; --c3: #c79be0; --c4: #d9bb55; --c5: #ea85a1; --good: #7cc77f; --bad: #f2877f; }
}
* { box-sizing: border-box }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin-bottom: .3rem } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem }
.wide { overflow-x: auto } table { border-collapse: collapse; width: 100% }
td, th { border-bottom: 1px solid var(--line); padding: .3rem .7rem .3rem 0; text-align: left; vertical-align: top }
th { font-weight: 600 } .numbers { width: auto } .numbers :is(td, th) { white-space: nowrap }
.numbers :is(td, th):not(:first-child) { text-align: right; font-variant-numeric: tabular-nums; padding-left: .9rem }
.numbers.scores :is(td, th):nth-child(2) { text-align: left }
.facts td:first-child { width: 15.5rem; color: var(--faint) } .even { table-layout: fixed; min-width: 30rem }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(18rem, 100%), 1fr)); gap: 1.2rem }
figure { margin: 0; min-width: 0 } figcaption, .faint { color: var(--faint) } svg { display: block; width: 100%; height: auto }
.verdict { background: var(--box); border-left: .3rem solid var(--faint); padding: .7rem 1rem; margin: 1rem 0 }
.verdict.better { border-color: var(--good) } .verdict.worse { border-color: var(--bad) } .verdict p { margin: .2rem 0 }
.better b { color: var(--good) } .worse b { color: var(--bad) }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); gap: 0 1.5rem }
.pair p { margin: 0 } ol { margin: .2rem 0 .8rem; padding-left: 1.4rem }
@media print { body { font-size: 10.5pt; margin: 0; max-width: none } figure, tr, .keep { break-inside: avoid } h2, h3 { break-after: avoid } }
"""  # noqa: E501  # CSS


def make_page(title: str, *parts: str) -> str:
    """Return the page; the parts are HTML."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"{_MARK}<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>"
        f"{''.join(parts)}</body></html>\n"
    )


def is_page(text: str) -> bool:
    """Return whether a text is a page made here."""
    return _MARK in text


def make_table(rows: Iterable[Sequence[str]], header: Sequence[str] = (), css: str = "") -> str:
    """Return a table of texts; what is too wide for the screen scrolls by itself."""
    head = "<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in header) + "</tr>" if header else ""
    body = "".join("<tr>" + "".join(f'<td dir="auto">{escape(cell)}</td>' for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table class="{css}">{head}{body}</table></div>'


def make_section(heading: str, *parts: str) -> str:
    """Return parts below a heading; nothing, if there is nothing in them."""
    content = "".join(parts)
    return f"<h2>{escape(heading)}</h2>{content}" if content else ""


def make_note(text: str) -> str:
    """Return a paragraph in a quieter colour."""
    return f'<p class="faint">{escape(text)}</p>'


def make_list(texts: Iterable[str]) -> str:
    """Return a numbered list."""
    return "<ol>" + "".join(f'<li dir="auto">{escape(text)}</li>' for text in texts) + "</ol>"
