"""A model is trained with the prompts that it is used with: the query's, the document's, or the default one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses
from sentence_transformers.sentence_transformer.modules import Pooling

from tests.test_families import GIVEN
from tests.test_finetune import labelled, pairs, tune, write
from tests.tiny import make_sentences
from tsdae_kit import TSDAELoss, adapt
from tsdae_kit.errors import KitError
from tsdae_kit.models.prompts import default_prompt, role_prompts
from tsdae_kit.training import hard_negatives

QUERY, DOCUMENT = "in most cases ", "by itself "  # with which no sentence begins
BOTH = {"query": QUERY, "document": DOCUMENT}


def prompted(model: Path, prompts: dict[str, str], default: str | None = None, include: bool = True) -> Path:
    encoder = SentenceTransformer(str(model), prompts=prompts, default_prompt_name=default, device="cpu")
    encoder.set_pooling_include_prompt(include)
    encoder.save_pretrained("prompted", create_model_card=False)
    return Path("prompted")


def watch(monkeypatch: pytest.MonkeyPatch, kind: type, take: Callable[[Any, dict[str, Any]], Any]) -> list[list[Any]]:
    """Return a list; each call of the loss appends ``take`` of each column's features."""
    seen: list[list[Any]] = []
    forward: Any = kind.forward  # type: ignore[attr-defined]

    def note(self: Any, features: Any, *rest: Any) -> Any:
        features = list(features)
        seen.append([take(self, part) for part in features])
        return forward(self, features, *rest)

    monkeypatch.setattr(kind, "forward", note)
    return seen


def first_text(loss: Any, features: dict[str, Any]) -> str:
    encoder = loss.encoder if isinstance(loss, TSDAELoss) else loss.model
    text: str = encoder.tokenizer.decode(features["input_ids"][0], skip_special_tokens=True)
    return text


@pytest.mark.parametrize(
    ("prompts", "default"),
    [
        ({}, None),
        (BOTH, None),
        ({"query": QUERY}, None),
        ({"passage": DOCUMENT}, None),  # which encode_document passes over for its own empty one
        ({"corpus": DOCUMENT, "query": QUERY}, "query"),
    ],
)
def test_roles_have_the_prompts_of_encode_query_and_encode_document(
    prompts: dict[str, str], default: str | None, tiny_model: Path
) -> None:
    encoder = SentenceTransformer(str(tiny_model), prompts=prompts, default_prompt_name=default, device="cpu")
    query, document = role_prompts(encoder)
    text = "a rash today."
    for found, used in ((query, encoder.encode_query), (document, encoder.encode_document)):
        assert (encoder.encode([found + text], prompt="") == used([text])).all()
    assert (encoder.encode([default_prompt(encoder) + text], prompt="") == encoder.encode([text])).all()


def test_a_model_with_a_default_prompt_alone_has_it_in_either_role(tiny_model: Path) -> None:
    encoder = SentenceTransformer(str(tiny_model), prompts={"s": QUERY}, default_prompt_name="s", device="cpu")
    assert role_prompts(encoder) == (QUERY, QUERY)


def test_pairs_that_belong_together_have_the_query_and_the_document_prompt(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, messages: Callable[[], str]
) -> None:
    """By position, not by column name: the loss sees the texts as the model will be used with them."""
    seen = watch(monkeypatch, losses.MultipleNegativesRankingLoss, first_text)
    rows = [{**row, "negative": text} for row, text in zip(pairs(), make_sentences(160)[80:], strict=True)]
    tune(prompted(tiny_model, BOTH), write("triplets.jsonl", rows))
    assert seen
    for anchor, *others in seen:
        assert anchor.startswith(QUERY)
        assert all(text.startswith(DOCUMENT) for text in others)
    assert f"Prompts: {QUERY!r} before anchor; {DOCUMENT!r} before positive and negative.\n" in messages()
    card = Path("run/final/README.md").read_text()
    assert f"- prompts: {QUERY!r} before anchor; {DOCUMENT!r} before positive and negative\n" in card


@pytest.mark.parametrize(("default", "said"), [("query", f"{QUERY!r} before a and b"), (None, "none")])
def test_scored_pairs_have_the_default_prompt_on_both_sides_or_none(
    default: str | None, said: str, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, messages: Callable[[], str]
) -> None:
    seen = watch(monkeypatch, losses.CoSENTLoss, first_text)
    tune(prompted(tiny_model, BOTH, default), write("scores.jsonl", labelled([0.0, 0.4, 1.0])))
    texts = [text for batch in seen for text in batch]
    assert [text.startswith(QUERY) for text in texts] == [default is not None] * len(texts)
    first, second = load_columns("scores.jsonl")
    assert f"Prompts: {said.replace('a and b', f'{first} and {second}')}" in messages()
    assert f"document {DOCUMENT!r}" in messages()  # which is not used


