"""What prepare reads: every format, compression and encoding gives the same texts; bad input gives one line."""

from __future__ import annotations

import bz2
import csv
import errno
import gzip
import io
import json
import lzma
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import ipc, parquet

from tests.tiny import make_sentences
from tsdae_kit import KitError, load_prepared, prepare_corpus
from tsdae_kit.corpus import blocks, file_search, json_files
from tsdae_kit.corpus.prepared_folder import read_manifest

TEXTS = [
    *make_sentences(20),
    'a "quoted", comma and tab\tin it',
    "Größe, 血圧が高い患者です, élan",
    "a line\u2028separator is no line end",
]


def read_back(*names: str, **given: Any) -> list[str]:
    """Return the clean texts in the order of the input."""
    output = prepare_corpus(files=list(names), output="out", held_out=0, overwrite=True, **given)
    texts: list[str] = load_prepared(output).train["clean"][:]
    return texts


def expected(texts: list[str] = TEXTS) -> list[str]:
    return [" ".join(text.split()) for text in texts]


def as_csv(delimiter: str, ids: bool = True) -> bytes:
    stream = io.StringIO()
    rows = [["id", "text"], *enumerate(TEXTS)] if ids else [[text] for text in TEXTS]
    csv.writer(stream, delimiter=delimiter).writerows(rows)
    return stream.getvalue().encode()


def as_arrow(path: Path, new: Callable[..., Any]) -> None:
    table = pa.table({"id": range(len(TEXTS)), "text": TEXTS})
    with new(str(path), table.schema) as writer:
        writer.write_table(table)


def write_wrong_offsets(path: Path) -> None:
    """Followed without a look, they end the process."""
    offsets, data = pa.array([0, 1 << 30, 5], pa.int32()).buffers()[1], pa.py_buffer(b"texts")
    batch = pa.record_batch([pa.StringArray.from_buffers(2, offsets, data)], names=["text"])
    with ipc.new_stream(str(path), batch.schema) as writer:
        writer.write_batch(batch)


def write_twice(path: Path) -> None:
    parquet.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), path)


JSONL = "".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(TEXTS)).encode()
PLAIN = "\n".join(TEXTS).encode()
TSV = "".join("{}\t{}\n".format(i, text.replace("\t", " ")) for i, text in [("id", "text"), *enumerate(TEXTS)]).encode()
FILES: dict[str, Callable[[Path], Any]] = {
    "a.txt": lambda path: path.write_bytes(PLAIN),
    "a.txt.gz": lambda path: path.write_bytes(gzip.compress(PLAIN)),
    "a.txt.bz2": lambda path: path.write_bytes(bz2.compress(PLAIN)),
    "a.txt.xz": lambda path: path.write_bytes(lzma.compress(PLAIN)),
    "a.txt.zst": lambda path: path.write_bytes(pa.compress(PLAIN, "zstd", asbytes=True)),
    "a.jsonl": lambda path: path.write_bytes(JSONL),
    "a.jsonl.zst": lambda path: path.write_bytes(pa.compress(JSONL, "zstd", asbytes=True)),
    "a.json": lambda path: path.write_bytes(JSONL),
    "a.csv": lambda path: path.write_bytes(as_csv(",")),
    "a.tsv.gz": lambda path: path.write_bytes(gzip.compress(TSV)),
    "A.JSONL.GZ": lambda path: path.write_bytes(gzip.compress(JSONL)),
    "array.json": lambda path: path.write_text(json.dumps([{"id": i, "text": t} for i, t in enumerate(TEXTS)])),
    "lines.json": lambda path: path.write_text(json.dumps([{"text": t} for t in TEXTS], indent=1)),
    "texts.json": lambda path: path.write_text(f" \n{json.dumps(TEXTS, ensure_ascii=False)}\n"),
    "Excel.CSV": lambda path: path.write_bytes(as_csv(";")),
    "a.parquet": lambda path: parquet.write_table(pa.table({"text": TEXTS}), path, row_group_size=5),
    "a.arrow": lambda path: as_arrow(path, ipc.new_stream),
    "a.feather": lambda path: as_arrow(path, ipc.new_file),
    "saved": lambda path: Dataset.from_dict({"text": TEXTS}).save_to_disk(str(path)),
    "dict": lambda path: DatasetDict({"all": Dataset.from_dict({"text": TEXTS})}).save_to_disk(str(path)),
}


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_texts(name: str) -> None:
    FILES[name](Path(name))
    assert read_back(name) == expected()


