"""Small runs that behave like large ones: a model of two layers, a corpus from templates, processes to kill."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from tsdae_kit import adapt, filesystem, prepare_corpus
from tsdae_kit.errors import KitError, RunStopped

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

STEPS = 27  # 180 sentences in batches of 8: 23 batches an epoch, so the second epoch is reached
SHORT = {
    "batch_size": 8,
    "max_steps": STEPS,
    "save_steps": 4,
    "logging_steps": 1,
    "eval_steps": 10,
    "learning_rate": 1e-3,
    "precision": "fp32",  # on every machine
}


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


def make_model(folder: Path) -> Path:
    """Return a folder with a sentence encoder of two layers of 32, with dropout."""
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


def make_data(folder: Path) -> Path:
    """Return prepared pairs of 200 sentences: 180 to train on, 20 held out."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "corpus.txt").write_text("\n".join(make_sentences(200)) + "\n", encoding="utf-8")
    return prepare_corpus(files=[str(folder / "corpus.txt")], output=folder / "prepared")


def make_search_data(folder: Path) -> Path:
    """Return evaluation data: 40 sentences as documents, each to be found by its first words."""
    sentences = make_sentences(40)
    rows = {
        "docs.jsonl": [{"id": f"d{i}", "text": text} for i, text in enumerate(sentences)],
        "queries.jsonl": [{"id": f"q{i}", "text": text[:-12]} for i, text in enumerate(sentences)],
    }
    for name, lines in rows.items():
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (folder / "qrels.tsv").write_text("".join(f"q{i}\td{i}\t1\n" for i in range(len(sentences))), encoding="utf-8")
    return folder


def weights(run: Path, step: int = STEPS) -> dict[str, torch.Tensor]:
    """Return every tensor of encoder and decoder, and the optimizer's moments, at a step."""
    folder = run / f"checkpoint-{step}"
    tensors = {f"encoder.{n}": t for n, t in load_file(folder / "model.safetensors").items()}
    tensors |= {f"loss.{n}": t for n, t in load_file(folder / "loss.safetensors").items()}
    optimizer = torch.load(folder / "optimizer.pt", weights_only=True)["state"]
    tensors |= {f"adam.{i}.{n}": t for i, state in optimizer.items() for n, t in state.items()}
    return tensors


def assert_equal_to_the_bit(first: Path, second: Path, step: int = STEPS) -> None:
    a, b = weights(first, step), weights(second, step)
    assert a.keys() == b.keys()
    assert len(a) > 100
    differing = [name for name in a if not torch.equal(a[name], b[name])]
    assert not differing, differing[:5]


def rest_slow(*cases: Any) -> list[Any]:
    """Return the cases of a parametrization, all but the first marked as slow: one is enough for the core."""
    others = (case if isinstance(case, tuple) else (case,) for case in cases[1:])
    return [cases[0], *(pytest.param(*case, marks=pytest.mark.slow) for case in others)]


def _run(given: dict[str, Any], slow_save: float) -> None:
    multiprocessing.set_start_method("fork", force=True)  # its workers as usual, not by a fork server of their own
    torch.set_num_threads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    if slow_save:
        fsync = filesystem.fsync_path

        def slow_fsync(path: Path) -> None:
            if path.name == "manifest.json":  # a checkpoint's, when all of it is there under its temporary name
                time.sleep(slow_save)
            fsync(path)

        filesystem.fsync_path = slow_fsync
    try:
        adapt(**given)
    except RunStopped:
        raise SystemExit(75) from None
    except KitError:
        raise SystemExit(2) from None


def fork_server() -> ForkServerContext:
    """Return what starts processes in a fraction of a second: a server that has imported the libraries once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.preload"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))  # it starts in a test's folder, and finds `tests` so
        forkserver.ensure_running()
    return context


def start(given: dict[str, Any], slow_save: float = 0.0) -> BaseProcess:
    """Begin a run in a process of its own; ``slow_save`` waits so many seconds within each save."""
    process = fork_server().Process(target=_run, args=(given, slow_save))
    process.start()
    return process


def send(process: BaseProcess, number: signal.Signals) -> None:
    """Send a signal and wait for the end (not by join(), which waits for a killed run's workers too)."""
    assert process.pid is not None
    os.kill(process.pid, number)
    while Path(f"/proc/{process.pid}").exists():
        time.sleep(0.001)


def finish(process: BaseProcess) -> None:
    """Wait for a run that must end well."""
    process.join()
    assert process.exitcode == 0


def last_step(run: Path) -> int:
    """Return the last step that the run has logged."""
    try:
        lines = (run / "metrics.jsonl").read_text().splitlines()
        return int(json.loads(lines[-1])["step"])
    except (OSError, IndexError, ValueError):
        return 0


def assert_averaged(run: Path, step: int, share: float) -> None:
    """Check that the final weights are those of the step and, by their share, of the base model that the run keeps."""
    base, trained, final = (
        load_file(run / name / "model.safetensors") for name in ("base", f"checkpoint-{step}", "final")
    )
    assert any(not torch.equal(trained[name], base[name]) for name in base)
    for name, weights in final.items():
        torch.testing.assert_close(weights, (1 - share) * trained[name] + share * base[name])
    assert f"weight of the base model in the final weights: {share}" in (run / "final" / "README.md").read_text()
