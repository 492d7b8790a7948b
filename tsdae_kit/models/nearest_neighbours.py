"""Nearest neighbours of some texts among others: what an encoder takes for alike, for a person to judge."""

from __future__ import annotations

from collections.abc import Sequence

from sentence_transformers import SentenceTransformer
from sentence_transformers.util import semantic_search

from tsdae_kit.models.prompts import text_prompt

Neighbours = list[tuple[float, str]]


def find_nearest_neighbours(
    encoder: SentenceTransformer, texts: Sequence[str], searched: Sequence[str], count: int
) -> list[Neighbours]:
    """Return for each text the nearest others, by cosine similarity, the nearest first.

    Args:
        encoder: By whose embeddings.
        texts: Whose neighbours are wanted.
        searched: Where they are looked for; a text is not its own neighbour.
        count: How many of each.
    """
    if not texts or not searched:
        return [[] for _ in texts]
    embeddings = encoder.encode(
        [*texts, *searched], prompt=text_prompt(encoder), convert_to_tensor=True, show_progress_bar=False
    )
    found = semantic_search(embeddings[: len(texts)], embeddings[len(texts) :], top_k=count + 1)
    return [
        [(hit["score"], other) for hit in hits if (other := searched[int(hit["corpus_id"])]) != text][:count]
        for text, hits in zip(texts, found, strict=True)
    ]
