"""The engine ray gives the local engine's rows, also when a worker dies; skipped where ray is not installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import make_sentences
from tsdae_kit import adapt, load_prepared, prepare_corpus
from tsdae_kit.corpus.prepared_folder import SPLITS, read_batches

pytest.importorskip("ray", reason="the extra `ray` is not installed")

OWN = """
import os, signal
from pathlib import Path

def noise(words, random):
    try:
        Path("{place}/killed").touch(exist_ok=False)
    except FileExistsError:
        return [word for word in words if random.random() < 0.4] or words[:1]
    os.kill(os.getpid(), signal.SIGKILL)
"""
CALL = """
import logging, ray
from tsdae_kit import KitError, prepare_corpus
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
given = {given}
prepare_corpus(files=["folder"], output="ray", engine="ray", **given)
try:
    prepare_corpus(files=["bad.txt"], output="bad", engine="ray")
except KitError as error:
    print(error)
"""


def read_all(folder: str, noise: str) -> tuple[Any, ...]:
    corpus = load_prepared(Path(folder), noise)
    splits = [[row for batch in read_batches(Path(folder), split) for row in batch.to_pylist()] for split in SPLITS]
    counts = {key: corpus.manifest[key] for key in ("read", "dropped", "examples", "train", "held_out", "noise")}
    return *(sorted(tuple(row.values()) for row in split) for split in splits), corpus.noise, counts


@pytest.mark.slow
def test_ray_gives_the_local_engines_rows_with_a_worker_killed(
    monkeypatch: pytest.MonkeyPatch, tiny_model: Path
) -> None:
    Path("folder").mkdir()
    sentences = make_sentences(300)
    for i in range(6):  # every file repeats half of the one before, in capitals
        lines = [text.upper() for text in sentences[i * 50 - 25 : i * 50]] if i else ["x"]
        Path(f"folder/{i}.txt").write_text("\n".join([*lines, *sentences[i * 50 : i * 50 + 50]]))
    Path("bad.txt").write_bytes(b"a good line of text\n\xff\n")
    Path("killer.py").write_text(OWN.format(place=Path().resolve()))
    monkeypatch.syspath_prepend(str(Path().resolve()))
    noise = "killer.noise,delete:0.3"
    given = {"noise": noise, "held_out": 20, "split": "sentences"}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    ran = subprocess.run(
        [sys.executable, "-c", CALL.format(given=given)], env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert Path("killed").exists()
    assert "bad.txt, line 2: the byte 0xff is not UTF-8" in ran.stdout
    assert not Path("bad").exists()
    assert sorted(p.name for p in Path("ray").iterdir()) == ["held_out", "manifest.json", "report.html", "train"]
    assert [p.suffix for p in Path("ray/train").iterdir()] == [".parquet"] * 6
    prepare_corpus(files=["folder"], output="local", **given)
    assert read_all("ray", noise) == read_all("local", noise)
    adapt(data="ray", noise=noise, model=str(tiny_model), output="run", max_steps=2, batch_size=8)
    assert len(ran.stdout.splitlines()) + len(ran.stderr.splitlines()) < 50, ran.stderr
