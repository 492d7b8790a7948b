"""Which prompt stands before which text: in training the one that the model is used with later.

A model that was made with prompts and is trained without them learns for texts that it will never get. The rules are
those of the library's ``encode_query``, ``encode_document`` and ``encode``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments

from tsdae_kit.errors import KitError

Prompts = dict[str, dict[str, str]]  # by data set and column; "" for none
_DOCUMENT = ("document", "passage", "corpus")  # the first of these that a model has, as encode_document takes it


def role_prompts(encoder: SentenceTransformer) -> tuple[str, str]:
    """Return what ``encode_query`` and ``encode_document`` put before a text.

    Of a model that has neither, but a default prompt, it is that one: such a model is made for ``encode``.
    """
    own = encoder.prompts
    document = next((own[name] for name in _DOCUMENT if name in own), None)
    found = own.get("query"), document
    return (found[0] or "", found[1] or "") if any(found) else (default_prompt(encoder),) * 2


def default_prompt(encoder: SentenceTransformer) -> str:
    """Return what ``encode`` puts before a text, if nothing is asked for."""
    return encoder.prompts.get(encoder.default_prompt_name or "") or ""


def text_prompt(encoder: SentenceTransformer) -> str:
    """Return what stands before a text of the corpus: the default prompt, without one that of documents."""
    return default_prompt(encoder) or role_prompts(encoder)[1]


def column_prompts(encoder: SentenceTransformer, columns: Sequence[str], retrieval: bool) -> dict[str, str]:
    """Return the prompt of each column of texts.

    Args:
        encoder: The model to train.
        columns: Without the label, in the order in which a loss takes them.
        retrieval: Whether the first column is searched with, and the others are found; else all are alike.
    """
    if not retrieval:
        return dict.fromkeys(columns, default_prompt(encoder))
    query, document = role_prompts(encoder)
    return {name: document if place else query for place, name in enumerate(columns)}


def set_prompts(arguments: SentenceTransformerTrainingArguments, own: Prompts) -> Prompts:
    """Put prompts into the trainer's arguments, where ``--trainer prompts=...`` gives none; return those that hold.

    Args:
        arguments: Changed in place.
        own: What the model is used with.

    Raises:
        KitError: If a prompt is given for what is no column: it would do nothing.
    """
    given: Any = arguments.prompts
    if given is not None:
        own = {name: _user_prompts(given, name, own) for name in own}
    arguments.prompts = next(iter(own.values())) if len(own) == 1 else own
    return own


def _user_prompts(given: Any, name: str, own: Prompts) -> dict[str, str]:
    """Return one data set's part of ``--trainer prompts=...``: one text, by column, by data set, or by both."""
    by_name = isinstance(given, Mapping) and bool(given.keys() & own.keys())
    mine = given.get(name, {}) if by_name else given
    if not isinstance(mine, Mapping):
        return dict.fromkeys(own[name], str(mine))
    columns = own[name].keys() if by_name else {column for columns in own.values() for column in columns}
    if unknown := [*(given.keys() - own.keys() if by_name else ()), *(mine.keys() - columns)]:
        there = ", ".join(own[name])
        raise KitError(f"--trainer prompts names {unknown[0]!r}, which is no column. Name some of these: {there}.")
    return {column: str(mine.get(column, "")) for column in own[name]}


def describe_prompts(prompts: Prompts, encoder: SentenceTransformer) -> str:
    """Return which prompt stands before which column, and which of the model's before none; "" where it has none."""
    places: dict[str, list[str]] = {}
    for name, columns in prompts.items():
        for column, prompt in columns.items():
            places.setdefault(prompt, []).append(f"{column} of {name}" if len(prompts) > 1 else column)
    places.pop("", None)
    said = [f"{prompt!r} before {' and '.join(columns)}" for prompt, columns in places.items()]
    unused = [f"{name} {text!r}" for name, text in encoder.prompts.items() if text and text not in places]
    if unused:
        said += [f"{'' if places else 'none, '}not used: {', '.join(unused)}"]
    return "; ".join(said)
