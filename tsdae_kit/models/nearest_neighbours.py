"""Nearest neighbours of texts by their embeddings, for a person to judge an encoder by."""

from __future__ import annotations

from collections.abc import Sequence

from sentence_transformers import SentenceTransformer
from sentence_transformers.util import semantic_search

from tsdae_kit.models.prompts import text_prompt

Neighbours = list[tuple[float, str]]  # cosine similarity and text


def find_nearest_neighbours(
    encoder: SentenceTransformer, texts: Sequence[str], candidates: Sequence[str], count: int
) -> list[Neighbours]:
    """Return the nearest candidates of each text by cosine similarity, the nearest first.

    Args:
        encoder: Embeds texts and candidates.
        texts: The texts to find neighbours of.
        candidates: The texts to choose from; a text is not its own neighbour.
        count: Number of neighbours of each text.
    """
    if not texts or not candidates:
        return [[] for _ in texts]
    embeddings = encoder.encode(
        [*texts, *candidates], prompt=text_prompt(encoder), convert_to_tensor=True, show_progress_bar=False
    )
    results = semantic_search(embeddings[: len(texts)], embeddings[len(texts) :], top_k=count + 1)
    return [
        [(hit["score"], other) for hit in hits if (other := candidates[int(hit["corpus_id"])]) != text][:count]
        for text, hits in zip(texts, results, strict=True)
    ]
