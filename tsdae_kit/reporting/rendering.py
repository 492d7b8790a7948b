"""Renders the templates of this package with Jinja2, which escapes every text that it puts into HTML."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

_GENERATOR = '<meta name="generator" content="tsdae_kit">'


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tsdae_kit.reporting"),
        autoescape=select_autoescape(disabled_extensions=("md.j2",), default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["generator"] = _GENERATOR
    return environment


def render(template: str, **context: object) -> str:
    """Return a rendered template.

    Args:
        template: A file's name in ``templates/``.
        **context: The template's variables.
    """
    return _environment().get_template(template).render(context)


def is_page(text: str) -> bool:
    """Return whether an HTML text is a page of this package."""
    return _GENERATOR in text
