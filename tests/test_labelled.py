"""Labelled files: what the columns mean is read from their names or refused, and no row or label is read as another."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from transformers import TrainerControl, TrainerState, TrainingArguments

from tsdae_kit.config.conversion import make_settings
from tsdae_kit.config.settings import FineTuneSettings
from tsdae_kit.corpus.formats import Format
from tsdae_kit.errors import KitError
from tsdae_kit.labelled.column_names import ALIASES, ANCHOR, LABEL, POSITIVE
from tsdae_kit.labelled.loading import load_labelled
from tsdae_kit.labelled.pairs import LabelledFile
from tsdae_kit.training.pair_losses import check_learnable
from tsdae_kit.training.progress import Progress


def write(name: str, rows: list[dict[str, Any]]) -> Path:
    path = Path(name)
    if path.suffix in (".csv", ".tsv"):
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0], delimiter="," if path.suffix == ".csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def load(path: Path | str, *columns: str, **options: Any) -> LabelledFile:
    return load_labelled([Path(path)], Format(**options), columns).files[0]


def table(names: str, count: int = 4) -> list[dict[str, Any]]:
    """Return rows of such columns; the name of each text begins with the first letters of its column."""
    return [{name: f"{name} text number {i}" for name in names.split()} for i in range(count)]


@pytest.mark.parametrize(
    ("names", "mapping"),
    [
        ("query pos neg", "anchor = query, positive = pos, negatives = neg"),
        ("neg pos query", "anchor = query, positive = pos, negatives = neg"),
        ("query document negative", "anchor = query, positive = document, negatives = negative"),
        ("id title context question", "anchor = question, positive = context; not used: id, title"),
        ("query_id Query passage source lang", "anchor = Query, positive = passage; not used: query_id, source, lang"),
        ("premise hypothesis", "anchor = premise, positive = hypothesis"),
        ("sentence2 sentence1", "anchor = sentence1, positive = sentence2"),
        ("sent1 sent0 hard_neg", "anchor = sent0, positive = sent1, negatives = hard_neg"),
        ("text_b text_a", "anchor = text_a, positive = text_b"),
        ("tweet_2 tweet_1 url", "anchor = tweet_1, positive = tweet_2; not used: url"),
        ("prompt chosen rejected", "anchor = prompt, positive = chosen, negatives = rejected"),
        ("prompt query pos", "anchor = query, positive = pos; not used: prompt"),
        ("anchor positive query", "anchor = anchor, positive = positive; not used: query"),
        ("negative_2 positive anchor negative_1", "anchor = anchor, positive = positive, negatives = negative_2 and "
                                                  "negative_1"),
        ("HardNegative Positive ANCHOR", "anchor = ANCHOR, positive = Positive, negatives = HardNegative"),
        ("query text", "anchor = query, positive = text"),
        ("q a", "anchor = q, positive = a"),
        ("question comment answer", "anchor = question, positive = answer; not used: comment"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv", "parquet"])
def test_names_decide_whatever_their_case_and_order(names: str, mapping: str, kind: str) -> None:
    """`query, pos, neg` once pulled positive and negative together (60.3 average precision where 81.3 was right)."""
    file = load(write(f"a.{kind}", table(names)))
    assert str(file.roles) == mapping
    first = file.rows.to_pylist()[0]
    assert file.roles is not None
    assert list(first.values()) == [f"{name} text number 0" for name in
                                    (file.roles.anchor, file.roles.positive, *file.roles.negatives)]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("id url title body created", "it cannot be known which column is the anchor and positive"),
        ("question context answer", "the positive may be context or answer"),
        ("query question answer", "the anchor may be query or question"),
        ("question reply_text", "it cannot be known which column is the positive"),
        ("eins zwei drei", "it cannot be known which column is the anchor and positive"),
        ("eins zwei negative", "it cannot be known which column is the anchor and positive"),
        ("text", "has one column of text"),
        ("question answer1 answer2", "it cannot be known which column is the positive"),
        ("anchor positive_1 positive_2", "it cannot be known which column is the positive"),
    ],
)
def test_what_the_names_do_not_say_is_refused_with_the_flag_that_decides(names: str, message: str) -> None:
    with pytest.raises(KitError, match=message) as raised:
        load(write("a.jsonl", table(names)))
    assert "--columns" in str(raised.value) or "pairs of texts" in str(raised.value)


def test_from_python_and_in_a_plan_the_roles_are_a_mapping() -> None:
    mapping = {"anchor": "a", "positive": "b", "negative": ["c", "d"]}
    made = make_settings(FineTuneSettings, {"files": ["a.jsonl"], "columns": mapping})
    assert made.columns == ("anchor=a", "positive=b", "negative=c", "negative=d")


def test_columns_names_the_roles(caplog: pytest.LogCaptureFixture) -> None:
    path = write("a.jsonl", [{**row, "grade": i % 3 / 2} for i, row in enumerate(table("reply prompt note bad worse"))])
    file = load(path, "anchor=prompt", "positive=reply", "label=grade")
    assert str(file.roles) == "anchor = prompt, positive = reply, label = grade; not used: note, bad, worse"
    assert (file.labels, file.rows["label"].to_pylist()) == ("scores", [0.0, 0.5, 1.0, 0.0])
    file = load(path, "anchor=prompt", "positive=reply", "negative=bad", "negative=worse")
    assert file.rows.column_names == ["anchor", "positive", "negative_1", "negative_2"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["anchor=a"], "names no positive"),
        (["positive=a", "label=b"], "names no anchor"),
        (["query=a", "positive=b"], "'query=a' is not ROLE=NAME"),
        (["anchor", "positive=b"], "'anchor' is not ROLE=NAME"),
        (["anchor=a", "positive=a"], "one column for two roles"),
        (["anchor=a", "anchor=b", "positive=c"], "anchor twice"),
        (["anchor=a", "positive=b", "label=c", "negative=d"], "no loss takes both"),
        (["anchor=a", "positive=z"], r"no column 'z' \(there are: a, b\)"),
    ],
)
def test_columns_that_contradict_each_other_or_the_file_are_one_line(columns: list[str], message: str) -> None:
    with pytest.raises(KitError, match=message):
        load(write("a.jsonl", table("a b")), *columns)


def test_of_several_files_the_mapping_holds_for_those_that_have_the_columns() -> None:
    paths = [write("a.jsonl", table("frage antwort note")), write("b.jsonl", table("positive anchor"))]
    files = load_labelled(paths, columns=["anchor=frage", "positive=antwort"]).files
    assert [str(file.roles) for file in files] == [
        "anchor = frage, positive = antwort; not used: note", "anchor = anchor, positive = positive",
    ]  # fmt: skip
    with pytest.raises(KitError, match="None of the files has a column"):
        load_labelled(paths, columns=["anchor=nowhere", "positive=here"])


LABELLED = [{"question1": f"first text {i}", "question2": f"second text {i}"} for i in range(6)]


@pytest.mark.parametrize(
    ("name", "values", "labels", "expected"),
    [
        ("is_duplicate", [0, 1], "binary", [0, 1]),
        ("isDuplicate", ["0", "1"], "binary", [0, 1]),
        ("label", [True, False], "binary", [1, 0]),
        ("label", ["yes", "No"], "binary", [1, 0]),
        ("label", ["1.0", "0.0"], "binary", [1, 0]),
        ("relatedness_score", ["4.5", "3"], "scores", [4.5, 3.0]),
        ("score", [0, 1, 2], "scores", [0.0, 1.0, 2.0]),
        ("score", ["0,75", "1", "0,5"], "scores", [0.75, 1.0, 0.5]),
        ("label", [0, 1, 2], "classes", [0, 1, 2]),
        ("label", ["2", "0", "1"], "classes", [2, 0, 1]),
        ("similarity", [-1, 1], "scores", [-1.0, 1.0]),
        ("gold_label", ["neutral", "entailment"], "classes", [1, 0]),
        ("entailment_judgment", ["NEUTRAL", "ENTAILMENT"], "classes", [1, 0]),
    ],
)
@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_label_of_another_name_or_type_is_a_label(
    name: str, values: list[Any], labels: str, expected: list[float], kind: str
) -> None:
    """Quora's `is_duplicate` was left out, and all its pairs were trained on as positives."""
    rows = [{**row, name: values[i % len(values)]} for i, row in enumerate(LABELLED)]
    file = load(write(f"a.{kind}", rows))
    assert file.labels == labels
    assert file.rows["label"].to_pylist() == [expected[i % len(expected)] for i in range(6)]


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"score": [0.5, 1], "label": [0, 1]}, "the label may be score or label"),
        ({"same": [0, 1]}, "the column 'same' may be a label or not"),
        ({"same": ["0", "1"]}, "the column 'same' may be a label or not"),
        ({"closeness": [0.25, 0.75]}, "the column 'closeness' may be a label or not"),
        ({"verdict": ["similar", "different"]}, "the column 'verdict' may be a label or not"),
        ({"label": ["1", "0", "1", "0", "1", "none of them"]}, r"line 6: the label 'none of them' is no number"),
        ({"label": [[1], [0]]}, r"line 1: the label 'label' holds a list"),
        ({"label": [0, 1], "negative": ["a text", "a text"]}, "no loss takes both"),
    ],
)
def test_what_may_be_a_label_is_not_passed_over(extra: dict[str, list[Any]], message: str) -> None:
    rows = [{**row, **{name: v[i % len(v)] for name, v in extra.items()}} for i, row in enumerate(LABELLED)]
    with pytest.raises(KitError, match=message):
        load(write("a.jsonl", rows))


