"""What a step takes is measured before the first; pieces and checkpointing keep it small, and change no value."""

from __future__ import annotations

import ctypes
import json
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer

from tests.tiny import SHORT, assert_equal_to_the_bit, fork_server, make_sentences
from tsdae_kit import KitError, Noise, TSDAELoss, adapt
from tsdae_kit.config.settings import DecoderKind
from tsdae_kit.models.encoders import enable_gradient_checkpointing
from tsdae_kit.training import memory, tsdae_task
from tsdae_kit.training.memory import StepMemory, _Peak, free_memory, keep_freed_memory, measure_step
from tsdae_kit.tsdae import fused_cross_entropy

Load = Callable[[], SentenceTransformer]
DECODERS: list[DecoderKind] = ["cross-attention", "prefix"]
LONG = " ".join(make_sentences(4))


def step(loss: TSDAELoss, copies: int = 16) -> tuple[torch.Tensor, dict[str, torch.Tensor], int]:
    """Return the loss, all gradients, and the bytes at the step's height."""
    texts = [LONG] * copies
    features = [dict(loss.encoder.preprocess([Noise()(text) for text in texts])), dict(loss.encoder.preprocess(texts))]
    loss.train()
    torch.manual_seed(1)
    with _Peak(iter([*loss.parameters(), *loss.buffers()])) as peak:
        value = loss(features)
        value.backward()
    gradients = {name: p.grad for name, p in loss.named_parameters() if p.grad is not None}
    return value.detach(), gradients, peak.most


@pytest.mark.parametrize("kind", DECODERS)
def test_checkpointing_reaches_both_halves_and_changes_no_value(load_tiny: Load, kind: DecoderKind) -> None:
    results = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        encoder = load_tiny()
        if checkpointing:
            enable_gradient_checkpointing(encoder)
        results.append(step(TSDAELoss(encoder, decoder=kind)))
    (plain, gradients, high), (saved, again, low) = results
    assert torch.equal(plain, saved)
    assert gradients.keys() == again.keys()
    for name, gradient in gradients.items():  # dropout is in these: the encoder's is drawn again, the decoder has none
        torch.testing.assert_close(again[name], gradient, msg=name)
    assert low < 0.6 * high


@pytest.mark.parametrize("kind", DECODERS)
def test_checkpointing_recomputes_each_layer_twice_a_step(load_tiny: Load, kind: DecoderKind) -> None:
    """Once for the noisy sentence and once for the clean one."""
    encoder = load_tiny()
    enable_gradient_checkpointing(encoder)
    loss = TSDAELoss(encoder, decoder=kind)
    layers = [m for m in loss.modules() if type(m).__name__ == "BertLayer"]
    seen: list[bool] = []
    for layer in layers:
        layer.attention.register_forward_hook(lambda *_: seen.append(True))
    step(loss, copies=2)
    assert len(seen) == 2 * 2 * 2  # layers, halves, the second time


def test_in_pieces_the_peak_is_lower_and_the_values_are_the_same(
    load_tiny: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for pieces in (2**40, 64 * 50):
        monkeypatch.setattr(fused_cross_entropy, "LOGITS_PER_CHUNK", pieces)
        torch.manual_seed(0)
        encoder = load_tiny().double()
        encoder.transformers_model.resize_token_embeddings(5000)  # else the head is nothing beside the layers
        results.append(step(TSDAELoss(encoder).eval(), copies=32))
    (whole, gradients, high), (parts, again, low) = results
    torch.testing.assert_close(whole, parts)
    for name, gradient in gradients.items():
        torch.testing.assert_close(again[name], gradient, msg=name)
    assert low < 0.5 * high


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_measure_foretells_a_larger_step(load_tiny: Load, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_cross_entropy, "LOGITS_PER_CHUNK", 1)
    torch.manual_seed(0)
    loss = TSDAELoss(load_tiny())
    state = torch.random.get_rng_state()
    need = measure_step(loss, loss.encoder, [LONG, LONG], precision, None)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in loss.parameters())
    features = [dict(loss.encoder.preprocess([LONG] * 24)) for _ in range(2)]
    with (
        _Peak(iter([*loss.parameters(), *loss.buffers()])) as peak,
        torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"),
    ):
        loss.train()(features).backward()
    moments = 8 * sum(p.numel() for p in loss.parameters())
    assert peak.most == pytest.approx(need.of(24) - moments, rel=0.05)
    assert need.tokens == features[1]["input_ids"].shape[1]


def test_the_largest_batch_is_the_last_power_of_two_that_fits() -> None:
    need = StepMemory(fixed=100, sentence=10, tokens=5)
    assert [need.largest(room, most=64) for room in (109, 110, 419, 420, 10**6)] == [0, 1, 16, 32, 64]


def test_what_is_free_on_a_cpu_is_less_than_the_machine_has_and_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = free_memory(torch.device("cpu"))
    assert 2**20 < alone < 2**50
    launched = {
        "LOCAL_WORLD_SIZE": "4",
        "WORLD_SIZE": "4",
        "RANK": "1",
        "LOCAL_RANK": "1",
        "MASTER_ADDR": "a",
        "MASTER_PORT": "1",
    }
    for name, value in launched.items():
        monkeypatch.setenv(name, value)
    assert free_memory(torch.device("cpu")) == pytest.approx(alone / 4, rel=0.2)


def test_a_control_group_limits_what_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"limit": "5000\n", "usage": "3000\n", "stat": "anon 2000\ninactive_file 700\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(memory, "_CGROUPS", (tuple(str(tmp_path / name) for name in files), ("no", "such", "file")))
    assert free_memory(torch.device("cpu")) == 2700
    (tmp_path / "limit").write_text("max\n")
    assert free_memory(torch.device("cpu")) > 10**6


def test_a_run_says_what_a_step_takes(tiny_model: Path, tiny_data: Path, messages: Callable[[], str]) -> None:
    adapt(model=str(tiny_model), data=tiny_data, **SHORT | {"max_steps": 1, "decoder_warmup_steps": 0})
    assert "A step of 8 sentences of " in messages()
    assert "!!!" not in messages()


def test_the_batch_size_auto_is_what_fits_and_recorded(
    tiny_model: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch, messages: Callable[[], str]
) -> None:
    given = SHORT | {"model": str(tiny_model), "data": tiny_data, "batch_size": "auto", "eval_steps": 100}
    free = [1]
    monkeypatch.setattr(tsdae_task, "free_memory", lambda _: free[0])
    with pytest.raises(KitError, match="A step of one sentence takes"):
        adapt(**given)
    assert not Path("runs/tsdae/run.json").exists()
    original = measure_step

    def measured(*args: object) -> StepMemory:
        need = original(*args)  # type: ignore[arg-type]
        free[0] = int(need.of(16) / 0.8) + 1
        return need

    monkeypatch.setattr(tsdae_task, "measure_step", measured)
    adapt(**{name: value for name, value in given.items() if name != "max_steps"})
    record = json.loads(Path("runs/tsdae/run.json").read_text())
    assert record["settings"]["batch_size"] == 16
    assert record["finished_step"] == 12  # of 180 sentences
    adapt(**given | {"resume": True, "max_steps": 13})  # "auto" does not contradict what was found
    monkeypatch.setattr(tsdae_task, "measure_step", original)
    free[0] //= 2
    adapt(**given | {"batch_size": 16, "resume": True, "max_steps": 14})
    assert "!!! The longest sentences may not fit; " in messages()


@pytest.mark.slow
def test_a_checkpointed_run_ends_in_the_bits_of_a_plain_one(tiny_model: Path, tiny_data: Path) -> None:
    given = SHORT | {"model": str(tiny_model), "data": tiny_data, "max_steps": 6, "decoder_warmup_steps": 2}
    adapt(**given, output="plain")
    adapt(**given | {"max_steps": 4}, output="run")
    adapt(**given, output="run", resume=True, gradient_checkpointing=True)
    assert_equal_to_the_bit(Path("plain"), Path("run"), step=6)


def test_a_family_without_checkpointing_is_refused_in_one_line(load_tiny: Load) -> None:
    encoder = load_tiny()
    for module in encoder.modules():
        vars(module).pop("gradient_checkpointing", None)

    def refuse(*_: object) -> None:
        raise ValueError("BertModel is not compatible with gradient checkpointing.")

    encoder.transformers_model.activation_checkpointing_enable = refuse
    with pytest.raises(KitError, match="'bert' has no gradient checkpointing"):
        enable_gradient_checkpointing(encoder)


def count_page_faults(keep: bool, into: Path) -> None:
    """Write how many pages the system clears for a block as large as those that were freed before."""
    if keep:
        keep_freed_memory()
    for _ in range(3):
        torch.zeros(2**24)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(2**24)
    into.write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before))


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library than glibc")
def test_freed_memory_is_kept_for_the_next_step() -> None:
    """The pages of a block that is freed and taken again are not cleared by the system again."""
    faults = []
    for keep in (False, True):
        process = fork_server().Process(target=count_page_faults, args=(keep, Path("faults")))
        process.start()
        process.join()
        faults.append(int(Path("faults").read_text()))
    assert faults[0] > 1000 > 100 > faults[1]
