"""The loss: the library's objective with the library's values, and the decoder built from the live encoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import DenoisingAutoEncoderLoss, MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import Dense, Pooling, StaticEmbedding, Transformer
from torch import Tensor
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    RobertaConfig,
    RobertaModel,
)

from tests.tiny import make_sentences, make_tokenizer
from tsdae_kit import KitError, Noise, TSDAELoss
from tsdae_kit.tsdae.regularization import Regularization

Load = Callable[[], SentenceTransformer]
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def make_batch(model: SentenceTransformer) -> list[dict[str, Tensor]]:
    clean = make_sentences(8)
    return [model.preprocess([Noise()(text) for text in clean]), model.preprocess(clean)]


def make_encoder(folder: Path, kind: type, config: object, padding_side: str = "right") -> SentenceTransformer:
    torch.manual_seed(0)
    kind(config).save_pretrained(folder)
    make_tokenizer(padding_side).save_pretrained(folder)
    return SentenceTransformer(modules=[Transformer(str(folder)), Pooling(32, "mean")], device="cpu")


def librarys_loss(model: SentenceTransformer, ours: TSDAELoss) -> DenoisingAutoEncoderLoss:
    """Return the library's loss over a second model, with exactly our weights."""
    theirs = DenoisingAutoEncoderLoss(model, tie_encoder_decoder=True)
    state = {librarys_name(name): tensor for name, tensor in ours.state_dict().items()}
    left_out, unknown = theirs.load_state_dict(state, strict=False)
    assert not unknown
    assert all("crossattention.self" in name for name in left_out)  # queries and keys, which get no gradient
    return theirs


def librarys_name(name: str) -> str:
    return name.replace("decoder.lm.", "decoder.", 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loss_and_gradients_are_the_librarys(load_tiny: Load, dtype: torch.dtype) -> None:
    first, second = load_tiny().to(dtype).eval(), load_tiny().to(dtype).eval()
    ours = TSDAELoss(first)
    theirs = librarys_loss(second, ours).to(dtype)
    a, b = ours(make_batch(first)), theirs(make_batch(second), None)
    torch.testing.assert_close(a.to(dtype), b, rtol=1e-6, atol=0)
    a.backward()
    b.backward()
    gradients = dict(theirs.named_parameters())
    compared = 0
    for name, parameter in ours.named_parameters():
        expected = gradients[librarys_name(name)].grad
        assert (parameter.grad is None) == (expected is None), name
        if expected is not None:
            torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-7)
            compared += 1
    assert compared > 40
    for name, parameter in theirs.named_parameters():
        if "crossattention.self.query" in name or "crossattention.self.key" in name:
            assert parameter.grad.abs().max() < 1e-9, name  # rounding: what ours leaves out gets no gradient


FAMILIES = {
    "roberta": (
        RobertaModel,
        RobertaConfig(vocab_size=60, max_position_embeddings=70, pad_token_id=0, **SIZES),
    ),
    "electra": (ElectraModel, ElectraConfig(vocab_size=60, embedding_size=16, **SIZES)),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_other_families_with_a_decoder_give_the_librarys_loss_too(family: str, tmp_path: Path) -> None:
    """Their heads are built differently; ours uses all modules after the base model."""
    kind, config = FAMILIES[family]
    first, second = (make_encoder(tmp_path / name, kind, config).eval() for name in ("a", "b"))
    ours = TSDAELoss(first)
    theirs = librarys_loss(second, ours)
    torch.testing.assert_close(ours(make_batch(first)), theirs(make_batch(second), None))


def test_constructing_the_loss_leaves_every_embedding_bitwise_unchanged(load_tiny: Load) -> None:
    """The library restores the weights on disk, so that any training in memory is lost."""
    model = load_tiny().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    before = model.encode(make_sentences(5))
    TSDAELoss(model)
    assert (model.encode(make_sentences(5)) == before).all()


class Doubled(torch.nn.Embedding):
    """As in Gemma, which scales its embeddings."""

    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


def test_an_embedding_with_a_forward_of_its_own_keeps_it(load_tiny: Load) -> None:
    """Its gradient is then autograd's; the shortcut would lose the scale."""
    values, gradients = [], []
    for learns in (False, True):  # the shortcut is used only where the weight is trained
        loss = TSDAELoss(load_tiny()).eval()
        embedding = loss.encoder.transformers_model.get_input_embeddings()
        embedding.__class__ = Doubled
        embedding.weight.requires_grad_(learns)
        torch.manual_seed(0)
        for parameter in loss.own_parameters().values():
            parameter.data.normal_(std=0.1)
        values.append(loss(make_batch(loss.encoder)))
        gradients.append(embedding.weight)
    torch.testing.assert_close(values[0], values[1])
    values[1].backward()
    assert gradients[1].grad.abs().sum() > 0


def test_the_rows_of_added_words_survive(load_tiny: Load) -> None:
    model = load_tiny()
    transformer = model.transformers_model
    transformer.resize_token_embeddings(transformer.config.vocab_size + 3)
    with torch.no_grad():
        transformer.get_input_embeddings().weight[-3:] = 7.0
    loss = TSDAELoss(model)
    assert (transformer.get_input_embeddings().weight[-3:] == 7.0).all()
    assert loss.decoder.lm.get_input_embeddings().weight is transformer.get_input_embeddings().weight
    loss(make_batch(model)).backward()


def test_tied_parts_are_one_parameter_and_untied_ones_are_equal_copies(load_tiny: Load) -> None:
    for tied in (True, False):
        model = load_tiny()
        loss = TSDAELoss(model, tied=tied)
        encoder = dict(model.transformers_model.named_parameters())
        shared = [n for n, p in loss.decoder.lm.base_model.named_parameters() if n in encoder]
        assert len(shared) > 30
        for name, parameter in loss.decoder.lm.base_model.named_parameters():
            if name in encoder:
                assert (parameter is encoder[name]) == tied
                assert torch.equal(parameter, encoder[name])
        output = loss.decoder.lm.get_output_embeddings().weight
        assert output is loss.decoder.lm.get_input_embeddings().weight


def test_a_masked_language_models_head_is_taken_over(tmp_path: Path) -> None:
    config = BertConfig(vocab_size=60, **SIZES)
    model = make_encoder(tmp_path, BertForMaskedLM, config)
    trained = BertForMaskedLM.from_pretrained(tmp_path)
    loss = TSDAELoss(model)
    assert torch.equal(
        loss.decoder.lm.cls.predictions.transform.dense.weight, trained.cls.predictions.transform.dense.weight
    )


def test_every_row_sends_a_gradient_to_its_embedding_on_either_side_of_padding(tmp_path: Path) -> None:
    """The library masks the embedding by the first column of the source's mask: left-padded rows get no gradient."""
    gradients = {}
    for side in ("left", "right"):
        model = make_encoder(tmp_path / side, *_bert(), padding_side=side)
        loss = TSDAELoss(model).eval()
        source, target = make_batch(model)
        assert (source["attention_mask"][:, 0] == 0).any() == (side == "left")
        embeddings = []
        model.register_forward_hook(lambda _, __, out, kept=embeddings: kept.append(out["sentence_embedding"]))
        value = loss([source, target])
        (gradients[side],) = torch.autograd.grad(value, embeddings[0])
        assert (gradients[side].abs().sum(dim=1) > 0).all()


def _bert() -> tuple[type, BertConfig]:
    return BertModel, BertConfig(vocab_size=60, **SIZES)


def test_in_training_the_encoder_drops_out_and_the_decoder_does_not(load_tiny: Load) -> None:
    """As in the library, whose trainer never sets the decoder's mode."""
    loss = TSDAELoss(load_tiny()).train()
    assert loss.encoder.training
    assert not any(module.training for module in loss.decoder.modules())


def test_the_decoder_is_causal(load_tiny: Load) -> None:
    """A change of token t must not change the predictions before t, or the decoder could copy its input."""
    loss = TSDAELoss(load_tiny()).eval()
    ids = torch.randint(5, 50, (1, 9))
    changed = ids.clone()
    changed[0, 6] = 4
    embedding, mask = torch.randn(1, 32), torch.ones(1, 9, dtype=torch.long)
    first, second = (loss.decoder(embedding, i, mask)[0] for i in (ids, changed))
    assert torch.equal(first[:6], second[:6])
    assert not torch.equal(first[6:], second[6:])


def test_models_that_cannot_work_are_refused_in_one_line(tmp_path: Path, load_tiny: Load) -> None:
    distilbert = make_encoder(
        tmp_path,
        DistilBertModel,
        DistilBertConfig(vocab_size=60, dim=32, n_layers=1, n_heads=2, hidden_dim=64),
    )
    tiny = load_tiny()
    projected = SentenceTransformer(modules=[*tiny, Dense(32, 16)], device="cpu")
    static = SentenceTransformer(
        modules=[StaticEmbedding(make_tokenizer().backend_tokenizer, embedding_dim=32)], device="cpu"
    )
    for model, reason in (
        (distilbert, "'distilbert' has no decoder"),
        (projected, "16 values"),
        (static, "StaticEmbedding"),
    ):
        with pytest.raises(KitError, match=reason) as raised:
            TSDAELoss(model, decoder="cross-attention")  # a distilbert works with the other one
        assert "\n" not in str(raised.value)


def test_a_pair_loss_is_added_with_its_gradients(load_tiny: Load) -> None:
    """Its lookups of token embeddings use the head's weight, whose gradient is summed in place."""
    model, twin = load_tiny().eval(), load_tiny().eval()
    joint = TSDAELoss(model, pair_loss=MultipleNegativesRankingLoss(model))
    alone = TSDAELoss(twin)
    alone.load_state_dict(joint.state_dict())
    texts = make_sentences(24)
    pairs = [texts[8:16], texts[16:]]
    a = joint([*make_batch(model), *(model.preprocess(part) for part in pairs)])
    parts = (
        alone(make_batch(twin)),
        MultipleNegativesRankingLoss(twin)([twin.preprocess(part) for part in pairs], None),
    )
    torch.testing.assert_close(a, sum(parts, start=torch.zeros(())))
    a.backward()
    for part in parts:
        part.backward()
    expected = dict(alone.named_parameters())
    for name, parameter in joint.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, expected[name].grad, rtol=1e-4, atol=1e-7, msg=name)
    assert joint.state_dict().keys() == alone.state_dict().keys()
    torch.testing.assert_close(joint(make_batch(model)), alone(make_batch(twin)))  # without pairs, as in evaluation


def test_a_loss_that_is_added_from_outside_is_refused(load_tiny: Load) -> None:
    """Its gradients could be lost: those of lookups are added to the head's in place."""
    model = load_tiny()
    loss, texts = TSDAELoss(model), make_sentences(24)
    features = [model.preprocess(part) for part in (texts[8:16], texts[16:])]
    with pytest.raises(RuntimeError, match="as `pair_loss`"):
        (loss(make_batch(model)) + MultipleNegativesRankingLoss(model)(features, None)).backward()


def test_regularization_is_a_contrastive_loss_and_a_drift_penalty_towards_the_base_model(load_tiny: Load) -> None:
    model, base = load_tiny().eval(), load_tiny().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    batch = make_batch(model)
    noisy, clean = (model(dict(part))["sentence_embedding"] for part in batch)
    before = base(dict(batch[1]))["sentence_embedding"].detach()
    similar = torch.stack([torch.cosine_similarity(row[None], before) for row in noisy])
    contrastive = -torch.stack([(row / 0.05).log_softmax(0)[i] for i, row in enumerate(similar)]).mean()
    drift = (1 - torch.cosine_similarity(clean, before)).mean()
    value = Regularization(0.5, 3.0, base)(model, noisy, batch[1])
    torch.testing.assert_close(value, 0.5 * contrastive + 3 * drift)
    own = torch.stack([torch.cosine_similarity(row[None], clean) for row in noisy])
    contrastive = -(own / 0.05).log_softmax(1).diagonal().mean()
    torch.testing.assert_close(Regularization(0.5)(model, noisy, batch[1]), 0.5 * contrastive)  # no base model
    assert not any(parameter.requires_grad for parameter in base.parameters())


def test_regularization_adds_its_gradients_where_the_encoder_is_trained_and_nothing_elsewhere(load_tiny: Load) -> None:
    """Its lookups use the head's weight too, whose gradient is summed in place."""
    model, twin = load_tiny(), load_tiny()
    regularization = Regularization(1.0, 10.0, load_tiny())
    torch.manual_seed(1)
    regularized = TSDAELoss(model, regularization=regularization)
    plain = TSDAELoss(twin)
    plain.load_state_dict(regularized.state_dict())  # which excludes the base model
    for module in (regularized, plain):
        module.train()
        for part in module.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0
    batch = make_batch(model)
    a = regularized(batch)
    parts = [plain(batch), regularization(twin, twin(dict(batch[0]))["sentence_embedding"], batch[1])]
    torch.testing.assert_close(a, sum(parts, start=torch.zeros(())))
    a.backward()
    for part in parts:
        part.backward()
    expected = dict(plain.named_parameters())
    for name, parameter in regularized.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, expected[name].grad, rtol=1e-4, atol=1e-6, msg=name)
    with torch.no_grad():
        torch.testing.assert_close(regularized(batch), plain(batch))  # the held-out loss stays the reconstruction's
    model.requires_grad_(False)
    torch.testing.assert_close(regularized(batch), plain(batch))  # the decoder's warm-up