def test_numbers_of_a_row_are_no_labels() -> None:
    rows = [{**row, "id": i, "views": 100 * i, "page": 1, "length": i % 2} for i, row in enumerate(LABELLED)]
    assert str(load(write("a.jsonl", rows)).roles).endswith("not used: id, views, page, length")


def test_a_label_that_is_no_number_is_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    values = ["1", "nan", "inf", "", "0", "1"]
    for name, given_values in (("a.csv", values), ("b.jsonl", [1, float("nan"), float("inf"), None, 0, 1])):
        rows = [{**row, "label": value} for row, value in zip(LABELLED, given_values, strict=True)]
        file = load(write(name, rows))
        assert (file.labels, file.rows["label"].to_pylist()) == ("binary", [1, 0, 1])
        assert f"{name}: 3 of 6 rows lack a text or a label and are left out" in caplog.text
    snli = [{**row, "gold_label": v} for row, v in zip(LABELLED, ["neutral", "-", "entailment"] * 2, strict=True)]
    assert load(write("c.jsonl", snli)).classes == ("entailment", "neutral")


def test_lists_of_negatives_and_rows_with_fewer(caplog: pytest.LogCaptureFixture) -> None:
    """The layout of FlagEmbedding; a row without a negative takes those that its batch would give it anyway."""
    caplog.set_level("INFO", "tsdae_kit")
    lists = [["n0", "m0"], ["n1"], [], None, ["n4", "p4", ""]]
    rows = [{"query": f"q{i}", "pos": [f"p{i}"], "neg": neg, "pos_scores": [0.5], "neg_scores": [0.1, 0.2]}
            for i, neg in enumerate(lists)]  # fmt: skip
    file = load(write("a.jsonl", rows))
    assert [tuple(row.values()) for row in file.rows.to_pylist()] == [
        ("q0", "p0", "n0", "m0"), ("q1", "p1", "n1", "n1"), ("q2", "p2", "p3", "p4"), ("q3", "p3", "p4", "p0"),
        ("q4", "p4", "n4", "n4"),
    ]  # fmt: skip
    assert str(file.roles).endswith("not used: pos_scores, neg_scores")
    assert "2 rows have fewer than 2 negatives, which are repeated" in caplog.text
    assert "2 rows have no negative and take other rows' positives" in caplog.text
    assert "in 1 rows a negative is the row's own anchor or positive, and is left out" in caplog.text


