"""The names of columns: which role each name has, which are about a row, and which two form a pair."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

ANCHOR, POSITIVE, NEGATIVE, LABEL = "anchor", "positive", "negative", "label"
# The names of each role, in groups: a name of an earlier group is preferred to one of a later group.
ALIASES: dict[str, tuple[tuple[str, ...], ...]] = {
    ANCHOR: (
        ("anchor", "anchor_text"),
        ("query", "query_text", "search_query", "question", "question_text", "sentence1", "sent1", "text1", "premise",
         "question1", "phrase1", "string1", "claim"),
        ("prompt", "instruction", "input", "user"),
    ),
    POSITIVE: (
        ("positive", "positives", "pos", "positive_text", "positive_passage", "positive_passages", "positive_document",
         "positive_doc", "positive_answer", "positive_ctxs", "positive1", "pos1"),
        ("passage", "passages", "document", "doc", "context", "answer", "answers", "response", "reply", "completion",
         "sentence2", "sent2", "text2", "hypothesis", "question2", "phrase2", "string2", "output", "chosen"),
        ("text", "content", "body", "paragraph", "abstract", "summary", "article", "description"),
    ),
    LABEL: (
        ("label", "labels", "score", "scores", "similarity", "similarity_score", "sim", "is_duplicate", "duplicate",
         "relatedness", "relatedness_score", "gold_label", "gold_score", "gold", "entailment_judgment",
         "entailment_judgement", "entailment_label", "judgment", "judgement", "relevance", "relevance_score",
         "is_relevant", "rating", "grade", "is_paraphrase", "is_similar", "is_match", "is_same", "match", "quality",
         "target", "class", "sts_score", "human_score", "similarity_label", "cosine_similarity", "ground_truth", "y"),
    ),
}  # fmt: skip
MAX_NAME_WORDS = 3
_NEGATIVE = re.compile(r"(.*_)?(neg(ative)?s?|hardneg(ative)?s?|rejected|incorrect|distractors?)\d*(_.*)?")
# Columns about a row: not to be trained on.
_METADATA = re.compile(
    r"(.*_)?(id|ids|idx|index|uid|uuid|guid|pid|qid|url|uri|link|href|lang|language|locale|date|created|updated|time|"
    r"timestamp|at|year|count|length|len|rank|page|path|file|filename)|source|split|subset|dataset|domain|topic|category|"
    r"tags?|type|task|title|author|genre|origin|licen[sc]e|version|line|row|number|unnamed:?_?\d*|(pos|neg)_scores|"
    r"teacher_scores?|"
)
# If two names differ in these ends alone, or are these letters, the first is the anchor.
_ENDS = (("1", "2"), ("0", "1"), ("_a", "_b"))
_LETTERS = (("a", "b"), ("q", "a"))
_NUMBERED = re.compile(r"(.*?[^\W\d_])(\d+|_[ab])")


def plain_name(name: str) -> str:
    """Return a column's name in lower case, words joined by one underscore: ``Is Duplicate`` -> ``is_duplicate``."""
    separated = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    joined = re.sub(r"[\W_]+", "_", separated).strip("_").casefold()
    return re.sub(r"_(?=\d+$)", "", joined)


def is_known_name(name: str) -> bool:
    """Return whether a text is the name of a role or of metadata; longer texts are not."""
    if len(name.split()) > MAX_NAME_WORDS:
        return False
    plain = plain_name(name)
    has_role = any(plain in group for groups in ALIASES.values() for group in groups)
    return has_role or is_negative_name(plain) or bool(plain and is_metadata(name))


def is_negative_name(plain: str) -> bool:
    """Return whether a name, as :func:`plain_name` returns it, says that the column holds negatives."""
    return bool(_NEGATIVE.fullmatch(plain))


def is_metadata(name: str) -> bool:
    """Return whether a column's name says that it is about the row, and not to be trained on."""
    return bool(_METADATA.fullmatch(plain_name(name)))


def names_a_pair(names: Sequence[str]) -> bool:
    """Return whether two of the names differ in their ends alone, as those of a pair's columns do."""
    return bool(find_numbered_texts(names, {name: plain_name(name) for name in names}, has_negatives=False)[0])


def find_numbered_texts(
    texts: Collection[str], plain: Mapping[str, str], has_negatives: bool
) -> tuple[tuple[str, ...], list[str]]:
    """Return the two columns whose names differ in their ends alone (``tweet1``, ``tweet2``), and further ones.

    The numbers 0, 1, 2 are a triplet: sentence-transformers gives the columns of triplets such names, and the third is
    returned as the further one. Of another family of three or more, no pair is returned, and all its columns as
    further ones.

    Args:
        texts: Names of the columns of text.
        plain: The plain name of each.
        has_negatives: Whether other columns are negatives, so that there is no triplet.
    """
    names = {plain[name]: name for name in texts}
    families: dict[str, dict[str, str]] = {}
    for name, column in names.items():
        if match := _NUMBERED.fullmatch(name):
            families.setdefault(match[1], {})[match[2]] = column
    pairs = [tuple(names[name] for name in letters) for letters in _LETTERS if {*letters} <= names.keys()]
    for family in families.values():
        if family.keys() == {"0", "1", "2"} and not has_negatives and len(families) == 1:
            return (family["0"], family["1"]), [family["2"]]
        if len(family) > 2:
            return (), list(family.values())
        pairs += [(family[first], family[second]) for first, second in _ENDS if {first, second} == family.keys()]
    return (pairs[0] if len(pairs) == 1 else ()), []
