"""The roles of the columns of labelled data: anchor, positive, negatives, label.

Names decide, by one table of aliases, in any case and order. A loss takes texts by position, so a wrong guess trains
on the opposite of what was meant, and nothing else shows it. A file whose names do not decide is refused, and the user
decides with ``--columns``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tsdae_kit.errors import KitError
from tsdae_kit.labelled.column_names import (
    ALIASES,
    ANCHOR,
    LABEL,
    NEGATIVE,
    POSITIVE,
    find_numbered_texts,
    is_metadata,
    is_negative_name,
    plain_name,
)
from tsdae_kit.labelled.column_values import ColumnValues

# Names of labels that may also be a text to be written, or a topic.
_AMBIGUOUS_LABELS = {"target", "class", "y", "quality", "match", "ground_truth"}
# Names of metadata under which some data sets say whether two texts belong together.
_AMBIGUOUS_METADATA = {"", "type", "category", "topic", "task", "tag", "tags", "rank", "source"}
# Words that say what a text is, but not reliably within a name that is not in the table.
_ROLE_WORDS = {"anchor", "query", "question", "premise", "prompt", "positive", "pos", "passage", "document", "doc",
               "context", "answer", "response", "reply", "hypothesis", "chosen", "good", "bad", "correct", "wrong",
               "best", "worst", "relevant", "irrelevant", "true", "false"}  # fmt: skip
_ANSWER_SPANS = {"answer", "answers"}  # objects of reading comprehension data: places in the context
_HOW_TO_NAME = "Say which: --columns anchor=NAME positive=NAME, and negative=NAME or label=NAME where there is one"


@dataclass(frozen=True)
class Roles:
    """Which column has which role.

    Attributes:
        anchor: A column's name.
        positive: A column's name.
        negatives: Names of columns; may be empty.
        label: The column that says how the two texts belong together; ``None`` without one.
        unused: Columns that are not trained on.
    """

    anchor: str
    positive: str
    negatives: tuple[str, ...] = ()
    label: str | None = None
    unused: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the roles in one line; columns without a name have a number."""
        columns = {ANCHOR: [self.anchor], POSITIVE: [self.positive], "negatives": self.negatives,
                   LABEL: [] if self.label is None else [self.label]}  # fmt: skip
        parts = [f"{role} = {' and '.join(map(_show, names))}" for role, names in columns.items() if names]
        unused = f"; not used: {', '.join(map(_show, self.unused))}" if self.unused else ""
        return ", ".join(parts) + unused


def _show(name: str) -> str:
    return f"column {name}" if name.isdecimal() else name