def test_each_positive_of_a_list_is_a_pair_and_a_long_list_of_negatives_is_cut() -> None:
    rows = [{"query": f"q{i}", "positives": [f"p{i}", f"r{i}"], "negatives": [f"n{i}-{j}" for j in range(9)]}
            for i in range(2)]  # fmt: skip
    file = load(write("a.parquet", rows))
    assert file.rows["positive"].to_pylist() == ["p0", "r0", "p1", "r1"]
    assert file.rows.column_names == ["anchor", "positive", *(f"negative_{i}" for i in range(1, 8))]


@pytest.mark.parametrize(
    ("value", "what"), [(["a", "b"], "a list"), (3, "a number"), ({"text": "a"}, "an object"), (True, "true or false")]
)
@pytest.mark.parametrize("column", ["anchor", "positive", "negative"])
def test_what_is_no_text_is_named_by_its_line(column: str, value: Any, what: str) -> None:
    rows = table("anchor positive negative")
    rows[2][column] = [value] if column != "anchor" else value
    with pytest.raises(KitError, match=rf"a\.jsonl, line 3: the column '{column}' holds {what}"):
        load(write("a.jsonl", rows))


SENTENCES = [("the doctor treats a rash today", "one nurse needs some sleep after a week")] * 3


@pytest.mark.parametrize(
    ("lines", "columns", "mapping"),
    [
        (SENTENCES, (), "anchor = column 1, positive = column 2"),
        ([("1", *SENTENCES[0]), ("0", *SENTENCES[1])], (), "anchor = column 2, positive = column 3, label = column 1"),
        (
            [(*SENTENCES[0], "0.5"), (*SENTENCES[1], "1")],
            (),
            "anchor = column 1, positive = column 2, label = column 3",
        ),
        (
            [("neutral", "one", "two"), ("entailment", "three", "four")],
            (),
            "anchor = column 2, positive = column 3, label = column 1",
        ),
        (
            [("7", *SENTENCES[0]), ("8", *SENTENCES[1])],
            ("anchor=2", "positive=3"),
            "anchor = column 2, positive = column 3; not used: column 1",
        ),
        (
            [("5", "render one language in another language", "words from one language")] * 2,
            (),
            "anchor = column 2, positive = column 3, label = column 1",
        ),
        ([("x", "y"), ("z", "w")], ("anchor=2", "positive=1"), "anchor = column 2, positive = column 1"),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_a_file_without_a_header_loses_no_row(
    lines: list[tuple[str, ...]], columns: tuple[str, ...], mapping: str, kind: str
) -> None:
    """The first pair was eaten as the names of the columns."""
    delimiter = "," if kind == "csv" else "\t"
    Path(f"a.{kind}").write_text("".join(delimiter.join(line) + "\n" for line in lines))
    file = load(f"a.{kind}", *columns)
    assert len(file.rows) == len(lines)
    assert str(file.roles) == mapping


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("k,l\nm,n\n", "whether the first line .* names the columns"),
        ("answer,this one is a long sentence\nmore,of the same kind of text\n", "whether the first line"),
        ("7,the doctor treats a rash,one nurse sleeps well\n8,the doctor treats,one nurse sleeps\n", "no header"),
        ("a long text of words,a long text of words,a long text of words\n", "no header"),
        ("question,question,answer\na,b,c\n", "2 columns are called 'question'"),
        ("question,answer\n", "holds no rows"),
    ],
)
def test_a_first_line_that_may_be_names_or_texts_is_refused(content: str, message: str) -> None:
    Path("a.csv").write_text(content)
    with pytest.raises(KitError, match=message):
        load("a.csv")


def test_two_texts_of_names_that_say_nothing_are_taken_in_their_order_where_they_are_names() -> None:
    """A first line of one-word texts looks like names in a language that the table does not have."""
    assert str(load(write("a.jsonl", table("frage antwort"))).roles) == "anchor = frage, positive = antwort"
    with pytest.raises(KitError, match="whether the first line"):
        load(write("a.csv", table("frage antwort")))
    for names in ("chosen_response rejected_response", "good_answer bad_answer", "best_answer question_title"):
        with pytest.raises(KitError, match="it cannot be known"):
            load(write("a.jsonl", table(names)))


@pytest.mark.parametrize(
    ("names", "mapping"),
    [
        ("sentence_1 sentence_0 sentence_2", "anchor = sentence_0, positive = sentence_1, negatives = sentence_2"),
        ("bm25_negative anchor positive", "anchor = anchor, positive = positive, negatives = bm25_negative"),
        ("neg_doc_text query pos", "anchor = query, positive = pos, negatives = neg_doc_text"),
    ],
)
def test_triplets_of_other_names(names: str, mapping: str) -> None:
    """`sentence_0, sentence_1, sentence_2` (the library's own names) were read as `sentence_1, sentence_2`."""
    assert str(load(write("a.jsonl", table(names))).roles) == mapping


@pytest.mark.parametrize("names", ["sentence1 sentence2 sentence3", "text_1 text_2 text_3", "q1 q2 q3 q4"])
def test_three_of_a_family_are_no_pair(names: str) -> None:
    with pytest.raises(KitError, match="cannot be known"):
        load(write("a.jsonl", table(names)))


