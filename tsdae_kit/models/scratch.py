"""A small encoder with random weights and a tokenizer learned from the corpus, where no model knows the language.

WordPiece as BERT has it, except that accents are kept and that scripts written without spaces are cut
into characters first: their sentences would otherwise be single words, unknown as a whole. What a
model from scratch lacks is everything that a pretrained one has read: it needs more text and steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from tsdae_kit.config.settings import ScratchSize

Texts = Callable[[], Iterable[str]]
SHAPES: dict[ScratchSize, tuple[int, int]] = {"tiny": (2, 128), "mini": (4, 256), "small": (4, 512)}  # layers, width
VOCABULARY, ALPHABET, RAREST = 8_000, 6_000, 2  # 30,000 pieces nearly halve a tiny model's speed
LENGTH = 256  # tokens
_SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]",
            "mask_token": "[MASK]"}  # fmt: skip


def make_tokenizer(texts: Texts, single: str) -> PreTrainedTokenizerFast:
    """Return a WordPiece tokenizer learned from the texts, lower-cased; the same texts give the same one.

    Args:
        texts: Gives the corpus; it is read twice.
        single: A regular expression of one character of the scripts without spaces.
    """
    normalizer = normalizers.BertNormalizer(strip_accents=False, lowercase=True)
    counts = Counter(character for text in texts() for character in normalizer.normalize_str(text))
    alphabet = sorted(c for c in sorted(counts, key=lambda c: (-counts[c], c))[:ALPHABET] if not c.isspace())
    special = list(_SPECIAL.values())
    # The library numbers "##x" as it meets them in a hash map, and breaks ties by number; as "special" words,
    # of which the finished tokenizer knows nothing, they have fixed numbers.
    fixed = [*special, *(f"##{character}" for character in alphabet)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=max(VOCABULARY, 2 * len(fixed)), min_frequency=RAREST, special_tokens=fixed,
        initial_alphabet=alphabet, limit_alphabet=len(alphabet), show_progress=False,
    )  # fmt: skip
    learned = _with_words({}, normalizer, single)
    learned.train_from_iterator(texts(), trainer)
    tokenizer = _with_words(learned.get_vocab(), normalizer, single)
    ends = [(name, special.index(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=ends
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=LENGTH, **_SPECIAL)


def _with_words(vocabulary: dict[str, int], normalizer: normalizers.Normalizer, single: str) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(vocab=vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(single), "isolated"), pre_tokenizers.BertPreTokenizer()]
    )
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def make_encoder(texts: Texts, size: ScratchSize, seed: int, single: str) -> SentenceTransformer:
    """Return a BERT with random weights and mean pooling, on the CPU.

    Args:
        texts: Gives the corpus, for the tokenizer.
        size: Layers and width; a head for every 64 values.
        seed: Decides the weights.
        single: As in :func:`make_tokenizer`.
    """
    tokenizer = make_tokenizer(texts, single)
    layers, width = SHAPES[size]
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=width, num_hidden_layers=layers, num_attention_heads=width // 64,
        intermediate_size=4 * width, max_position_embeddings=LENGTH, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    with torch.random.fork_rng(), TemporaryDirectory() as name:
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(name)
        tokenizer.save_pretrained(name)
        transformer = Transformer(str(Path(name)))
    return SentenceTransformer(modules=[transformer, Pooling(width, "mean")], device="cpu")
