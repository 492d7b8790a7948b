"""A small encoder with random weights and a tokenizer learned from the corpus, for languages that no model knows.

The tokenizer is BERT's WordPiece with two differences: accents are kept, and scripts without spaces are split into
characters first, since a whole sentence would otherwise be one unknown word. A model from scratch has not read what a
pretrained one has: it needs more text and steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from tsdae_kit.config.settings.training import ScratchSize

ReadTexts = Callable[[], Iterable[str]]


@dataclass(frozen=True)
class Shape:
    """Number of layers and hidden size of an encoder."""

    layers: int
    hidden_size: int


SHAPES: dict[ScratchSize, Shape] = {"tiny": Shape(2, 128), "mini": Shape(4, 256), "small": Shape(4, 512)}
VOCABULARY_SIZE = 8_000  # a tiny model is nearly half as fast with 30,000
ALPHABET_SIZE, MIN_FREQUENCY = 6_000, 2
MAX_LENGTH = 256  # tokens
_SPECIAL_TOKENS = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]",
                   "mask_token": "[MASK]"}  # fmt: skip


def make_encoder(texts: ReadTexts, size: ScratchSize, seed: int, spaceless: str) -> SentenceTransformer:
    """Return a BERT with random weights and mean pooling, on the CPU.

    Args:
        texts: Returns the corpus, for the tokenizer.
        size: Layers and hidden size; one attention head per 64 values.
        seed: Seed of the weights.
        spaceless: As in :func:`make_tokenizer`.
    """
    tokenizer, shape = make_tokenizer(texts, spaceless), SHAPES[size]
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=shape.hidden_size, num_hidden_layers=shape.layers,
        num_attention_heads=shape.hidden_size // 64, intermediate_size=4 * shape.hidden_size,
        max_position_embeddings=MAX_LENGTH, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    with torch.random.fork_rng(), TemporaryDirectory() as name:
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(name)
        tokenizer.save_pretrained(name)
        transformer = Transformer(str(Path(name)))
    return SentenceTransformer(modules=[transformer, Pooling(shape.hidden_size, "mean")], device="cpu")


def make_tokenizer(texts: ReadTexts, spaceless: str) -> PreTrainedTokenizerFast:
    """Return a lower-casing WordPiece tokenizer learned from the texts; the same texts give the same tokenizer.

    Args:
        texts: Returns the corpus; it is read twice.
        spaceless: A regular expression for one character of the scripts without spaces.
    """
    normalizer = normalizers.BertNormalizer(strip_accents=False, lowercase=True)
    counts = Counter(character for text in texts() for character in normalizer.normalize_str(text))
    alphabet = sorted(c for c in sorted(counts, key=lambda c: (-counts[c], c))[:ALPHABET_SIZE] if not c.isspace())
    special = list(_SPECIAL_TOKENS.values())
    # The trainer numbers "##x" in the order of a hash map and breaks ties by number. Passed as special tokens, which
    # the finished tokenizer does not keep as such, they have fixed numbers.
    fixed = [*special, *(f"##{character}" for character in alphabet)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=max(VOCABULARY_SIZE, 2 * len(fixed)), min_frequency=MIN_FREQUENCY, special_tokens=fixed,
        initial_alphabet=alphabet, limit_alphabet=len(alphabet), show_progress=False,
    )  # fmt: skip
    learned = _wordpiece_tokenizer({}, normalizer, spaceless)
    learned.train_from_iterator(texts(), trainer)
    tokenizer = _wordpiece_tokenizer(learned.get_vocab(), normalizer, spaceless)
    ends = [(name, special.index(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=ends
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=MAX_LENGTH, **_SPECIAL_TOKENS)


def _wordpiece_tokenizer(vocabulary: dict[str, int], normalizer: normalizers.Normalizer, spaceless: str) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(spaceless), "isolated"), pre_tokenizers.BertPreTokenizer()]
    )
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer
