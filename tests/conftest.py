"""Offline, and each test in a folder of its own."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest
import torch
from sentence_transformers import SentenceTransformer

from tests.preload import hide_from_collector
from tests.tiny import SHORT, make_data, make_model, make_search_data
from tsdae_kit import adapt

torch.set_num_threads(1)  # tiny tensors: more threads only cost, and other processes run beside


LONGEST = (  # ten seconds and more
    "test_the_tutorial_runs",
    "test_all_stages_of_a_plan_run_in_the_processes_of_one_launch",
    "test_the_two_lines_of_the_readme_work_on_a_hundred_lines",
    "test_a_run_killed_at_random_moments",
    "test_ray_gives_the_local_engines_rows",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest tests first, so that no worker waits at the end for the other's last one."""
    items.sort(key=lambda item: not item.name.startswith(LONGEST))


def pytest_collection_finish() -> None:
    """Also what the test modules have imported is there to stay."""
    hide_from_collector()


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def load_tiny(tiny_model: Path) -> Callable[[], SentenceTransformer]:
    return lambda: SentenceTransformer(str(tiny_model), device="cpu")


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def uninterrupted(tiny_model: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the settings ``SHORT``: compare with it, and copy it rather than change it."""
    run = tmp_path_factory.mktemp("reference") / "run"
    adapt(model=str(tiny_model), data=tiny_data, output=run, **SHORT)
    return run


@pytest.fixture(scope="session")
def search_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_search_data(tmp_path_factory.mktemp("search"))


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare a run its report, a third of a short one's time, where that is not what is tested."""
    monkeypatch.setattr("tsdae_kit.training.runner.report_run", lambda *_: None)


@pytest.fixture
def messages(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    monkeypatch.setattr(logging.getLogger("tsdae_kit"), "propagate", True)
    caplog.set_level(logging.INFO, "tsdae_kit")
    return lambda: caplog.text