def read_mapping(columns: Sequence[str]) -> dict[str, list[str]]:
    """Return the columns of each role that ``--columns`` names, or an empty dict if it was not passed.

    Raises:
        KitError: For an unknown role, a missing anchor or positive, or a role or column named twice.
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
        _check_mapping(mapping)
    return mapping


def _check_mapping(mapping: Mapping[str, list[str]]) -> None:
    if missing := [role for role in (ANCHOR, POSITIVE) if role not in mapping]:
        raise KitError(f"--columns names no {' and no '.join(missing)}. {_HOW_TO_NAME}.")
    repeated = [role for role in (ANCHOR, POSITIVE, LABEL) if len(mapping.get(role, ())) > 1]
    names = [name for names in mapping.values() for name in names]
    if repeated or len(set(names)) < len(names):
        problem = f"{repeated[0]} twice" if repeated else "one column for two roles"
        raise KitError(f"--columns names {problem}. Only negative may be given several times.")
    if NEGATIVE in mapping and LABEL in mapping:
        raise KitError("--columns names a negative and a label, and no loss takes both. Leave one out.")


def assign_roles(columns: Mapping[str, ColumnValues], mapping: Mapping[str, list[str]], where: str) -> Roles:
    """Return which column has which role.

    Args:
        columns: The file's, in its order.
        mapping: As :func:`read_mapping` returns it; where it is empty, the names decide.
        where: The file, for errors.

    Raises:
        KitError: If the names do not decide.
    """
    if mapping:
        return _assign_mapped(columns, mapping, where)
    plain = {name: plain_name(name) for name in columns}
    _refuse_objects(columns, plain, where)
    negatives = [name for name, values in columns.items() if is_negative_name(plain[name]) and values.is_text]
    label = _find_label(columns, plain, where)
    texts = {name: v for name, v in columns.items() if v.is_text and name != label and name not in negatives}
    anchor, positive, numbered_negatives = _find_texts(texts, plain, where, bool(negatives))
    negatives += numbered_negatives
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
            is_ambiguous = plain[name] in _AMBIGUOUS_METADATA or not is_metadata(name)
            if is_ambiguous and columns[name].may_be_label:
                raise KitError(
                    f"{where}: the column {name!r} may be a label or not. Say which: --columns anchor={anchor} "
                    f"positive={positive} label={name}, or without label={name}."
                )
    return Roles(anchor, positive, tuple(negatives), label, unused)


def _assign_mapped(columns: Collection[str], mapping: Mapping[str, list[str]], where: str) -> Roles:
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
    """Refuse a file whose texts lie in objects: another column would be taken instead."""
    positive_names = {name for group in ALIASES[POSITIVE][:2] for name in group} - _ANSWER_SPANS
    for name, values in columns.items():
        is_negative = is_negative_name(plain[name]) and not is_metadata(name)
        if values.has_objects and not values.has_texts and (plain[name] in positive_names or is_negative):
            raise KitError(
                f"{where}: the column {name!r} holds objects, not texts. Write its texts into a column of their own, "
                "or name others: --columns anchor=NAME positive=NAME."
            )


def _find_label(columns: Mapping[str, ColumnValues], plain: Mapping[str, str], where: str) -> str | None:
    label = _find_column(LABEL, columns, plain, where)
    if label is not None and plain[label] in _AMBIGUOUS_LABELS and not columns[label].may_be_label:
        raise KitError(f"{where}: the column {label!r} may be a label or a text. {_HOW_TO_NAME}.")
    return label


def _find_texts(
    texts: Mapping[str, ColumnValues], plain: Mapping[str, str], where: str, has_negatives: bool
) -> tuple[str | None, str | None, list[str]]:
    """Return anchor and positive, ``None`` if the names do not tell, and the negatives of numbered names."""
    pair, further = find_numbered_texts(texts, plain, has_negatives)
    others = {name: values for name, values in texts.items() if name not in (*pair, *further)}
    anchor, positive = (_find_column(role, others, plain, where) for role in (ANCHOR, POSITIVE))
    if anchor is None and positive is not None and plain[positive] in ALIASES[POSITIVE][-1]:
        positive = None  # a general name means the positive only if there is an anchor
    if anchor is not None or positive is not None:
        return anchor, positive, []
    if pair:
        return pair[0], pair[1], further
    unknown = [name for name in texts if not is_metadata(name)]
    has_role_words = any(not _ROLE_WORDS.isdisjoint(plain[name].split("_")) for name in unknown)
    if len(unknown) == 2 and not has_role_words and not has_negatives and not further:
        return unknown[0], unknown[1], []
    return None, None, []


def _find_column(role: str, columns: Mapping[str, ColumnValues], plain: Mapping[str, str], where: str) -> str | None:
    """Return the column of a role, by the first group of aliases that has one."""
    for group in ALIASES[role]:
        found = [name for name in columns if plain[name] in group]
        if len(found) > 1:
            options = " or ".join(f"{role}={name}" for name in found)
            raise KitError(f"{where}: the {role} may be {' or '.join(found)}. Say which: --columns ... {options}.")
        if found:
            return found[0]
    return None


def _undecided(columns: Mapping[str, ColumnValues], roles: Mapping[str, str | None], where: str) -> str:
    texts = [name for name, values in columns.items() if values.is_text]
    missing = " and ".join(role for role, name in roles.items() if name is None)
    listed = f"{', '.join(columns):.300}"
    if len(texts) < 2:
        count = "one column" if texts else "no column"
        return f"{where} has {count} of text where at least two are needed (columns: {listed}). Give pairs of texts."
    return f"{where}: it cannot be known which column is the {missing} (columns: {listed}). {_HOW_TO_NAME}."
