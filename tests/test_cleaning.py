"""Which sentences are kept, why the others are not, and that long texts are cut where their sentences end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from datasets import load_from_disk
from hypothesis import given
from hypothesis import strategies as st

from tests.tiny import make_sentences, rest_slow
from tsdae_kit import KitError, load_prepared, prepare_corpus
from tsdae_kit.corpus import local_engine
from tsdae_kit.corpus.cleaning import CleaningRules, clean_text
from tsdae_kit.corpus.deduplication import SeenHashes
from tsdae_kit.corpus.prepared_folder import read_manifest
from tsdae_kit.corpus.sampling import choose_held_out


@given(st.lists(st.lists(st.integers(0, 50), max_size=20), max_size=20))
def test_the_first_of_each_hash_counts_however_they_come(batches: list[list[int]]) -> None:
    """Against a plain set."""
    seen, known = SeenHashes(), set()
    for batch in batches:
        expected = [value not in known and not known.add(value) for value in batch]  # type: ignore[func-returns-value]
        assert list(seen.add(np.array(batch, dtype=np.uint64))) == expected


def test_hashes_of_two_million_sentences_take_eight_bytes_each() -> None:
    seen = SeenHashes()
    random = np.random.default_rng(0)
    batches = [random.integers(0, 2**63, 10_000).astype(np.uint64) for _ in range(200)]
    assert all(seen.add(batch).all() for batch in batches)
    assert not any(seen.add(batch).any() for batch in batches)
    assert sum(run.nbytes for run in seen._runs) == 16_000_000
    assert len(seen._runs) < 12


@pytest.mark.parametrize("seed", [0, 42, 2**32 - 1])
def test_the_held_out_rows_are_chosen_by_text_and_seed_not_by_place(seed: int) -> None:
    hashes = np.random.default_rng(0).integers(0, 2**63, 1000).astype(np.uint64)
    chosen = hashes[choose_held_out(hashes, seed, 50)]
    assert len(chosen) == 50
    assert set(chosen) == set(hashes[::-1][choose_held_out(hashes[::-1].copy(), seed, 50)])
    assert set(chosen) != set(hashes[choose_held_out(hashes, seed + 1, 50)])
    assert len(set(chosen) & set(np.sort(hashes)[:50])) < 15  # not simply the smallest hashes


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("  two  spaces\tand\ttabs ", "two spaces and tabs"),
        ("cafe\u0301", "café"),
        ("a\u00a0b\u200bc\ufeffd\x07e", "a b c d e"),
        ("half \ud800 a pair", "half a pair"),
        ("ordinary text.", "ordinary text."),
        ("क्‍ष joined", "क्‍ष joined"),
    ],
)
def test_cleaning(text: str, clean: str) -> None:
    assert clean_text(text) == clean


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("12.5 | 13.5 | 14.5 | mm", "few letters"),
        ("--------------", "few letters"),
        ("Tablet 50 mg, 3 x 1 daily", None),
        ("डॉक्टर सुबह इलाज करते हैं", None),
        ("医生治疗高血压", None),  # seven characters, a whole sentence
        ("医生", "too short"),
        ("a doctor", "too short"),
    ],
)
def test_short_and_letterless_sentences_in_any_script(text: str, reason: str | None) -> None:
    assert CleaningRules(10, 2000, 0.3).drop_reason(text) == reason


def test_vowel_signs_are_letters() -> None:
    assert CleaningRules(10, 2000, 0.99).drop_reason("डॉक्टर सुबह इलाज करते हैं") is None


def test_rejects_are_kept_with_their_reason_and_three_examples_of_each_are_shown() -> None:
    good = make_sentences(20)
    bad = ["", "short", "12345678901", *(text.upper() for text in good[:5])]
    Path("c.txt").write_text("\n".join([*good, *bad]))
    prepare_corpus(files=["c.txt"], output="out", keep_rejects=True)
    kept = [json.loads(line) for line in Path("out/rejects.jsonl").read_text().splitlines()]
    assert [row["text"] for row in kept] == bad
    assert [row["reason"] for row in kept] == ["empty", "too short", "few letters", *["duplicate"] * 5]
    manifest = read_manifest(Path("out"))
    assert manifest is not None
    assert manifest["examples"]["duplicate"] == bad[3:6]


def test_near_duplicates_are_dropped_if_asked_for() -> None:
    good = ["The doctor treats high pressure in the morning before the patient eats.", *make_sentences(20)]
    near = "The doctor treats high pressure in the morning before a patient eats!"
    Path("c.txt").write_text("\n".join([*good, near]))
    for similarity, dropped in ((0.7, {"near-duplicate": 1}), (0.95, {}), (None, {})):
        prepare_corpus(files=["c.txt"], output="out", near_duplicates=similarity, overwrite=True)
        manifest = read_manifest(Path("out"))
        assert manifest is not None
        assert manifest["dropped"] == dropped


ABBREVIATED = "The pt. was seen by Dr. Kim at 9 a.m. and given 5 mg. approx. twice. The fever fell. It did not return."


def test_sentences_are_cut_as_the_corpus_abbreviates_and_know_their_document() -> None:
    lines = [
        f"We saw pt. {i} and the pt. was well after the pt. had slept. No more of pt. {i} then." for i in range(300)
    ]
    rows = [{"id": f"case-{i}", "text": text} for i, text in enumerate([*lines, "The pt. came back. He slept well."])]
    Path("c.jsonl").write_text("\n".join(map(json.dumps, rows)))
    prepare_corpus(files=["c.jsonl"], output="out", split="sentences", held_out=0)
    pairs = load_from_disk("out")["train"]
    assert pairs.column_names == ["noisy", "clean", "document"]
    assert load_prepared(Path("out")).train.column_names == [
        "noisy",
        "clean",
    ]
    last = [(row["clean"], row["document"]) for row in pairs][-2:]
    assert last == [("The pt. came back.", "case-300"), ("He slept well.", "case-300")]


def test_sentences_of_scripts_without_spaces_and_paragraphs() -> None:
    chinese = "医生在早上治疗高血压。病人没有任何不适！“他回家休息了。”然后他睡着了？"
    Path("c.txt").write_text(f"{chinese}\nThe first line\nand its second.\n \nThe next paragraph.\n", encoding="utf-8")
    prepare_corpus(files=["c.txt"], output="out", split="sentences", held_out=0)
    pairs = load_from_disk("out")["train"]
    cut = ["医生在早上治疗高血压。", "病人没有任何不适！", "“他回家休息了。”", "然后他睡着了？"]
    assert pairs["clean"][:4] == cut
    assert pairs["document"][:] == ["1:1"] * 4 + ["1:2", "1:3", "1:5"]
    prepare_corpus(files=["c.txt"], output="out", split="paragraphs", held_out=0, overwrite=True)
    joined = [f"{chinese} The first line and its second.", "The next paragraph."]
    assert load_prepared(Path("out")).train["clean"][:] == joined


def contents(folder: str) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


@pytest.mark.parametrize("split", rest_slow("line", "sentences"))
def test_the_same_bytes_for_any_number_of_workers(split: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_engine, "_BYTES_PER_WORKER", 1)
    monkeypatch.setattr("tsdae_kit.corpus.blocks.BLOCK_BYTES", 2000)
    sentences = make_sentences(1000)
    Path("c.txt").write_text("\n".join([*sentences[:700], "", "x", *sentences[300:]]))
    for workers in (1, 2, 3):
        given = {"workers": workers, "noise": "swap:0.2,delete", "keep_rejects": True, "split": split}
        prepare_corpus(files=["c.txt"], output=f"out{workers}", **given)
    assert contents("out1") == contents("out2") == contents("out3")
    manifest = read_manifest(Path("out1"))
    assert manifest is not None
    assert manifest["dropped"] == {"empty": 1, "too short": 1, "duplicate": 400}


def test_a_fault_in_a_worker_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_engine, "_BYTES_PER_WORKER", 1)
    Path("c.txt").write_bytes("\n".join(make_sentences(100)).encode() + b"\n\xff and more\n")
    with pytest.raises(KitError, match=r"c\.txt, line 101: the byte 0xff"):
        prepare_corpus(files=["c.txt"], output="out", workers=2)
