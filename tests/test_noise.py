"""The noise: how much it deletes, what it leaves, and that nothing but its arguments decides."""

from __future__ import annotations

import hashlib
import re

import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from tests.tiny import make_sentences
from tsdae_kit import Noise, NoiseTransform
from tsdae_kit.settings import WordUnit
from tsdae_kit.text import words
from tsdae_kit.text.words import SPLITTERS, split_words

LANGUAGES = {
    "English": "The doctor treats high pressure in the morning, and it's gone without warning after a week.",
    "German": "Die Ärztin prüft größere Mengen übermäßig früh, während der Patient schläft.",
    "Arabic": "يعالج الطبيب ارتفاع ضغط الدم في الصباح بدون أي تحذير مسبق للمريض",
    "Hindi": "डॉक्टर सुबह बिना किसी चेतावनी के उच्च रक्तचाप का इलाज करते हैं",
    "Chinese": "医生在早上治疗高血压，病人没有任何不适的感觉，然后回家休息。",
    "Japanese": "医者は朝に高血圧を治療し、患者は何も感じずに家へ帰りました。",
    "Thai": "แพทย์รักษาความดันโลหิตสูงในตอนเช้าโดยไม่มีการเตือนล่วงหน้า",
}


@pytest.mark.parametrize("unit", SPLITTERS)
def test_deletes_sixty_percent_of_english_words(unit: WordUnit) -> None:
    """Upstream's scripts keep 60 % instead: their ratio is the share kept."""
    sentences = make_sentences(2000)
    noise = Noise(words=unit)
    total = sum(len(SPLITTERS[unit](text)) for text in sentences)
    kept = sum(len(SPLITTERS[unit](noise(text))) for text in sentences)
    assert 1 - kept / total == pytest.approx(0.6, abs=0.01)


@pytest.mark.parametrize("language", LANGUAGES)
def test_deletes_sixty_percent_in_every_script(language: str) -> None:
    """To nltk a Chinese, Japanese or Thai sentence is one word, so upstream deletes nothing from it."""
    text = LANGUAGES[language]
    letters = len(re.sub(r"\s", "", text))
    noise = Noise()
    kept = sum(len(re.sub(r"\s", "", noise(text, epoch))) for epoch in range(2000)) / 2000
    assert 1 - kept / letters == pytest.approx(0.6, abs=0.03)


@given(st.text(min_size=1), st.integers(0, 5), st.sampled_from([0.0, 0.6, 0.999]))
def test_what_is_left_comes_from_the_text_in_order_and_is_never_empty(text: str, epoch: int, ratio: float) -> None:
    text = " ".join(text.split())
    if not text:
        return
    left = Noise(deletion_ratio=ratio)(text, epoch)
    assert left
    remaining = iter(text)
    assert all(character in remaining for character in left if not character.isspace())


@given(st.text())
def test_the_pieces_make_up_the_text(text: str) -> None:
    text = " ".join(text.split())
    assert "".join(split_words(text)) == text
    assert "".join(SPLITTERS["characters"](text)) == text


@given(st.text(st.characters(max_codepoint=127)))
def test_the_fast_pattern_for_ascii_means_the_same(text: str) -> None:
    assert words._ASCII_WORDS.findall(text) == words._WORDS.findall(text)


def test_ratio_zero_keeps_the_text_and_one_word_survives_the_highest() -> None:
    text = r"C:\path\file.txt -- it's (see below) 1,350.50"
    assert Noise(deletion_ratio=0.0)(text) == text
    assert len(split_words(Noise(deletion_ratio=0.99999)(text))) == 1


def test_words_that_were_apart_do_not_grow_together() -> None:
    r"""``C:\path`` without its separators must not become the new word ``Cpath``."""
    original = split_words("C:\\path\\file")
    for epoch in range(200):
        assert set(split_words(Noise()("C:\\path\\file", epoch))) <= {piece.strip() for piece in original} | {
            f" {piece}" for piece in original
        }


def test_equal_arguments_give_equal_noise_and_each_argument_matters() -> None:
    text = make_sentences(1)[0] * 3
    torch.manual_seed(1)
    first = Noise(seed=7)(text, 3)
    torch.manual_seed(2)
    assert Noise(seed=7)(text, 3) == first
    assert Noise(seed=8)(text, 3) != first
    assert Noise(seed=7)(text, 4) != first


def test_the_noise_of_a_row_is_fixed_for_all_time() -> None:
    """Spelt out independently: a change would break the resume of every run in the world."""
    text = "the doctor treats high pressure in the morning"
    for epoch in range(20):
        draws = hashlib.shake_128(f"42:{epoch}:{text}".encode()).digest(16)
        kept = [w for i, w in enumerate(text.split()) if draws[2 * i] + 256 * draws[2 * i + 1] >= 0.6 * 65536]
        assert Noise()(text, epoch) == " ".join(kept)
    assert Noise()(text, 0) == "doctor treats pressure in morning"


def test_the_transform_draws_each_epoch_anew_and_puts_noisy_first() -> None:
    """Column order once trained the official scripts backwards for two months (sentence-transformers 3263)."""
    clean = make_sentences(50)
    stored = Dataset.from_dict({"clean": clean, "noisy": [Noise()(text) for text in clean]})
    transform = NoiseTransform(Noise())
    rows = stored.with_transform(transform)
    assert list(rows[0]) == ["noisy", "clean"]
    assert rows[:]["noisy"] == stored["noisy"][:]
    transform.set_epoch(1)
    assert rows[:]["noisy"] == [Noise()(text, 1) for text in clean]
    assert rows[:]["noisy"] != stored["noisy"][:]
    fixed = NoiseTransform(Noise(), fixed=True)
    fixed.set_epoch(1)
    assert stored.with_transform(fixed)[:]["noisy"] == stored["noisy"][:]


def test_workers_that_live_across_epochs_see_the_new_epoch() -> None:
    clean = make_sentences(20)
    transform = NoiseTransform(Noise())
    rows = Dataset.from_dict({"clean": clean}).with_transform(transform)
    loader = DataLoader(rows, batch_size=5, num_workers=2, persistent_workers=True, collate_fn=list)
    for epoch in range(3):
        transform.set_epoch(epoch)
        seen = [row["noisy"] for batch in loader for row in batch]
        assert seen == [Noise()(text, epoch) for text in clean]
