"""The measuring scripts run, on a small model: the training benchmark's two sides, the comparisons, the search."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts import compare, search_recipes
from scripts.benchmark import run_side
from tests.tiny import make_sentences


@pytest.mark.parametrize("side", ["official", "ours"])
def test_a_side_of_the_training_benchmark_prints_its_figures(
    side: str, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("corpus.txt").write_text("\n".join(make_sentences(100)))
    options = Namespace(
        side=side, model=str(tiny_model), corpus=Path("corpus.txt"), steps=2, batch_size=4, precision="fp32"
    )  # where bf16 is emulated, the machine's own speed alone would take minutes
    run_side(options)
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert figures["sentences/s"] > 0
    assert figures["target tokens/s"] > 3 * figures["sentences/s"]


@pytest.fixture
def collections() -> Path:
    """Text, queries and pairs in the layout of the collections."""
    texts, folder = make_sentences(240), Path("collections/askubuntu")
    folder.mkdir(parents=True)
    Path("collections/stsb").mkdir()
    pairs = list(zip(texts, [text[:-1] for text in texts], strict=True))
    files = {
        folder / "corpus.txt": texts,
        folder / "docs.jsonl": [json.dumps({"id": str(i), "text": a}) for i, (a, _) in enumerate(pairs)],
        folder / "pairs_train.tsv": [f"1\t{a}\t{b}" for a, b in pairs],
    }
    for split in ("dev", "test"):
        control = [f"{i % 5}\t{a}\t{b}" for i, (a, b) in enumerate(pairs[:40])]
        files[Path(f"collections/stsb/pairs_{split}.tsv")] = control
    for suffix in ("", "_dev"):
        files[folder / f"queries{suffix}.jsonl"] = [
            json.dumps({"id": str(i), "text": b}) for i, (_, b) in enumerate(pairs[:20])
        ]
        files[folder / f"qrels{suffix}.tsv"] = [f"{i}\t{i}\t1" for i in range(20)]
    for path, lines in files.items():
        path.write_text("\n".join(lines) + "\n")
    return folder.parent


def run_script(monkeypatch: pytest.MonkeyPatch, main: Callable[[], None], *arguments: object) -> None:
    monkeypatch.setattr("sys.argv", ["script", *map(str, arguments)])
    main()


@pytest.mark.slow
@pytest.mark.parametrize(("experiment", "rows"), [("rivals", 12), ("variants", 9), ("stages", 11)])
def test_a_comparison_trains_what_it_compares_and_prints_it_again_without_training(
    experiment: str,
    rows: int,
    collections: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("tsdae_kit.training.hard_negatives.MARGIN", 1e-3)  # of a random encoder's, all are alike
    Path("out").mkdir()
    Path(f"out/{experiment}.json").write_text('{"scores": {"base, cisi, 1": {"cisi retrieval": 42.1}}}')
    given = (experiment, collections, "--model", tiny_model, "--fields", "askubuntu", "--seeds", 1, "--steps", 4,
             "--work", "work", "--results", "out")  # fmt: skip
    run_script(monkeypatch, compare.main, *given)
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert printed[0] == "| | askubuntu retrieval | stsb | mean |"
    assert len(printed) == 2 + rows
    assert all(line.count(" to ") == 3 for line in printed[3:])
    scores = json.loads(Path(f"out/{experiment}.json").read_text())["scores"]
    assert scores.pop("base, cisi, 1") == {"cisi retrieval": 42.1}  # another field's is kept
    assert len(scores) == rows
    assert len({json.dumps(row) for row in scores.values()}) > 1
    monkeypatch.setattr(compare.Lab, "measure", None)
    run_script(monkeypatch, compare.main, *given, "--table")
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")] == printed


def test_a_comparison_scores_its_models_on_tuning_data_too(
    collections: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("out").mkdir()
    given = ("rivals", collections, "--model", tiny_model, "--fields", "askubuntu", "--rows", "deletion-contrast",
             "--seeds", 1, "--steps", 4, "--work", "work", "--results", "out")  # fmt: skip
    run_script(monkeypatch, compare.main, *given)
    wrong = "".join(f"{i}\t{i + 1}\t1\n" for i in range(19))  # the test queries' are found
    Path("collections/askubuntu/qrels_dev.tsv").write_text(wrong)

    def deletion_contrast(*given: object) -> str:
        raise AssertionError("trained again")

    monkeypatch.setitem(compare.EXPERIMENTS["rivals"][1], "deletion-contrast", [deletion_contrast])
    run_script(monkeypatch, compare.main, *given, "--tuning")
    assert "| | askubuntu retrieval, dev | stsb | mean |" in capsys.readouterr().out.splitlines()
    found, tuned = (json.loads(Path(f"out/rivals{name}.json").read_text())["scores"] for name in ("", "-tuning"))
    assert found.keys() == tuned.keys() == {"base, askubuntu, 1", "deletion-contrast, askubuntu, 1"}
    row = "deletion-contrast, askubuntu, 1"
    assert tuned[row]["askubuntu retrieval, dev"] != found[row]["askubuntu retrieval"]


@pytest.mark.slow
def test_the_search_scores_the_base_model_and_each_mark_of_a_recipe(
    collections: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(search_recipes, "WARM", 2)
    monkeypatch.setattr(search_recipes, "HELD_OUT", 20)
    recipes = ("anchored-contrast", "taught", "only-taught", "taught-decay", "taught-shallow", "taught-soft")
    run_script(
        monkeypatch, search_recipes.main, collections, "--model", tiny_model, "--domains", "askubuntu", "--recipes",
        *recipes, "--marks", 1, 2, "--output", "found.jsonl", "--work", "work",
    )  # fmt: skip
    found = [json.loads(line) for line in Path("found.jsonl").read_text().splitlines()]
    assert [row["recipe"] for row in found] == ["base", *(name for name in recipes for _ in range(6))]
    assert "| taught | 2 | blend |" in capsys.readouterr().out
