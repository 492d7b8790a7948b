"""prepare: what goes in, what is dropped and why, what comes out, and what is refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from datasets import load_from_disk

from tests.tiny import make_sentences
from tsdae_kit import KitError, load_pairs, prepare_corpus
from tsdae_kit.text.pairs import read_manifest


def write(name: str, lines: list[str], end: str = "\n") -> str:
    Path(name).write_bytes("".join(line + end for line in lines).encode())
    return name


def test_every_dropped_line_is_counted_under_its_reason() -> None:
    good = make_sentences(20)
    bad = ["", "   ", "short", "x" * 2001, "1234567890 - 12", good[0], good[1].upper()]
    prepare_corpus(files=[write("c.txt", [*good, *bad])], output="out")
    manifest = read_manifest(Path("out"))
    assert manifest is not None
    assert manifest["dropped"] == {"empty": 2, "too short": 1, "too long": 1, "few letters": 1, "duplicate": 2}
    assert manifest["read"] == 27
    assert manifest["train"] + manifest["held_out"] == 20


def test_the_result_is_a_dataset_dict_of_pairs_that_datasets_can_read() -> None:
    sentences = make_sentences(100)
    prepare_corpus(files=[write("c.txt", sentences)], output="out")
    pairs = load_from_disk("out")
    assert set(pairs) == {"train", "held_out"}
    assert pairs["train"].column_names == ["noisy", "clean"]
    assert (len(pairs["train"]), len(pairs["held_out"])) == (90, 10)
    assert sorted([*pairs["train"]["clean"], *pairs["held_out"]["clean"]]) == sorted(sentences)


@pytest.mark.parametrize(("held_out", "count"), [(0, 0), (5, 5), (0.05, 5), (50, 10)])
def test_held_out_is_a_share_or_a_count_and_at_most_a_tenth(held_out: float, count: int) -> None:
    prepare_corpus(files=[write("c.txt", make_sentences(100))], output="out", held_out=held_out)
    assert len(load_pairs(Path("out")).held_out) == count


def test_reads_folders_globs_gzip_byte_order_marks_and_windows_line_ends() -> None:
    sentences = make_sentences(80)
    Path("folder/deep").mkdir(parents=True)
    Path("folder/a.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(sentences[:20]).encode())
    Path("folder/deep/b.txt.gz").write_bytes(gzip.compress("\n".join(sentences[20:40]).encode()))
    Path("folder/ignored.bin").write_bytes(b"\xff\xff")
    write("g1.txt", sentences[40:60])
    write("g2.txt", sentences[60:])
    prepare_corpus(files=["folder", "g?.txt"], output="out", held_out=0)
    assert load_pairs(Path("out")).train["clean"][:] == sentences


def test_a_finished_folder_is_recognised_and_other_settings_are_not_mixed_with_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = write("c.txt", make_sentences(50))
    prepare_corpus(files=[source], output="out")
    before = {p: p.stat().st_mtime_ns for p in Path("out").rglob("*")}
    Path(source).rename("moved.txt")
    prepare_corpus(files=["moved.txt"], output="out")
    assert "nothing to do" in caplog.text
    with pytest.raises(KitError, match="--overwrite"):
        prepare_corpus(files=["moved.txt"], output="out", seed=1)
    assert {p: p.stat().st_mtime_ns for p in Path("out").rglob("*")} == before
    prepare_corpus(files=["moved.txt"], output="out", seed=1, overwrite=True)
    assert load_pairs(Path("out")).noise.seed == 1


def test_the_same_input_gives_the_same_rows() -> None:
    source = write("c.txt", make_sentences(100))
    first, second = (load_pairs(prepare_corpus(files=[source], output=name)) for name in ("one", "two"))
    assert first.train[:] == second.train[:]
    assert first.held_out[:] == second.held_out[:]
    assert first.fingerprint == second.fingerprint


BAD_INPUT = {
    "missing": "There is no file",
    "empty.txt": "is empty",
    "no_text": "holds no text",
    "latin.txt": "line 3: the byte 0xe9 is not UTF-8",
    "broken.txt.gz": "after line 0",
    "wide.txt": "line 1: it holds a zero byte",
    "only_short.txt": "No sentence is left",
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_gives_one_line_and_leaves_nothing(name: str) -> None:
    Path("empty.txt").touch()
    Path("no_text").mkdir()
    Path("wide.txt").write_bytes("the doctor finds a rash".encode("utf-16-le"))
    Path("latin.txt").write_bytes("\n".join(make_sentences(2)).encode() + "\ncaf\xe9 and more text\n".encode("latin-1"))
    Path("broken.txt.gz").write_bytes(b"this is not gzip")
    write("only_short.txt", ["a", "b", "c"])
    with pytest.raises(KitError, match=BAD_INPUT[name]) as raised:
        prepare_corpus(files=[name], output="out")
    assert "\n" not in str(raised.value)
    assert not Path("out").exists()
    assert not list(Path().glob(".out.partial"))


def test_wrong_bytes_can_be_replaced() -> None:
    Path("latin.txt").write_bytes("caf\xe9 and more text\n".encode("latin-1"))
    prepare_corpus(files=["latin.txt"], output="out", encoding_errors="replace")
    assert load_pairs(Path("out")).train["clean"][:] == ["caf\ufffd and more text"]


def test_the_folder_one_stands_in_is_never_replaced() -> None:
    with pytest.raises(KitError, match=r"^\. exists and is no prepared data set"):
        prepare_corpus(files=[write("c.txt", make_sentences(20))], output=".", overwrite=True)
    assert Path("c.txt").exists()


def test_a_folder_that_is_no_prepared_data_set_is_never_replaced() -> None:
    Path("precious").mkdir()
    Path("precious/thesis.tex").write_text("years of work")
    with pytest.raises(KitError, match="is no prepared data set"):
        prepare_corpus(files=[write("c.txt", make_sentences(20))], output="precious", overwrite=True)
    assert Path("precious/thesis.tex").read_text() == "years of work"
