"""Offline models, tokenizers and corpora, all built in code."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from tsdae_kit import prepare_corpus

SUBJECTS = [
    "the doctor",
    "a nurse",
    "our patient",
    "every child",
    "one clinic",
    "the new drug",
    "a blood test",
    "that fever",
]
VERBS = ["treats", "causes", "needs", "finds", "prevents", "shows", "follows", "changes"]
OBJECTS = ["a rash", "high pressure", "the heart", "weak bones", "an infection", "sleep", "some pain", "the kidneys"]
ENDINGS = ["today", "in the morning", "after a week", "without warning", "in most cases", "by itself"]

torch.set_num_threads(1)  # tiny tensors: more threads only cost, and other processes run beside


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make_sentences(count: int) -> list[str]:
    """Return distinct short sentences of about fifty words' vocabulary."""
    everything = [f"{s} {v} {o} {e}." for s in SUBJECTS for v in VERBS for o in OBJECTS for e in ENDINGS]
    return random.Random(0).sample(everything, count)


def make_tokenizer(padding_side: str = "right") -> PreTrainedTokenizerFast:
    words = sorted({word for group in (SUBJECTS, VERBS, OBJECTS, ENDINGS) for text in group for word in text.split()})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *words]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_max_length=64, padding_side=padding_side,
    )  # fmt: skip


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sentence encoder of two layers of 32, with dropout."""
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder / "transformer")
    tokenizer.save_pretrained(folder / "transformer")
    transformer = Transformer(str(folder / "transformer"))
    model = SentenceTransformer(modules=[transformer, Pooling(32, "mean")], device="cpu")
    model.save_pretrained(str(folder / "model"), create_model_card=False)
    return folder / "model"


@pytest.fixture
def load_tiny(tiny_model: Path) -> Callable[[], SentenceTransformer]:
    return lambda: SentenceTransformer(str(tiny_model), device="cpu")


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared pairs of 200 sentences: 180 to train on, 20 held out."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "corpus.txt").write_text("\n".join(make_sentences(200)) + "\n", encoding="utf-8")
    return prepare_corpus(files=[str(folder / "corpus.txt")], output=folder / "prepared")
