"""What the columns of labelled data mean: anchor, positive, negatives, label.

Names decide, by one table of aliases, whatever their case and order. A loss takes texts by position, so a wrong guess
trains on the opposite of what was meant, and nothing else shows it; where the names do not decide, the file is refused
and ``--columns`` does.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tsdae_kit.errors import KitError

ANCHOR, POSITIVE, NEGATIVE, LABEL = "anchor", "positive", "negative", "label"
# Of each role, names in groups; those of an earlier group are preferred to those of a later one.
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
_NEGATIVE = re.compile(r"(.*_)?(neg(ative)?s?|hardneg(ative)?s?|rejected|incorrect|distractors?)\d*(_.*)?")
# Columns about a row, not to be learned from.
_METADATA = re.compile(
    r"(.*_)?(id|ids|idx|index|uid|uuid|guid|pid|qid|url|uri|link|href|lang|language|locale|date|created|updated|time|"
    r"timestamp|at|year|count|length|len|rank|page|path|file|filename)|source|split|subset|dataset|domain|topic|category|"
    r"tags?|type|task|title|author|genre|origin|licen[sc]e|version|line|row|number|unnamed:?_?\d*|(pos|neg)_scores|"
    r"teacher_scores?|"
)
# Labels by name which may be a text that is to be written, or a topic.
_DOUBTFUL_LABELS = {"target", "class", "y", "quality", "match", "ground_truth"}
# Of these, some data sets say there whether two texts belong together.
_DOUBTFUL = {"", "type", "category", "topic", "task", "tag", "tags", "rank", "source"}
# Words that say what a text is; in a name that is not in the table, they do not say it surely enough.
_ROLE_WORDS = {"anchor", "query", "question", "premise", "prompt", "positive", "pos", "passage", "document", "doc",
               "context", "answer", "response", "reply", "hypothesis", "chosen", "good", "bad", "correct", "wrong",
               "best", "worst", "relevant", "irrelevant", "true", "false"}  # fmt: skip
_SPANS = {"answer", "answers"}  # of reading comprehension; objects there are places in the context
_FEW = 3  # different values of a column that may be a label
# Of two columns whose names differ in these ends alone (or are these letters), the first is the anchor.
_ENDS = (("1", "2"), ("0", "1"), ("_a", "_b"))
_LETTERS = (("a", "b"), ("q", "a"))
_NUMBERED = re.compile(r"(.*?[^\W\d_])(\d+|_[ab])")
LABEL_WORDS = {
    "0", "1", "2", "yes", "no", "true", "false", "y", "n", "t", "f", "entailment", "neutral", "contradiction",
    "duplicate", "not_duplicate", "similar", "different", "same", "relevant", "irrelevant", "positive", "negative",
    "paraphrase", "match", "mismatch", "not_entailment", "not entailment",
}  # fmt: skip
_DECIMAL_COMMA = re.compile(r"[+-]?(0,\d+|\d+,(\d{1,2}|\d{4,}))")
_NOTHING = {"", "nan", "NaN", "None", "null", "NULL", "<NA>"}  # as pandas and databases write it
_HOW = "Say which: --columns anchor=NAME positive=NAME, and negative=NAME or label=NAME where there is one"


@dataclass(frozen=True)
class Roles:
    """Which column is what.

    Attributes:
        anchor: A column's name.
        positive: A column's name.
        negatives: Names of columns; empty without any.
        label: The column that says how the two texts belong together; ``None`` without one.
        unused: Columns that are not learned from.
    """

    anchor: str
    positive: str
    negatives: tuple[str, ...] = ()
    label: str | None = None
    unused: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the mapping in one line; columns without a name have a number."""
        named = {ANCHOR: [self.anchor], POSITIVE: [self.positive], "negatives": self.negatives,
                 LABEL: [] if self.label is None else [self.label]}  # fmt: skip
        parts = [f"{role} = {' and '.join(map(_show, names))}" for role, names in named.items() if names]
        unused = f"; not used: {', '.join(map(_show, self.unused))}" if self.unused else ""
        return ", ".join(parts) + unused