def load_columns(name: str) -> list[str]:
    from tsdae_kit.labelled.loading import load_labelled

    return load_labelled([Path(name)]).files[0].rows.column_names[:2]


def test_each_of_several_files_has_its_own_prompts(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ranked = watch(monkeypatch, losses.MultipleNegativesRankingLoss, first_text)
    scored = watch(monkeypatch, losses.CoSENTLoss, first_text)
    files = [write("pairs.jsonl", pairs()), write("scores.jsonl", labelled([0.0, 0.4, 1.0]))]
    tune(prompted(tiny_model, BOTH), *files)
    assert {(anchor.startswith(QUERY), positive.startswith(DOCUMENT)) for anchor, positive in ranked} == {(True, True)}
    assert {text.startswith((QUERY, DOCUMENT)) for texts in scored for text in texts} == {False}


def test_a_prompt_that_is_left_out_of_the_pooling_is_so_in_training(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss sees the embeddings of encode_query and encode_document."""
    seen = watch(monkeypatch, losses.MultipleNegativesRankingLoss, embedding)
    tune(prompted(tiny_model, BOTH, include=False), write("pairs.jsonl", pairs()), learning_rate=1e-12)
    encoder = SentenceTransformer("prompted", device="cpu")
    assert not next(module for module in encoder if isinstance(module, Pooling)).include_prompt
    rows = pairs()
    queries = encoder.encode_query([row["anchor"] for row in rows], convert_to_tensor=True)
    documents = encoder.encode_document([row["positive"] for row in rows], convert_to_tensor=True)
    for anchor, positive in seen:
        assert (queries - anchor).abs().amax(1).min() < 1e-6
        assert (documents - positive).abs().amax(1).min() < 1e-6


def embedding(loss: Any, features: dict[str, Any]) -> Any:
    mode = loss.model.training
    loss.model.eval()
    found = loss.model(dict(features))["sentence_embedding"][0].detach()
    loss.model.train(mode)
    return found


def test_hard_negatives_are_mined_with_the_same_prompts(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsdae_kit.training.hard_negatives.MARGIN", 1e-3)
    Path("field.txt").write_text("\n".join(make_sentences(300)))
    given: dict[str, Any] = {}
    mine = hard_negatives.mine_hard_negatives

    def note(*args: Any, **kwargs: Any) -> Any:
        given.update(kwargs)
        return mine(*args, **kwargs)

    monkeypatch.setattr(hard_negatives, "mine_hard_negatives", note)
    seen = watch(monkeypatch, losses.MultipleNegativesRankingLoss, first_text)
    tune(prompted(tiny_model, BOTH), write("pairs.jsonl", pairs()), mine_negatives=Path("field.txt"), max_steps=4)
    assert (given["query_prompt"], given["corpus_prompt"]) == (QUERY, DOCUMENT)
    assert {len(batch) for batch in seen} == {3}
    assert all(batch[2].startswith(DOCUMENT) for batch in seen)


def test_the_users_prompts_win_and_one_for_a_missing_column_is_refused(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, messages: Callable[[], str]
) -> None:
    seen = watch(monkeypatch, losses.MultipleNegativesRankingLoss, first_text)
    model, file = prompted(tiny_model, BOTH), write("pairs.jsonl", pairs())
    tune(model, file, trainer=["prompts={anchor: 'every child '}"])
    assert all(anchor.startswith("every child ") and not positive.startswith(DOCUMENT) for anchor, positive in seen)
    assert f"Prompts: 'every child ' before anchor; not used: query {QUERY!r}, document {DOCUMENT!r}." in messages()
    with pytest.raises(
        KitError, match=r"--trainer prompts names 'query', but there is no such column. Choose from: anchor, pos"
    ):
        tune(model, file, trainer=["prompts={query: 'x '}"], output="other")
    assert not Path("other").exists()


@pytest.mark.parametrize("default", ["query", None])
def test_stage_one_puts_the_default_or_the_document_prompt_before_noisy_text_and_pairs_have_their_roles(
    default: str | None, tiny_model: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch, messages: Callable[[], str]
) -> None:
    seen = watch(monkeypatch, TSDAELoss, first_text)
    file = write("pairs.jsonl", pairs())
    model = prompted(tiny_model, BOTH, default)
    adapt(**GIVEN | {"max_steps": 4}, model=str(model), data=tiny_data, pairs=file)
    before = QUERY if default else DOCUMENT
    batches = [batch for batch in seen if len(batch) == 4][2:]  # behind the steps whose memory is measured
    assert len(batches) == 4
    for noisy, clean, anchor, positive in batches:
        assert noisy.startswith(before)
        assert not clean.startswith(before)
        assert anchor.startswith(QUERY)
        assert positive.startswith(DOCUMENT)
    assert f"Prompts: {before!r} before noisy" in messages()