def test_a_quoted_field_may_hold_line_ends_and_small_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks end within characters, lines, quotes and the two bytes of a Windows line end."""
    texts = [f"{text}\nand a second line" for text in TEXTS]
    with Path("a.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["text"], *([text] for text in texts)])
    Path("a.txt").write_bytes("\r\n".join(TEXTS).encode())
    whole = read_back("a.csv"), read_back("a.txt"), read_back("a.txt", split="paragraphs", max_chars=9999)
    assert whole == (expected(texts), expected(), [" ".join(expected())])
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 7)
    assert whole == (read_back("a.csv"), read_back("a.txt"), read_back("a.txt", split="paragraphs", max_chars=9999))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32", "gb18030", "shift_jis"])
@pytest.mark.parametrize("kind", ["txt", "csv"])
def test_other_encodings(encoding: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 33)
    texts = [*make_sentences(5), "血圧が高い患者です。薬を飲みます。"]
    Path(f"a.{kind}").write_bytes("\r\n".join((["text"] if kind == "csv" else []) + texts).encode(encoding))
    assert read_back(f"a.{kind}", encoding=encoding) == texts
    if encoding in ("utf-16", "utf-32"):
        assert read_back(f"a.{kind}") == texts
    if encoding not in ("utf-8-sig", "utf-16", "utf-32"):  # whose mark is recognised
        with pytest.raises(KitError, match=rf"a\.{kind}, line \d: .*--encoding"):
            read_back(f"a.{kind}")


def test_a_wrong_byte_of_utf_16_is_named_by_its_line() -> None:
    Path("a.txt").write_bytes("\n".join(make_sentences(3)).encode("utf-16-le") + b"\n\0\0\xd8x\0")
    with pytest.raises(KitError, match=r"a\.txt, line 4: .*utf-16-le"):
        read_back("a.txt", encoding="utf-16-le")


def test_several_inputs_at_once_and_one_file_named_twice_is_read_once() -> None:
    for name in ("a.txt", "a.jsonl"):
        FILES[name](Path(name))
    Path("links").mkdir()
    Path("links/a.txt").symlink_to(Path("a.txt").resolve())
    assert read_back("a.txt", "a.txt", "*.txt", "links", "a.jsonl") == expected()
    manifest = read_manifest(Path("out"))
    assert manifest is not None
    assert (manifest["read"], manifest["dropped"]) == (2 * len(TEXTS), {"duplicate": len(TEXTS)})


def test_a_folder_whose_links_go_in_a_circle_is_searched_once() -> None:
    Path("folder/deep").mkdir(parents=True)
    FILES["a.txt"](Path("folder/deep/a.txt"))
    Path("folder/deep/up").symlink_to(Path("folder").resolve())
    assert file_search._search(Path("folder")) == [Path("folder/deep/a.txt")]
    assert read_back("folder") == expected()


@pytest.mark.parametrize("name", ["array.json", "lines.json", "texts.json"])
def test_a_json_list_is_read_piece_by_piece(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks end within texts, escapes and names."""
    FILES[name](Path(name))
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 7)
    monkeypatch.setattr(json_files, "ROWS_PER_BATCH", 3)
    assert read_back(name) == expected()


@pytest.mark.parametrize(("delimiter", "name"), [(";", "a.csv"), ("\t", "a.csv"), ("|", "a.csv"), ("\t", "a.tsv")])
def test_a_delimiter_is_recognised_by_the_first_line(delimiter: str, name: str) -> None:
    Path(name).write_bytes(as_csv(delimiter))
    assert read_back(name, quoting="quotes") == expected()