SHORT = 3  # words of a column's name, at most
MANY = 1000  # different numbers that are whole: no labels


def _show(name: str) -> str:
    return f"column {name}" if name.isdecimal() else name


@dataclass(frozen=True)
class ColumnValues:
    """What the values of a column are, those that are missing left out.

    Attributes:
        has_texts: Whether any is a text, or a list of texts.
        has_objects: Whether any is an object, or a list of something else than texts.
        numbers: How many are numbers, truth values, or texts that spell one.
        distinct: The different ones, as text, of which there are no more than ``MANY`` and one.
        count: How many there are.
    """

    has_texts: bool
    has_objects: bool
    numbers: int
    distinct: frozenset[str]
    count: int

    @property
    def may_be_label(self) -> bool:
        """Whether a column of unknown name may be a label: numbers that repeat or have fractions, words of labels."""
        if not self.count or self.has_objects:
            return False
        if self.numbers == self.count:
            fractions = any(not value.lstrip("+-").isdecimal() for value in self.distinct)  # or written as one
            repeated = len(self.distinct) <= MANY and len(self.distinct) < self.count
            return fractions or repeated or self.distinct <= {"0", "1", "2"}
        few = 2 <= len(self.distinct) <= _FEW and 2 * len(self.distinct) <= self.count
        return few or {value.casefold() for value in self.distinct} <= LABEL_WORDS

    @property
    def is_text(self) -> bool:
        """Whether it may be one of the texts."""
        return self.has_texts and self.numbers < self.count


def plain_name(name: str) -> str:
    """Return a column's name in small letters, words joined by one underscore: ``Is Duplicate`` -> ``is_duplicate``."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    joined = re.sub(r"[\W_]+", "_", parted).strip("_").casefold()
    return re.sub(r"_(?=\d+$)", "", joined)


def is_known_name(name: str) -> bool:
    """Return whether a text is a column's name as the table has it, or as metadata are called; no long one is."""
    if len(name.split()) > SHORT:
        return False
    plain = plain_name(name)
    known = any(plain in group for groups in ALIASES.values() for group in groups)
    return known or bool(_NEGATIVE.fullmatch(plain) or (plain and is_metadata(name)))


def names_a_pair(names: Sequence[str]) -> bool:
    """Return whether two of the names differ in their ends alone, as those of a pair's columns do."""
    return bool(_numbered_texts(names, {name: plain_name(name) for name in names}, has_negatives=False)[0])


def is_metadata(name: str) -> bool:
    """Return whether a column is called as those about a row are, which are not to be learned from."""
    return bool(_METADATA.fullmatch(plain_name(name)))


def read_mapping(columns: Sequence[str]) -> dict[str, list[str]]:
    """Return the columns of each role that ``--columns`` names; nothing, where it was not given.

    Raises:
        KitError: For another role, or if anchor or positive is missing.
    """
    mapping: dict[str, list[str]] = {}
    for entry in columns:
        role, equals, name = entry.partition("=")
        role = role.strip().casefold().removesuffix("s")
        if not equals or not name or role not in (ANCHOR, POSITIVE, NEGATIVE, LABEL):
            raise KitError(
                f"--columns {entry!r} is not ROLE=NAME with anchor, positive, negative or label as the role."
            )
        mapping.setdefault(role, []).append(name)
    if mapping:
        if missing := [role for role in (ANCHOR, POSITIVE) if role not in mapping]:
            raise KitError(f"--columns names no {' and no '.join(missing)}. {_HOW}.")
        twice = [role for role in (ANCHOR, POSITIVE, LABEL) if len(mapping.get(role, ())) > 1]
        names = [name for names in mapping.values() for name in names]
        if twice or len(set(names)) < len(names):
            what = f"{twice[0]} twice" if twice else "one column for two roles"
            raise KitError(f"--columns names {what}. Only negative may be given several times.")
        if NEGATIVE in mapping and LABEL in mapping:
            raise KitError("--columns names a negative and a label, and no loss takes both. Leave one out.")
    return mapping


