"""The trainer: the library's curve, half precision in all of it, a place in the data found without reading."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator
from torch import nn
from torch.overrides import TorchFunctionMode

from tests.test_loss import librarys_loss
from tests.test_resume import interrupted_after
from tests.tiny import SHORT, make_sentences
from tsdae_kit import Noise, NoiseTransform, ResumableTrainer, TSDAELoss, adapt

Load = Callable[[], SentenceTransformer]
Module = TypeVar("Module", bound=nn.Module)
CURVE = 50  # steps


def arguments(**given: Any) -> SentenceTransformerTrainingArguments:
    return SentenceTransformerTrainingArguments(
        "out", per_device_train_batch_size=8, learning_rate=1e-3, save_strategy="no", logging_steps=1,
        max_grad_norm=0, report_to="none", disable_tqdm=True, use_cpu=True, seed=7, **given,
    )  # fmt: skip


def without_dropout(module: Module) -> Module:
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    return module


def curve(trainer: SentenceTransformerTrainer) -> list[float]:
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_fifty_steps_follow_the_librarys_curve(load_tiny: Load) -> None:
    clean = make_sentences(160)
    pairs = Dataset.from_dict({"noisy": [Noise()(text) for text in clean], "clean": clean})
    first, second = without_dropout(load_tiny()), without_dropout(load_tiny())
    loss = TSDAELoss(first)
    twin = without_dropout(librarys_loss(second, loss))
    given = {"args": arguments(max_steps=CURVE), "train_dataset": pairs}
    ours = curve(ResumableTrainer(model=first, loss=loss, **given))
    theirs = curve(SentenceTransformerTrainer(model=second, loss=twin, **given))
    assert len(ours) == len(theirs) == CURVE
    assert ours[-1] < ours[0] - 0.5  # something was learned
    assert ours == pytest.approx(theirs, rel=2e-3)


class CrossEntropyTypes(TorchFunctionMode):
    """Notes in which type the normaliser of the softmax is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.dtype] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") == "logsumexp":
            self.seen.add(args[0].dtype)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("decoder", ["cross-attention", "prefix"])
def test_half_precision_covers_encoder_decoder_and_head_but_not_the_softmax(load_tiny: Load, decoder: Any) -> None:
    model = load_tiny()
    loss = TSDAELoss(model, decoder=decoder)
    seen: dict[str, torch.dtype] = {}
    for name, module in loss.named_modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(lambda _, __, result, name=name: seen.__setitem__(name, result.dtype))
    clean = make_sentences(16)
    pairs = Dataset.from_dict({"noisy": [Noise()(text) for text in clean], "clean": clean})
    with CrossEntropyTypes() as softmax:
        ResumableTrainer(model=model, loss=loss, args=arguments(max_steps=2, bf16=True), train_dataset=pairs).train()
    assert {name for name, dtype in seen.items() if dtype is not torch.bfloat16} == set()
    assert any(name.startswith("encoder.") for name in seen)
    assert any(name.startswith("decoder.") for name in seen)
    assert len(seen) > 12
    assert softmax.seen == {torch.float32}
    assert {weight.dtype for weight in loss.parameters()} == {torch.float32}


def test_a_resumed_run_draws_no_noise_for_what_it_skips(
    tiny_model: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {"model": str(tiny_model), "data": tiny_data, **SHORT, "save_steps": 20}
    with interrupted_after(21):
        adapt(output="run", **given)
    drawn: list[int] = []
    transform = NoiseTransform.__call__

    def counted(self: NoiseTransform, rows: dict[str, list[str]]) -> Any:
        drawn.append(len(rows["clean"]))
        return transform(self, rows)

    monkeypatch.setattr(NoiseTransform, "__call__", counted)
    monkeypatch.setattr(NoiseTransform, "set_epoch", lambda *_: drawn.clear())  # what was read for the model's card
    adapt(output="run", resume=True, max_steps=22)
    assert 2 * 8 <= sum(drawn) <= 3 * 8  # two steps, and a batch that is read ahead; 160 rows were skipped


def test_an_evaluator_of_the_users_own_is_kept(load_tiny: Load) -> None:
    model = load_tiny()
    clean = make_sentences(8)
    evaluator = EmbeddingSimilarityEvaluator(clean[:4], clean[4:], [0.1, 0.9, 0.5, 0.2])
    pairs = Dataset.from_dict({"noisy": clean, "clean": clean})
    trainer = ResumableTrainer(
        model=model, loss=TSDAELoss(model), train_dataset=pairs, evaluator=evaluator,
        args=arguments(max_steps=1, eval_strategy="steps", eval_steps=1),
    )  # fmt: skip
    trainer.train()
    assert any("spearman" in name for entry in trainer.state.log_history for name in entry)


def test_of_several_processes_the_first_alone_writes_the_model(
    load_tiny: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Transformers 5 calls for it in all of them: they would write into the same file at once."""
    model = load_tiny()
    trainer = ResumableTrainer(
        model=model, loss=TSDAELoss(model), args=arguments(max_steps=1),
        train_dataset=Dataset.from_dict({"noisy": ["a"], "clean": ["a"]}),
    )  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr("tsdae_kit.distributed.rank", lambda: 1)
        trainer.save_model("second")
    assert not Path("second/modules.json").exists()
    trainer.save_model("first")
    assert Path("first/modules.json").is_file()