@pytest.mark.parametrize(
    ("name", "values", "labels", "expected"),
    [
        ("label", [0, 1, 2, -1], "classes", [0, 1, 2]),
        ("label", ["0.0", "1.0", "2.0"], "classes", [0, 1, 2, 0]),
        ("label", ["true", "0", "1", "False"], "binary", [1, 0, 1, 0]),
        ("label", ["Entailment", "entailment", "neutral"], "classes", [0, 0, 1, 0]),
        ("score", ["0,0", "0,5", "1,5"], "scores", [0.0, 0.5, 1.5, 0.0]),
    ],
)
def test_labels_as_they_come_from_the_hub_and_from_spreadsheets(
    name: str, values: list[Any], labels: str, expected: list[float]
) -> None:
    """SNLI's -1 (no majority) made its classes scores, contradiction the most similar; 0.0 for 0 too."""
    rows = [{**row, name: values[i % len(values)]} for i, row in enumerate(LABELLED[:4])]
    file = load(write("a.jsonl", rows))
    assert (file.labels, file.rows["label"].to_pylist()) == (labels, expected)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"score": ["50%", "75%"]}, "the label '50%' is no number that is understood"),
        ({"score": ["1,000", "500"]}, "the label '1,000' is no number"),
        ({"label": ["4/5", "2/5"]}, "the label '4/5' is no number"),
        ({"score": ["high", "low"]}, "the label 'high' is no number"),
        ({"verdict": ["SUPPORTS", "REFUTES"]}, "the column 'verdict' may be a label or not"),
        ({"type": ["paraphrase", "other"]}, "the column 'type' may be a label or not"),
        ({"category": [0, 1]}, "the column 'category' may be a label or not"),
        ({"target": [f"a long text {i}" for i in range(6)]}, "the column 'target' may be a label or a text"),
    ],
)
def test_labels_that_are_not_understood_are_refused(extra: dict[str, list[Any]], message: str) -> None:
    rows = [{**row, **{name: v[i % len(v)] for name, v in extra.items()}} for i, row in enumerate(LABELLED)]
    with pytest.raises(KitError, match=message):
        load(write("a.jsonl", rows))


def test_texts_that_lie_in_objects_are_not_replaced_by_others() -> None:
    rows = [{"query": f"q {i}", "answers": ["foo"], "positive_passages": [{"text": "t"}]} for i in range(4)]
    with pytest.raises(KitError, match="the column 'positive_passages' holds objects"):
        load(write("a.jsonl", rows))
    squad = [
        {"question": f"q {i}", "context": f"c {i}", "answers": {"text": ["c"], "answer_start": [0]}} for i in range(4)
    ]
    assert str(load(write("a.jsonl", squad)).roles) == "anchor = question, positive = context; not used: answers"