def assign_roles(columns: Mapping[str, ColumnValues], mapping: Mapping[str, list[str]], where: str) -> Roles:
    """Return which column is what.

    Args:
        columns: The file's, in its order.
        mapping: As :func:`read_mapping` returns it.
        where: The file, for errors.

    Raises:
        KitError: If the names do not decide.
    """
    if mapping:
        return _assign_named(columns, mapping, where)
    plain = {name: plain_name(name) for name in columns}
    _refuse_objects(columns, plain, where)
    negatives = [name for name, values in columns.items() if _NEGATIVE.fullmatch(plain[name]) and values.is_text]
    label = _choose(LABEL, columns, plain, where)
    if label is not None and plain[label] in _DOUBTFUL_LABELS and not columns[label].may_be_label:
        raise KitError(f"{where}: the column {label!r} may be a label or a text. {_HOW}.")
    texts = {name: v for name, v in columns.items() if v.is_text and name != label and name not in negatives}
    anchor, positive, third = _find_texts(texts, plain, where, bool(negatives))
    negatives += third
    if anchor is None or positive is None:
        raise KitError(_undecided(columns, {ANCHOR: anchor, POSITIVE: positive}, where))
    if label is not None and negatives:
        raise KitError(
            f"{where} has negatives ({', '.join(negatives)}) and a label ({label}), and no loss takes both. "
            f"Leave one out: --columns anchor={anchor} positive={positive} label={label}, or negative={negatives[0]}."
        )
    used = {anchor, positive, label, *negatives}
    unused = tuple(name for name in columns if name not in used)
    if label is None:
        for name in unused:
            if (plain[name] in _DOUBTFUL or not is_metadata(name)) and columns[name].may_be_label:
                raise KitError(
                    f"{where}: the column {name!r} may be a label or not. Say which: --columns anchor={anchor} "
                    f"positive={positive} label={name}, or without label={name}."
                )
    return Roles(anchor, positive, tuple(negatives), label, unused)


def _assign_named(columns: Collection[str], mapping: Mapping[str, list[str]], where: str) -> Roles:
    names = [name for names in mapping.values() for name in names]
    if missing := [name for name in names if name not in columns]:
        raise KitError(
            f"{where}: there is no column {missing[0]!r} (there are: {', '.join(columns):.300}). Mend --columns."
        )
    return Roles(
        mapping[ANCHOR][0], mapping[POSITIVE][0], tuple(mapping.get(NEGATIVE, ())), mapping.get(LABEL, [None])[0],
        tuple(name for name in columns if name not in names),
    )  # fmt: skip


def _refuse_objects(columns: Mapping[str, ColumnValues], plain: Mapping[str, str], where: str) -> None:
    """Refuse a file whose texts lie in objects: another column would be taken in their place."""
    named = {name for group in ALIASES[POSITIVE][:2] for name in group} - _SPANS
    for name, values in columns.items():
        is_negative = _NEGATIVE.fullmatch(plain[name]) and not is_metadata(name)
        if values.has_objects and not values.has_texts and (plain[name] in named or is_negative):
            raise KitError(
                f"{where}: the column {name!r} holds objects, not texts. Write its texts into a column of their own, "
                "or name others: --columns anchor=NAME positive=NAME."
            )


def _find_texts(
    texts: Mapping[str, ColumnValues], plain: Mapping[str, str], where: str, has_negatives: bool
) -> tuple[str | None, str | None, list[str]]:
    """Return anchor and positive, ``None`` for what the names do not tell, and negatives that a number says."""
    pair, third = _numbered_texts(texts, plain, has_negatives)
    others = {name: values for name, values in texts.items() if name not in (*pair, *third)}
    anchor, positive = (_choose(role, others, plain, where) for role in (ANCHOR, POSITIVE))
    if anchor is None and positive is not None and plain[positive] in ALIASES[POSITIVE][-1]:
        positive = None  # a general name says positive only beside an anchor
    if anchor is not None or positive is not None:
        return anchor, positive, []
    if pair:
        return pair[0], pair[1], third
    unknown = [name for name in texts if not is_metadata(name)]
    is_plain = all(_ROLE_WORDS.isdisjoint(plain[name].split("_")) for name in unknown)
    if len(unknown) == 2 and is_plain and not has_negatives and not third:
        return unknown[0], unknown[1], []
    return None, None, []


def _numbered_texts(
    texts: Collection[str], plain: Mapping[str, str], has_negatives: bool
) -> tuple[tuple[str, ...], list[str]]:
    """Return the two texts whose names differ in their ends alone (``tweet1``, ``tweet2``), and a third of 0, 1, 2.

    Those are the names that sentence-transformers gives the columns of triplets. Of other families of three or more no
    pair is returned, and all of them as what belongs to it.
    """
    names = {plain[name]: name for name in texts}
    families: dict[str, dict[str, str]] = {}
    for name, column in names.items():
        if match := _NUMBERED.fullmatch(name):
            families.setdefault(match[1], {})[match[2]] = column
    found = [tuple(names[name] for name in letters) for letters in _LETTERS if {*letters} <= names.keys()]
    for family in families.values():
        if family.keys() == {"0", "1", "2"} and not has_negatives and len(families) == 1:
            return (family["0"], family["1"]), [family["2"]]
        if len(family) > 2:
            return (), list(family.values())
        found += [(family[first], family[second]) for first, second in _ENDS if {first, second} == family.keys()]
    return (found[0] if len(found) == 1 else ()), []


def _choose(role: str, columns: Mapping[str, ColumnValues], plain: Mapping[str, str], where: str) -> str | None:
    """Return the column of a role, by the first group of names of which there is one."""
    for group in ALIASES[role]:
        found = [name for name in columns if plain[name] in group]
        if len(found) > 1:
            others = " or ".join(f"{role}={name}" for name in found)
            raise KitError(f"{where}: the {role} may be {' or '.join(found)}. Say which: --columns ... {others}.")
        if found:
            return found[0]
    return None


def _undecided(columns: Mapping[str, ColumnValues], known: Mapping[str, str | None], where: str) -> str:
    texts = [name for name, values in columns.items() if values.is_text]
    missing = " and ".join(role for role, name in known.items() if name is None)
    if len(texts) < 2:
        count = "no column" if not texts else "one column"
        return (f"{where} has {count} of text where at least two are needed (columns: {', '.join(columns):.300}). "
                "Give pairs of texts.")  # fmt: skip
    return f"{where}: it cannot be known which column is the {missing} (columns: {', '.join(columns):.300}). {_HOW}."


def profile_columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, ColumnValues]:
    """Return what the values of each column are, in the order in which the columns come."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {name: _profile(row.get(name) for row in rows) for name in names}


def _profile(values: Iterator[Any]) -> ColumnValues:
    texts = objects = False
    numbers = count = 0
    distinct: set[str] = set()
    for value in values:
        if is_nothing(value):
            continue
        count += 1
        if isinstance(value, str):
            texts = True
            numbers += is_number(value)
        elif isinstance(value, (bool, int, float)):
            numbers += 1
        elif isinstance(value, list) and all(isinstance(item, str) or item is None for item in value):
            texts = True
        else:
            objects = True
        if len(distinct) <= MANY:
            distinct.add(str(int(value)) if isinstance(value, bool) else str(value).strip())
    return ColumnValues(texts, objects, numbers, frozenset(distinct), count)


def is_number(text: str) -> bool:
    """Return whether a text spells a number, with a decimal point or a comma."""
    try:
        to_number(text)
    except ValueError:
        return False
    return True


def to_number(text: str) -> float:
    """Return the number that a text spells: ``0.75``, or ``0,75`` as spreadsheets in many languages write it.

    Raises:
        ValueError: If it spells none; ``1,000`` may be a thousand or one.
    """
    return float(text.replace(",", ".") if _DECIMAL_COMMA.fullmatch(text.strip()) else text)


def is_nothing(value: Any) -> bool:
    """Return whether a value is missing: null, not a number, an empty list, a blank text or one that spells these."""
    if isinstance(value, str):
        return value.strip() in _NOTHING
    return value is None or value == [] or value != value