def test_a_quotation_mark_of_a_tab_separated_file_is_a_character(caplog: pytest.LogCaptureFixture) -> None:
    texts = ['"So it begins', 'so it ends"', '"all of it is in marks"', 'a "word" within']
    Path("a.tsv").write_text("id\ttext\n" + "".join(f"{i}\t{text}\n" for i, text in enumerate(texts)))
    assert read_back("a.tsv") == texts
    assert "quotation marks" not in caplog.text
    for row in ('1\t"a ""quoted"" field"', '"1"\t"all fields"'):
        Path("a.tsv").write_text(f"id\ttext\n{row}\n0\tthe doctor treats a rash\n")
        read_back("a.tsv", min_chars=5)
        assert "!!! a.tsv: in 1 rows quotation marks seem to enclose the fields" in caplog.text
        caplog.clear()
    Path("a.csv").write_text("text\n" + "\n".join(texts) + "\n")
    assert read_back("a.csv", quoting="none") == texts


@pytest.mark.parametrize(
    "texts", [['"all of it"', '"and all of this"', "no mark"], ['"a ""word"" within"', *["no mark"] * 9]]
)
def test_marks_that_seem_to_enclose_the_fields_of_tsv_are_said(
    texts: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Programs enclose all fields, or those that hold a mark, which they double; one quoted speech is no sign."""
    Path("a.tsv").write_text("text\n" + "\n".join(texts) + "\n")
    read_back("a.tsv", min_chars=1)
    count = len([text for text in texts if '"' in text])
    assert f"in {count} rows quotation marks seem to enclose the fields" in caplog.text


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl", "a.json"])
def test_a_zero_byte_is_white_space_if_wrong_bytes_are_replaced(name: str) -> None:
    text = "the doctor\0treats a rash"
    content = {"a.txt": text, "a.csv": f"text\n{text}", "a.jsonl": f'{{"text": "{text}"}}',
               "a.json": f'[{{"text": "{text}"}}]'}  # fmt: skip
    Path(name).write_text(content[name])
    assert read_back(name, encoding_errors="replace") == ["the doctor treats a rash"]
    with pytest.raises(KitError, match=r"a\.\w+, line [12]|after line 1"):
        read_back(name)


TITLED = [{"id": f"d{i}", "title": f"Chapter {i}" if i % 2 else "", "text": text, "lang": "en"}
          for i, text in enumerate(make_sentences(6))]  # fmt: skip
WITH_TITLES = [f"{row['title']} {row['text']}".strip() for row in TITLED]


def write_titled(name: str) -> None:
    path = Path(name)
    if path.suffix == ".csv":
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, TITLED[0])
            writer.writeheader()
            writer.writerows(TITLED)
    elif path.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(TITLED), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(TITLED))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in TITLED))


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet", "a.json"])
def test_title_and_text_are_taken_together_and_it_is_said(name: str, caplog: pytest.LogCaptureFixture) -> None:
    write_titled(name)
    assert read_back(name) == WITH_TITLES
    assert "3 of 6 texts have a title, which stands before the text (--column text leaves titles out)" in caplog.text
    assert read_back(name, column="text") == [row["text"] for row in TITLED]
    assert read_back(name, column=["text", "title"])[1] == f"{TITLED[1]['text']} Chapter 1"
    with pytest.raises(KitError, match=r"no column 'titel'|has anything in the column 'titel'"):
        read_back(name, column=["titel", "text"])


def test_a_title_is_a_sentence_of_its_own_where_texts_are_cut() -> None:
    write_titled("a.jsonl")
    assert read_back("a.jsonl", split="sentences", min_chars=5)[1:3] == ["Chapter 1", TITLED[1]["text"]]


def test_columns_of_a_file_without_a_header_are_numbers() -> None:
    texts = make_sentences(4)
    Path("a.csv").write_text("".join(f"{i},{text}\n" for i, text in enumerate(texts)))
    assert read_back("a.csv", column="2") == texts
    with pytest.raises(KitError, match="no column '3'"):
        read_back("a.csv", column="3")


def write_evaluation_folder(layout: str) -> None:
    """A folder of test data; of each kind one file, whose texts hold the word secret, and the documents."""
    docs = "".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(make_sentences(5)))
    queries = json.dumps({"id": "q", "text": "A secret question of the test"}) + "\n"
    qrels, pair = "q\t1\t1\n", "1\tA secret text\tanother secret text\n"
    ranked = json.dumps({"query": "A secret query", "positive": ["secret"], "negative": ["secret"]}) + "\n"
    files = {
        "ours": {"docs.jsonl": docs, "queries.jsonl": queries, "queries_dev.jsonl": queries, "qrels.tsv": qrels,
                 "qrels_dev.tsv": qrels, "rerank.jsonl": ranked, "pairs_test.tsv": pair, "pairs_pit_test.tsv": pair},
        "beir": {"corpus.jsonl": docs, "queries.jsonl": queries, "qrels/test.tsv": qrels, "qrels/dev.tsv": qrels},
        "pairs": {"corpus.jsonl.gz": docs, "pairs_test_decided.tsv": pair, "nli_dev.tsv": pair,
                  "Pairs_Train.TSV": pair},
        "deep": {"field/docs.jsonl": docs, "field/Queries.JSONL": queries},
        "gpl": {"corpus.jsonl": docs, "qgen-queries.jsonl": queries, "qgen-qrels/train.tsv": qrels},
        "hub": {"corpus/test-0.jsonl": docs, "queries/test-0.jsonl": queries, "qrels/test-0.tsv": qrels},
        "names": {"documents.jsonl": docs, "testQueries.jsonl": queries, "sub/query.jsonl": queries, "qrels.tsv": qrels,
                  "sts_test.jsonl": queries},
        "trec": {"docs.jsonl": docs, "test.qrels.txt": qrels, "topics.test.jsonl": queries, "en_pairs.dev.tsv": pair},
    }  # fmt: skip
    for name, content in files[layout].items():
        path = Path("data", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(content.encode()) if name.endswith("gz") else content.encode())


@pytest.mark.parametrize("layout", ["ours", "beir", "pairs", "deep", "gpl", "trec", "hub", "names"])
def test_of_a_folder_with_test_data_only_the_documents_are_read(layout: str, caplog: pytest.LogCaptureFixture) -> None:
    """Test queries that were trained on make every later score on them worthless (gpl issue 5)."""
    write_evaluation_folder(layout)
    for name in ("data", "data/**/*.*"):
        assert read_back(name) == make_sentences(5)
        assert "evaluation data, which is left out of the corpus" in caplog.text
        caplog.clear()
    tests = [
        path for path in Path("data").rglob("*.*") if path.is_file() and "secret" in path.read_text(errors="ignore")
    ]
    Path("linked.jsonl").symlink_to(tests[0].resolve())
    tests.append(Path("linked.jsonl"))
    for path in tests:
        with pytest.raises(KitError, match=f"{path.name} holds evaluation data"):
            read_back(str(path))


def test_documents_in_a_folder_of_another_name_are_read() -> None:
    Path("qrelsdata").mkdir()
    Path("qrelsdata/corpus.jsonl").write_bytes(JSONL)
    assert read_back("qrelsdata/corpus.jsonl") == expected()


@pytest.mark.parametrize("name", ["questions.txt", "questions/a.txt", "topics/a.txt"])
def test_questions_in_a_project_with_documents_are_a_corpus(name: str) -> None:
    Path(name).parent.mkdir(exist_ok=True)
    Path("docs").mkdir()
    FILES["a.txt"](Path(name))
    assert read_back(name) == expected()


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_a_title_of_another_case_is_a_title(name: str) -> None:
    row = {"Title": "Chapter 1", "text": make_sentences(1)[0]}
    Path(name).write_text(json.dumps(row) if name == "a.jsonl" else f"{','.join(row)}\n{','.join(row.values())}\n")
    assert read_back(name) == [f"Chapter 1 {row['text']}"]


def test_a_column_named_twice_is_taken_once_and_a_mark_is_no_text() -> None:
    text = make_sentences(1)[0]
    Path("a.jsonl").write_text(json.dumps({"body": text}))
    assert read_back("a.jsonl", column=["body", "body"]) == [text]
    Path("b.txt").write_bytes(text.encode("utf-16"))
    assert read_back("b.txt", encoding="utf-16-le") == [text]


def test_queries_without_documents_or_judgements_beside_them_are_a_corpus() -> None:
    Path("logs").mkdir()
    Path("logs/queries.jsonl").write_bytes(JSONL)
    assert read_back("logs") == expected()


def test_a_json_file_of_a_folder_that_holds_no_rows_is_named(caplog: pytest.LogCaptureFixture) -> None:
    Path("folder").mkdir()
    FILES["array.json"](Path("folder/array.json"))
    Path("folder/config.json").write_text('{"hidden_size": 32}')
    Path("folder/settings.json").write_text('{\n "seed": 1\n}')
    assert read_back("folder") == expected()
    assert "one object holds no rows and is passed over (config.json, settings.json)" in caplog.text


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv"])
def test_a_byte_order_mark_is_no_part_of_the_first_text_or_name(name: str) -> None:
    FILES[name](Path(name))
    content = Path(name).read_bytes() if name != "a.csv" else b'"text"\r\n' + as_csv(",", ids=False)
    Path(name).write_bytes(b"\xef\xbb\xbf" + content)
    assert read_back(name) == expected()


def test_a_saved_data_sets_caches_are_not_read() -> None:
    FILES["saved"](Path("saved"))
    as_arrow(Path("saved/cache-123.arrow"), ipc.new_stream)
    read_back("saved")
    manifest = read_manifest(Path("out"))
    assert manifest is not None
    assert manifest["read"] == len(TEXTS)


def test_what_is_hidden_in_a_folder_is_no_corpus() -> None:
    """Beside a file macOS lays a binary `._a.txt`, notebooks a copy of it in `.ipynb_checkpoints`."""
    for name in ("folder/a.txt", "folder/.ipynb_checkpoints/a-checkpoint.txt"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        FILES["a.txt"](Path(name))
    Path("folder/._a.txt").write_bytes(b"\0\5\x16\7\0")
    assert read_back("folder") == expected()
    manifest = read_manifest(Path("out"))
    assert manifest is not None
    assert not manifest["dropped"]


def test_lines_of_classic_mac_os_are_lines() -> None:
    texts = make_sentences(5)
    Path("a.txt").write_bytes("\r".join(texts).encode())
    assert read_back("a.txt") == texts


def test_files_of_other_kinds_in_a_folder_are_named(caplog: pytest.LogCaptureFixture) -> None:
    Path("folder").mkdir()
    FILES["a.txt"](Path("folder/a.txt"))
    Path("folder/notes.docx").write_bytes(b"x")
    read_back("folder")
    assert "passed over (.docx)" in caplog.text


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_standard_input_and_pipes(name: str) -> None:
    command = [sys.executable, "-m", "tsdae_kit.prepare", name, "--output", "out", "--held-out", "0"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(command, input=PLAIN, check=True, env=environment, stdout=subprocess.DEVNULL)
    assert load_prepared(Path("out")).train["clean"][:] == expected()


def test_a_users_script_needs_no_main_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Multiprocessing's fresh processes would run the script again."""
    FILES["a.txt"](Path("a.txt"))
    code = "print('once'); from tsdae_kit.corpus import local_engine; local_engine._BYTES_PER_WORKER = 1\n"
    code += "from tsdae_kit import prepare_corpus; prepare_corpus(files=['a.txt'], output='out', workers=2)"
    Path("script.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    shown = subprocess.run([sys.executable, "script.py"], check=True, env=environment, stdout=subprocess.PIPE).stdout
    assert shown.count(b"once") == 1


STRUCTURED = ["a.jsonl", "array.json", "a.csv", "a.tsv.gz", "a.parquet", "a.arrow", "saved"]


@pytest.mark.parametrize("name", STRUCTURED)
def test_a_wrong_column_lists_those_there_are(name: str) -> None:
    FILES[name](Path(name))
    with pytest.raises(KitError, match=r"no column 'body' \(there are: (id, )?text\)"):
        read_back(name, column="body")


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "cut.jsonl": (lambda p: p.write_bytes(JSONL[:-30]), "line 23: no JSON"),
    "list.jsonl": (lambda p: p.write_bytes(JSONL + b'["a list"]\n'), "line 24: it holds a list"),
    "number.jsonl": (lambda p: p.write_bytes(JSONL + b'{"text": 3}'), "line 24: the column 'text' holds a number"),
    "nested.jsonl": (lambda p: p.write_bytes(JSONL + b'{"text": {"a": 1}}'), "line 24: the column 'text' holds an obj"),
    "title.jsonl": (lambda p: p.write_bytes(JSONL + b'{"title": [1], "text": ""}'), "line 24: the column 'title'"),
    "cut.json": (lambda p: p.write_text('[{"text": "a text"},\n{"text": "anoth'), "line 2: no JSON \\(Unterminated"),
    "open.json": (lambda p: p.write_text('[{"text": "a text"}\n'), "line 2: the list does not end"),
    "comma.json": (lambda p: p.write_text('[{"text": "a"}\n{"text": "b"}]'), "line 2: no JSON \\(a comma is missing"),
    "two.json": (lambda p: p.write_text('[{"text": "a"}]\n[{"text": "b"}]'), "line 2: no JSON \\(something follows"),
    "number.json": (lambda p: p.write_text('[{"text": "a"},\n 12]'), "line 2: the list holds a number"),
    "object.json": (lambda p: p.write_text('{"data": [\n{"text": "a"}]}'), "line 1: no JSON .*one list of objects"),
    "byte.json": (lambda p: p.write_bytes(b'[{"text": "a"},\n{"text": "\xe9"}]'), "line 2: the byte 0xe9 is not UTF-8"),
    "twice.csv": (lambda p: p.write_text("text,id,text\na,1,b\n"), "2 columns are called 'text'"),
    "twice.parquet": (lambda p: write_twice(p), "2 columns are called 'text'"),
    "wide.tsv": (lambda p: p.write_bytes(TSV + b"1\ta\tb\n"), "line 25: 3 fields .*--quoting quotes"),
    "lacking.jsonl": (lambda p: p.write_bytes(JSONL + b'{"body": "x"}'), "line 24: there is no column 'text'"),
    "deep.jsonl": (lambda p: p.write_text("[" * 100_000), "line 1: no JSON"),
    "wide.csv": (lambda p: p.write_bytes(as_csv(",") + b"1,2,3\n"), "line 25: 3 fields where the first line has 2"),
    "quote.csv": (lambda p: p.write_bytes(as_csv(",") + b'1,"open'), "unexpected end of data"),
    "latin.csv": (lambda p: p.write_bytes(as_csv(",") + b"1,\xe9\n"), "line 25: the byte 0xe9 is not UTF-8"),
    "zero.csv": (lambda p: p.write_bytes(as_csv(",") + b"1,\0\n"), "line 25: it holds a zero byte"),
    "number.parquet": (lambda p: parquet.write_table(pa.table({"text": [1]}), p), "holds int64, not text"),
    "cut.parquet": (lambda p: p.write_bytes(b"PAR1 but no more"), "after row 0: "),
    "cut.arrow": (lambda p: p.write_bytes(b"\xff\xff\xff\xff\x90"), "after row 0: "),
    "offsets.arrow": (lambda p: write_wrong_offsets(p), "after row 0: "),
    "two\nlines.csv": (lambda p: p.write_text('"a\nb"\n1\n'), r"no column 'text' \(there are: a b\)"),
    "cut.txt.gz": (lambda p: p.write_bytes(gzip.compress(os.urandom(999).hex().encode())[:-200]), "after line 0: "),
    "cut.txt.zst": (lambda p: p.write_bytes(pa.compress(PLAIN, "zstd", asbytes=True)[:-20]), "after line "),
    "cut.txt.xz": (lambda p: p.write_bytes(lzma.compress(PLAIN)[:-20]), "after line "),
    "cut.txt.bz2": (lambda p: p.write_bytes(bz2.compress(PLAIN)[:-20]), "after line "),
    "nulls.jsonl": (lambda p: p.write_text('{"text": null}\n' * 3), "No sentence is left of 1 file.*3 empty"),
    "empty.csv": (lambda p: p.write_text("text,b\n,1\n,2\n"), "No sentence is left of 1 file.*2 empty"),
    "nulls.parquet": (lambda p: parquet.write_table(pa.table({"text": [None]}), p), "No sentence is left.*1 empty"),
    "header.csv": (lambda p: p.write_text("text,b\n"), "No sentence is left of 1 file.*no texts"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gives_one_line_that_names_file_and_place(name: str) -> None:
    make, message = BAD[name]
    make(Path(name))
    with pytest.raises(KitError, match=message) as raised:
        read_back(name)
    assert "\n" not in str(raised.value)
    assert " ".join(name.split()) in str(raised.value) or "No sentence is left" in str(raised.value)
    assert not Path("out").exists()


def test_lines_of_ten_megabytes_are_counted_and_a_file_without_ends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    long = "a word " * 1_500_000
    Path("a.txt").write_text("\n".join([TEXTS[0], long, TEXTS[1]]))
    assert read_back("a.txt") == TEXTS[:2]
    monkeypatch.setattr(blocks, "MAX_TEXT_BYTES", 5_000_000)
    with pytest.raises(KitError, match=r"a\.txt, line 2: no text ends within"):
        read_back("a.txt", seed=1)


def test_an_unreadable_file_in_a_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("folder").mkdir()
    FILES["a.txt"](Path("folder/a.txt"))
    Path("folder/a.txt").chmod(0)
    if os.geteuid() == 0:  # root may read everything
        whole = Path.open

        def refuse(path: Path, *args: Any, **kwargs: Any) -> Any:
            if path.name == "a.txt":
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return whole(path, *args, **kwargs)

        monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(KitError, match=r"folder/a\.txt cannot be read"):
        read_back("folder")


def test_a_folder_in_the_place_of_a_file_and_a_link_to_nowhere() -> None:
    Path("folder.txt").mkdir()
    Path("gone.txt").symlink_to("nowhere")
    for name, message in (("folder.txt", "holds no texts"), ("gone.txt", "There is no file")):
        with pytest.raises(KitError, match=message):
            read_back(name)


SUFFIXES = [
    "txt",
    "jsonl",
    "json",
    "csv",
    "tsv",
    "parquet",
    "arrow",
    "txt.gz",
    "txt.bz2",
    "txt.xz",
    "txt.zst",
    "jsonl.zst",
]
PIECES = [
    b'{"text": "', b'"}', b"\n", b"\r\n", b'"', b",", b"text", b"\xef\xbb\xbf", b"\0", b"\xff\xfe", b"[{", b"\\ud800",
    b"PAR1", b"ARROW1", b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", "語".encode(),
]  # fmt: skip


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(SUFFIXES),
    st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=40)), min_size=1, max_size=12).map(b"".join),
    st.sampled_from([None, 0.0, 0.3, 0.6, 0.95]),
    st.sampled_from(["line", "sentences", "paragraphs"]),
    st.sampled_from(["utf-8", "utf-16", "latin-1"]),
    st.sampled_from(["strict", "replace"]),
)
def test_any_bytes_give_a_result_or_one_line(
    suffix: str, noise: bytes, damage: float | None, split: str, encoding: str, errors: str
) -> None:
    """Random bytes alone, or written into a good file of that kind."""
    path = Path(f"fuzz.{suffix}")
    name = f"a.{suffix}" if f"a.{suffix}" in FILES else "a.txt"
    if damage is not None and name.endswith(suffix):
        FILES[name](path)
        good = path.read_bytes()
        at = int(damage * len(good))
        noise = good[:at] + noise + good[at + len(noise) :]
    path.write_bytes(noise or b"x")
    problem = None
    try:
        texts = read_back(path.name, split=split, encoding=encoding, encoding_errors=errors, min_chars=1)
        manifest = read_manifest(Path("out"))
        assert manifest is not None
        assert manifest["read"] == len(texts) + sum(manifest["dropped"].values())
    except KitError as error:
        problem = str(error)
    if problem:
        assert "\n" not in problem
        assert path.name in problem or "No sentence is left" in problem