@pytest.mark.parametrize(
    "lines",
    [
        [(str(i // 2), *SENTENCES[0]) for i in range(6)],
        [("1048585", *SENTENCES[0]), ("1048585", *SENTENCES[0]), ("1048586", *SENTENCES[0])],
        [(f"doc{i}", SENTENCES[0][0] + str(i)) for i in range(6)],
        [("sleep well", "good night", "no"), (*SENTENCES[0], "yes"), (*SENTENCES[0], "no")],
        [("insomnia", "trouble sleeping"), *SENTENCES],
    ],
)
def test_numbers_and_ids_of_a_file_without_a_header_are_no_labels_and_no_texts(lines: list[tuple[str, ...]]) -> None:
    """MS MARCO's query ids were learned as scores."""
    rows = [(a, f"{b} {i // 2}", *c) for i, (a, b, *c) in enumerate(lines)] if lines[0][0] == "0" else lines
    Path("a.tsv").write_text("".join("\t".join(line) + "\n" for line in rows))
    with pytest.raises(KitError, match="cannot be known"):
        load("a.tsv")


def test_a_mapping_decides_the_header_of_its_own_files_alone() -> None:
    good = write("good.csv", table("positive anchor"))
    Path("h.tsv").write_text("".join("\t".join(pair) + "\n" for pair in SENTENCES))
    named = write("p.jsonl", table("prompt reply note"))
    files = load_labelled([named, Path("h.tsv")], columns=["anchor=prompt", "positive=reply"]).files
    assert [len(file.rows) for file in files] == [4, 3]
    files = load_labelled([Path("h.tsv"), good], columns=["anchor=2", "positive=1"]).files
    assert [str(file.roles) for file in files] == [
        "anchor = column 2, positive = column 1", "anchor = anchor, positive = positive",
    ]  # fmt: skip
    with pytest.raises(KitError, match="no column '2'"):
        load(good, "anchor=2", "positive=1")


def test_what_spreadsheets_and_pandas_write() -> None:
    Path("a.csv").write_text('sep=;\n"query"; "passage"\n"with; mark"; "and text"\n')
    assert load("a.csv").rows.to_pylist() == [{"anchor": "with; mark", "positive": "and text"}]
    Path("b.csv").write_text("query,pos,neg\n" + """a,b,"['n0', 'n1']"\n""")
    with pytest.raises(KitError, match="line 2: the column 'neg' holds a list written as text"):
        load("b.csv")
    rows = [{"query": "a", "pos": "nan"}, {"query": "None", "pos": "b"}, {"query": "c", "pos": "d"}]
    assert load(write("c.jsonl", rows)).rows.to_pylist() == [{"anchor": "c", "positive": "d"}]


def test_a_key_that_stands_twice_and_half_a_character_are_no_text() -> None:
    Path("a.jsonl").write_text('{"query": "a", "query": "b", "pos": "c"}\n')
    with pytest.raises(KitError, match=r"a\.jsonl, line 1: no JSON \(the key 'query' stands twice\)"):
        load("a.jsonl")
    for name, line in (
        ("b.jsonl", '{"query": "half \\ud83d", "pos": ["c \\ude00"]}\n'),
        ("c.json", '[{"query": "half \\ud83d", "pos": ["c \\ude00"]}]'),
    ):
        Path(name).write_text(line)
        assert load(name).rows.to_pylist() == [{"anchor": "half \ufffd", "positive": "c \ufffd"}]


def test_labelled_files_are_read_as_a_corpus_is() -> None:
    """Compression, capitals, a list, an encoding, a quotation mark in TSV: one reader for all."""
    rows = [{"query": f'a "quoted" café {i}', "passage": f"the passage {i}"} for i in range(3)]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    Path("A.JSONL.ZST").write_bytes(pa.compress(lines.encode(), "zstd", asbytes=True))
    Path("b.json").write_text(json.dumps(rows, indent=1))
    Path("c.jsonl").write_bytes(lines.encode("latin-1"))
    Path("d.tsv").write_bytes(
        ("query\tpassage\n" + "".join("\t".join(r.values()) + "\n" for r in rows)).encode("utf-16")
    )
    expected = [[row["query"], row["passage"]] for row in rows]
    for name, options in (("A.JSONL.ZST", {}), ("b.json", {}), ("c.jsonl", {"encoding": "latin-1"}), ("d.tsv", {})):
        assert [list(row.values()) for row in load(name, **options).rows.to_pylist()] == expected
    with pytest.raises(KitError, match=r"c\.jsonl, line 1: the byte 0xe9 is not UTF-8"):
        load("c.jsonl")


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_every_type_of_text_column_is_text(kind: pa.DataType) -> None:
    columns = {name: pa.array([f"{name} {i}" for i in range(3)]).cast(kind) for name in ("pos", "query")}
    parquet.write_table(pa.table(columns), "a.parquet")
    assert load("a.parquet").rows.to_pylist()[0] == {"anchor": "query 0", "positive": "pos 0"}


NEGATIVES = ["neg", "negative", "hard_negative", "negatives", "negative_1", "Hard Negative"]
EXTRA = ["id", "url", "lang", "language", "source", "title", "query_id", "doc_id", "topic", "comment", "notes_2"]


@st.composite
def label_files(draw: st.DrawFn) -> dict[str, Any]:
    """Names from the table, in any spelling and order, with or without negatives, a label and other columns."""
    names = {role: draw(st.sampled_from([name for group in ALIASES[role] for name in group])) for role in
             (ANCHOR, POSITIVE, LABEL)}  # fmt: skip
    third = draw(st.sampled_from(["none", "scalar", "list", LABEL]))
    spelling = draw(st.sampled_from([str, str.upper, str.title, lambda name: name.replace("_", " ")]))
    return {
        "names": {role: spelling(name) for role, name in names.items()}, "third": third,
        "negative": spelling(draw(st.sampled_from(NEGATIVES))),
        "extra": draw(st.lists(st.sampled_from(EXTRA), unique=True, max_size=4)), "order": draw(st.randoms()),
        "kind": draw(st.sampled_from(["jsonl", "csv", "tsv", "parquet", "json"])),
    }  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(label_files())
def test_generated_files_are_read_with_the_right_roles_or_refused(spec: dict[str, Any]) -> None:
    names, third, order = spec["names"], spec["third"], spec["order"]
    in_lines = spec["kind"] in ("csv", "tsv")
    rows = []
    columns = [names[ANCHOR], names[POSITIVE], *spec["extra"]]
    columns += [names[LABEL]] if third == LABEL else [spec["negative"]] if third != "none" else []
    order.shuffle(columns)
    for i in range(6):
        negative: Any = f"negative text {i}" if third == "scalar" or in_lines else [f"negative text {i}", "another one"]
        values = {names[ANCHOR]: f"anchor text {i}", names[POSITIVE]: f"positive text {i}", names[LABEL]: i % 2,
                  spec["negative"]: negative}  # fmt: skip
        rows.append({name: values.get(name, f"other {name} {i}") for name in columns})
    path = Path(f"generated.{spec['kind']}")
    if spec["kind"] == "json":
        path.write_text(json.dumps(rows))
    else:
        write(path.name, rows)
    refusal = ""
    try:
        file = load(path)
    except KitError as error:
        refusal = str(error)
    if refusal:
        assert "--columns" in refusal
        return
    first = file.rows.to_pylist()[0]
    assert (first["anchor"], first["positive"]) == ("anchor text 0", "positive text 0")
    if third == LABEL:
        assert file.rows["label"].to_pylist() == [0, 1] * 3
    else:
        assert "label" not in first
        texts = [value for name, value in first.items() if name.startswith("negative")]
        assert texts[:1] == ([] if third == "none" else ["negative text 0"])


def test_most_generated_files_are_read() -> None:
    """What is read right must not be bought by refusing everything: each pair of a first name of both roles is read."""
    for anchor in ALIASES[ANCHOR][1]:
        for positive in ALIASES[POSITIVE][1]:
            columns = [anchor, positive]
            random.Random(anchor + positive).shuffle(columns)
            rows = [{name: f"{name} {i}" for name in columns} for i in range(3)]
            assert str(load(write("a.jsonl", rows)).roles) == f"anchor = {anchor}, positive = {positive}"


def learnable(rows: list[dict[str, Any]], objective: Any, batch_size: int = 8) -> None:
    check_learnable(load(write("a.jsonl", rows)).rows, objective, batch_size, "a.jsonl")


def test_pairs_from_which_nothing_can_be_learned_are_refused(caplog: pytest.LogCaptureFixture) -> None:
    """The loss was 0 from the first step on, and the run ended well (sentence-transformers issue 3348)."""
    pairs = table("anchor positive", 20)
    for rows, size, message in (
        (pairs[:1], 8, "holds one row"),
        ([pairs[0]] * 20, 8, "a batch holds a single pair .*a text stands in a batch once"),
        ([{**row, "anchor": "the same"} for row in pairs], 8, "a batch holds a single pair"),
        ([{**row, "positive": "the same"} for row in pairs], 8, "a batch holds a single pair"),
        (pairs, 1, "--batch-size is 1"),
        ([table("anchor positive negative")[0]] * 20, 8, "a batch holds a single pair"),
    ):
        with pytest.raises(KitError, match=message):
            learnable(rows, "multiple-negatives", size)
    for objective, label in (("contrastive", 1), ("cosent", 0.5), ("softmax", "neutral")):
        with pytest.raises(KitError, match="every label is"):
            learnable([{**row, "label": label} for row in pairs], objective)
    assert not caplog.text
    learnable([{**row, "positive": f"answer {i % 3}"} for i, row in enumerate(pairs)], "multiple-negatives")
    assert "!!! a.jsonl: a batch holds 3 rows, not 8" in caplog.text
    caplog.clear()
    learnable(pairs, "multiple-negatives")
    learnable([{**row, "anchor": "one query", "label": i % 2} for i, row in enumerate(pairs)], "contrastive")
    assert not caplog.text


def test_a_loss_of_0_from_the_first_step_on_is_said(caplog: pytest.LogCaptureFixture) -> None:
    progress = Progress(Path("metrics.jsonl"), 8)
    for loss in (0.0, 0.0, 0.5):
        progress.on_log(
            TrainingArguments("out"), TrainerState(epoch=0.5, max_steps=3), TrainerControl(), {"loss": loss}
        )
    assert caplog.text.count("!!! The loss is 0") == 1
