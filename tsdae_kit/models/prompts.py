"""The prompt of each column of texts: a model is trained with the prompts that it is used with later.

A model that was made with prompts and is trained without them learns from texts that it will never get. The rules are
those of the library's ``encode_query``, ``encode_document`` and ``encode``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments

from tsdae_kit.errors import KitError

Prompts = dict[str, dict[str, str]]  # by data set and column; "" for none
_DOCUMENT_NAMES = ("document", "passage", "corpus")  # encode_document uses the first of these that a model has


def role_prompts(encoder: SentenceTransformer) -> tuple[str, str]:
    """Return the prompts of ``encode_query`` and ``encode_document``.

    A model with neither of them is used with ``encode``: both roles then have its default prompt.
    """
    prompts = encoder.prompts
    query = prompts.get("query")
    document = next((prompts[name] for name in _DOCUMENT_NAMES if name in prompts), None)
    if not query and not document:
        return default_prompt(encoder), default_prompt(encoder)
    return query or "", document or ""


def default_prompt(encoder: SentenceTransformer) -> str:
    """Return the prompt that ``encode`` uses if none is named."""
    return encoder.prompts.get(encoder.default_prompt_name or "") or ""


def text_prompt(encoder: SentenceTransformer) -> str:
    """Return the prompt of the corpus's texts: the default prompt, or without one that of documents."""
    return default_prompt(encoder) or role_prompts(encoder)[1]


def column_prompts(encoder: SentenceTransformer, columns: Sequence[str], retrieval: bool) -> dict[str, str]:
    """Return the prompt of each column of texts.

    Args:
        encoder: The model to train.
        columns: All columns but the label, in the order in which a loss takes them.
        retrieval: Whether the first column holds queries and the others documents; else all have the default prompt.
    """
    if not retrieval:
        return dict.fromkeys(columns, default_prompt(encoder))
    query, document = role_prompts(encoder)
    return {column: document if index else query for index, column in enumerate(columns)}


def set_prompts(arguments: SentenceTransformerTrainingArguments, model_prompts: Prompts) -> Prompts:
    """Put the prompts into the trainer's arguments, and return them; those of ``--trainer prompts=...`` win.

    Args:
        arguments: Changed in place.
        model_prompts: The prompts that the model is used with.

    Raises:
        KitError: If the user names a prompt for a column that does not exist: it would have no effect.
    """
    user_prompts: Any = arguments.prompts
    prompts = model_prompts
    if user_prompts is not None:
        prompts = {name: _user_prompts(user_prompts, name, model_prompts) for name in model_prompts}
    arguments.prompts = next(iter(prompts.values())) if len(prompts) == 1 else prompts
    return prompts


def _user_prompts(user_prompts: Any, data_set: str, model_prompts: Prompts) -> dict[str, str]:
    """Return the user's prompts for one data set: one for all texts, by column, by data set, or by both."""
    by_data_set = isinstance(user_prompts, Mapping) and bool(user_prompts.keys() & model_prompts.keys())
    prompts = user_prompts.get(data_set, {}) if by_data_set else user_prompts
    columns = model_prompts[data_set]
    if not isinstance(prompts, Mapping):
        return dict.fromkeys(columns, str(prompts))
    unknown = [*(user_prompts.keys() - model_prompts.keys())] if by_data_set else []
    known = columns.keys() if by_data_set else {column for each in model_prompts.values() for column in each}
    unknown += prompts.keys() - known
    if unknown:
        raise KitError(
            f"--trainer prompts names {unknown[0]!r}, but there is no such column. Choose from: {', '.join(columns)}."
        )
    return {column: str(prompts.get(column, "")) for column in columns}


def describe_prompts(prompts: Prompts, encoder: SentenceTransformer) -> str:
    """Return a line with the columns of each prompt, and the model's prompts that no column has; "" without prompts."""
    columns_of: dict[str, list[str]] = {}
    for data_set, columns in prompts.items():
        for column, prompt in columns.items():
            columns_of.setdefault(prompt, []).append(f"{column} of {data_set}" if len(prompts) > 1 else column)
    columns_of.pop("", None)
    clauses = [f"{prompt!r} before {' and '.join(columns)}" for prompt, columns in columns_of.items()]
    unused = [f"{name} {text!r}" for name, text in encoder.prompts.items() if text and text not in columns_of]
    if unused:
        clauses += [f"{'' if columns_of else 'none, '}not used: {', '.join(unused)}"]
    return "; ".join(clauses)
