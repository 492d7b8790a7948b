"""An encoder from scratch: a tokenizer of the corpus, in any script, and a run that learns and resumes as any other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer

from tests.tiny import SHORT, assert_equal_to_the_bit, make_sentences
from tsdae_kit import adapt
from tsdae_kit.corpus.words import SPACELESS
from tsdae_kit.models.from_scratch import make_encoder, make_tokenizer
from tsdae_kit.training.progress import Progress

SPACELESS_CHARACTER = f"[{SPACELESS}]"
GIVEN = {k: v for k, v in SHORT.items() if k != "learning_rate"} | {
    "model": "scratch", "scratch_size": "tiny", "device": "cpu", "max_steps": 12, "logging_steps": 4,
}  # fmt: skip


@pytest.mark.parametrize(
    ("texts", "text", "tokens"),
    [
        (["the doctor finds a rash"] * 5, "The doctor finds", ["the", "doctor", "finds"]),
        (["花呗可以还款吗", "可以还花呗"] * 5, "可以还款", list("可以还款")),
        (["ความดันสูง"] * 5, "ดัน", list("ดัน")),
        (["ねこがねむる"] * 5, "ねこが", list("ねこが")),
        (["él está aquí"] * 5, "está", ["está"]),
    ],
)
def test_words_are_tokens_and_scripts_without_spaces_are_characters(
    texts: list[str], text: str, tokens: list[str]
) -> None:
    tokenizer = make_tokenizer(lambda: texts, SPACELESS_CHARACTER)
    assert tokenizer.tokenize(text) == tokens
    first, *_, last = tokenizer(text)["input_ids"]
    assert (first, last) == (tokenizer.cls_token_id, tokenizer.sep_token_id)


def test_a_corpus_of_many_words_gives_a_vocabulary_of_8000() -> None:
    words = ["".join("bcdfghklmn"[int(digit)] + "aeiou"[int(digit) % 5] for digit in str(i)) for i in range(20_000)]
    texts = words * 2
    assert len(make_tokenizer(lambda: texts, SPACELESS_CHARACTER)) == 8000


def test_the_same_corpus_and_seed_give_the_same_encoder_and_another_seed_another() -> None:
    texts = [f"{text} {i * 7919 % 1000}" for i, text in enumerate(make_sentences(300))]  # with many ties
    first, again, other = (make_encoder(lambda: texts, "tiny", seed, SPACELESS_CHARACTER) for seed in (1, 1, 2))
    assert first.tokenizer.get_vocab() == again.tokenizer.get_vocab()
    a, b, c = (torch.cat([p.flatten() for p in model.parameters()]) for model in (first, again, other))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_it_learns_is_resumed_to_the_bit_and_loads_plainly(tiny_data: Path) -> None:
    adapt(**GIVEN, data=tiny_data, output="whole")
    with pytest.MonkeyPatch.context() as patch:
        begin = Progress.on_step_begin

        def kill(self: Progress, args: object, state: object, *others: object, **kwargs: object) -> None:
            if state.global_step == 7:  # type: ignore[attr-defined]
                raise KeyboardInterrupt
            begin(self, args, state, *others, **kwargs)  # type: ignore[arg-type]

        patch.setattr(Progress, "on_step_begin", kill)
        with pytest.raises(KeyboardInterrupt):
            adapt(**GIVEN, data=tiny_data, output="killed")
    final = adapt(**GIVEN, data=tiny_data, output="killed", resume=True)
    assert_equal_to_the_bit(Path("whole"), Path("killed"), 12)
    lines = Path("whole/train.log").read_text()
    assert "the encoder frozen in the first 0" in lines
    model = SentenceTransformer(str(final), device="cpu")
    assert model.encode(["the doctor finds a rash"]).shape == (1, 128)
