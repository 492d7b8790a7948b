"""report.html: what a person sees of a run, checked as text, by hand-made scores, and in a browser."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, sync_playwright
from sentence_transformers import SentenceTransformer

from tests.test_prepare import Page
from tests.tiny import SHORT, make_sentences, rest_slow
from tsdae_kit import KitError, adapt, fine_tune, load_prepared, score_models, write_report
from tsdae_kit.errors import RunStopped
from tsdae_kit.reporting.run_page import make_run_page
from tsdae_kit.reporting.run_report import RunReport
from tsdae_kit.reporting.score_table import make_score_rows
from tsdae_kit.reporting.verdict import Verdict, make_verdict
from tsdae_kit.run_folder import RunFolder
from tsdae_kit.training import measurements

RUN: dict[str, Any] = {**SHORT, "max_steps": 8, "eval_steps": 4, "device": "cpu"}


@pytest.fixture(scope="module")
def finished(
    tiny_model: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Path:
    """Return a folder with a finished run, scored on pairs."""
    place = tmp_path_factory.mktemp("report")
    texts = make_sentences(60)
    (place / "field").mkdir()
    lines = [f"{i % 5}\t{texts[i]}\t{texts[30 + i]}\n" for i in range(30)]
    (place / "field" / "pairs_dev.tsv").write_text("".join(lines))
    given = {**RUN, "model": str(tiny_model), "data": tiny_data, "eval_data": [str(place / "field")]}
    # So fast, and not averaged, that a step scores above the base model.
    adapt(**{**given, "learning_rate": 3e-2}, output=place / "run", decoder_warmup_steps=2, base_weight=0.0)
    return place


@pytest.fixture
def run(finished: Path) -> Path:
    shutil.copytree(finished, ".", dirs_exist_ok=True)
    return Path("run")


def read_page(run: Path) -> Page:
    return Page((run / "report.html").read_text(encoding="utf-8"))


def test_a_finished_run_shows_its_data_curves_neighbours_and_rebuilt_sentences(
    run: Path, tiny_model: Path, tiny_data: Path
) -> None:
    page, found = read_page(run), json.loads((run / "outcome.json").read_text())
    assert (page.open, page.links) == ([], [])
    assert len(found["neighbours"]) == 10
    assert len(found["rebuilt"]) == 5
    held_out = {entry["clean"] for entry in found["rebuilt"]} | {entry["text"] for entry in found["neighbours"]}
    assert held_out <= set(load_prepared(tiny_data).held_out["clean"])
    shown = [entry["rebuilt"] or "Rebuilt" for entry in found["rebuilt"]]
    shown += [text for entry in found["neighbours"] for when in ("before", "after") for _, text in entry[when]]
    assert all(any(part in line for line in page.text.splitlines()) for part in [*shown, *held_out])
    html = (run / "report.html").read_text()
    assert html.count("<polyline") == 8  # training and held-out loss, its three parts, score, rate, speed
    for name, value in (
        ("corpus", "180 sentences to train on, 20 held out, 0 dropped"),
        ("model", str(tiny_model)),
        ("workers", "0"),
    ):
        assert f"{name}\n{value}\n" in page.text


def test_neighbours_are_those_of_the_two_models(run: Path, tiny_model: Path, tiny_data: Path) -> None:
    found = json.loads((run / "outcome.json").read_text())
    searched = list(load_prepared(tiny_data).train["clean"])
    for when, folder in (("before", tiny_model), ("after", run / "final")):
        encoder = SentenceTransformer(str(folder), device="cpu")
        for entry in found["neighbours"]:
            (query,), docs = (encoder.encode(t, normalize_embeddings=True) for t in ([entry["text"]], searched))
            nearest = np.argsort(-(docs @ query), kind="stable")[:3]
            assert [text for _, text in entry[when]] == [searched[i] for i in nearest]
            assert [score for score, _ in entry[when]] == pytest.approx((docs @ query)[nearest], abs=1e-5)


def test_scores_before_and_after_are_those_of_evaluate(run: Path, tiny_model: Path) -> None:
    rows = json.loads((run / "outcome.json").read_text())["scores"]
    record = json.loads((run / "run.json").read_text())
    assert record["best_step"]
    evaluated = score_models(models=[tiny_model, run / "final"], data=["field"], split="dev", device="cpu")["results"]
    for row, other in zip(rows, evaluated, strict=True):
        assert row["score"] == pytest.approx(other["score"], abs=1e-3)
        assert row.get("verdict") == other.get("verdict")
    assert rows[1]["interval"] == pytest.approx(list(evaluated[1]["interval"]), abs=1e-2)
    assert "These scores are optimistic: they selected the best step" in read_page(run).text


def row(task: str, verdict: str, difference: float = 1.6, model: str = "run/final") -> dict[str, Any]:
    interval = {"better": (0.6, 2.6), "worse": (-2.6, -0.6)}.get(verdict, (-1.0, 1.0))
    return {"task": task, "model": model, "metric": "AP", "score": 84.1, "difference": difference,
            "interval": interval, "verdict": verdict}  # fmt: skip


BASE = {"task": "t", "model": "base", "metric": "AP", "score": 82.5}
DONE = {"settings": {"model": "base"}, "finished_step": 8, "best_step": 8}


def judge(record: dict[str, Any], selection_scores: list[Any], scores: list[Any]) -> Verdict:
    run = RunReport(RunFolder(Path("run")), record, [{"step": 3}], {"scores": selection_scores}, scores)
    return make_verdict(run)


@pytest.mark.parametrize(
    ("record", "selection_scores", "scores", "kind", "heading"),
    [
        ({"settings": DONE["settings"]}, [], [], "", "Not finished: step 3"),
        (DONE, [], [], "", "Whether it helps is not known"),
        (
            DONE,
            [],
            [BASE, row("t", "better")],
            "better",
            "Better than base on t: AP 84.1, +1.6 (95 % interval +0.6 to +2.6).",
        ),
        (DONE, [], [BASE, row("t", "worse", -1.6)], "worse", "Worse than base on t: AP 84.1, -1.6"),
        (DONE, [], [BASE, row("t", "no difference shown")], "", "No difference from base shown on t"),
        (DONE, [BASE, row("t", "better")], [{**BASE, "task": "u"}, row("u", "worse")], "worse", "Worse than base on u"),
        (
            DONE,
            [],
            [BASE, row("t", "better"), row("average", "no difference shown")],
            "",
            "No difference from base shown on a",
        ),
        (DONE, [], [{**BASE, "model": "bm25"}, row("t", "better")], "", "Better than bm25 on t"),
        (DONE, [], [BASE, row("t", "better", model="other/final")], "", "Whether it helps is not known"),
        ({**DONE, "goals": {"t AP": "x"}, "best_step": 0}, [], [], "", "No gain"),
    ],
)
def test_the_verdict_says_what_was_measured_and_no_more(
    record: dict[str, Any], selection_scores: list[Any], scores: list[Any], kind: str, heading: str
) -> None:
    verdict = judge(record, selection_scores, scores)
    assert (verdict.kind, verdict.sentences[0][: len(heading)]) == (kind, heading)


def test_a_score_by_which_the_step_was_selected_is_called_optimistic() -> None:
    verdict = judge(DONE, [BASE, row("t", "better")], [])
    assert any("optimistic" in sentence for sentence in verdict.sentences)


def test_scores_of_evaluate_in_the_runs_folder_make_the_verdict(run: Path, tiny_model: Path) -> None:
    score_models(models=[tiny_model, run / "final"], data=["field"], split="dev", device="cpu",
                 output=run / "scores.json")  # fmt: skip
    write_report(runs=[run])
    text = read_page(run).text
    assert "Evaluate on other data" not in text
    assert text.count("reference\n") == 2


def test_scores_of_version_0_1_without_labels_are_not_shown_and_make_no_verdict(run: Path) -> None:
    rows = [{**BASE, "proxy": True}, {**row("t", "better", model=str(run / "final")), "proxy": True}]
    (run / "scores.json").write_text(json.dumps({"results": rows}))
    outcome = json.loads((run / "outcome.json").read_text())
    (run / "outcome.json").write_text(json.dumps({**outcome, "scores": rows}))
    for scores in (None, run / "scores.json"):
        write_report(runs=[run], scores=scores)
        text = read_page(run).text
        assert "Whether it helps is not known" in text
        assert "better\n" not in text


def test_a_run_that_is_not_finished_has_a_page_too(run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    del record["finished_step"]
    (run / "run.json").write_text(json.dumps(record))
    (run / "outcome.json").unlink()
    with (run / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 9, "lo')  # being written
    assert write_report(runs=[run]) == run / "report.html"
    page = read_page(run)
    assert "Not finished: step 8" in page.text
    assert "Nearest neighbours" not in page.text


def test_a_model_that_no_other_is_compared_with_is_no_reference() -> None:
    assert [shown.verdict for shown in make_score_rows([BASE, row("t", "better")])] == ["reference", "better"]
    assert [shown.verdict for shown in make_score_rows([BASE])] == [""]


def test_scores_of_an_earlier_model_do_not_make_the_verdict(run: Path, tiny_model: Path) -> None:
    score_models(models=[tiny_model, run / "final"], data=["field"], split="dev", device="cpu",
                 output=run / "scores.json")  # fmt: skip
    os.utime(run / "scores.json", (1, 1))  # a clock says nothing
    write_report(runs=[run])
    assert read_page(run).text.count("reference\n") == 2
    scores = json.loads((run / "scores.json").read_text())
    scores["digests"][str(run / "final")] = "of another model"
    (run / "scores.json").write_text(json.dumps(scores))
    write_report(runs=[run])
    assert read_page(run).text.count("reference\n") == 1


def test_the_report_of_a_killed_or_extended_run_is_made_up_for(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = json.loads((run / "outcome.json").read_text())
    for name in ("outcome.json", "report.html"):
        (run / name).unlink()
    adapt(output=run, resume=True)
    again = json.loads((run / "outcome.json").read_text())
    assert [again[key] for key in ("of", "neighbours", "rebuilt")] == [
        before[key] for key in ("of", "neighbours", "rebuilt")
    ]
    assert (run / "report.html").exists()
    with monkeypatch.context() as patch:
        patch.setattr(measurements, "_measure", interrupt)
        with pytest.raises(RunStopped):
            adapt(output=run, resume=True, max_steps=12)
    assert json.loads((run / "outcome.json").read_text()) == again  # of the model that is no more
    adapt(output=run, resume=True)
    assert json.loads((run / "outcome.json").read_text())["of"][1] == 12


def interrupt(*_: Any) -> None:
    raise RunStopped


def test_a_part_that_fails_is_missing_and_costs_the_run_nothing(
    run: Path, monkeypatch: pytest.MonkeyPatch, messages: Any
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(measurements, "load_loss", fail)
    final = adapt(output=run, resume=True, max_steps=12)
    assert final.is_dir()
    assert "What the decoder rebuilds cannot be in the report (out of memory). The model is whole." in messages()
    assert "Nearest neighbours" in read_page(run).text
    assert "Rebuilt" not in read_page(run).text


def test_a_finished_run_without_its_evaluation_data_is_still_finished(run: Path, finished: Path) -> None:
    shutil.rmtree(finished / "field")
    (run / "outcome.json").unlink()
    assert adapt(output=run, resume=True) == run / "final"
    shutil.copytree("field", finished / "field")
    assert "Nearest neighbours" in read_page(run).text


def test_stage_two_shows_neighbours_and_nothing_rebuilt(tiny_model: Path) -> None:
    texts = make_sentences(60)
    rows = [{"anchor": a, "positive": p} for a, p in zip(texts[:30], texts[30:], strict=True)]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    fine_tune(files=["pairs.jsonl"], model=str(tiny_model), output="two", max_steps=3, batch_size=4, device="cpu")
    page = read_page(Path("two"))
    assert "pairs.jsonl\n30 rows; anchor = anchor, positive = positive; objective multiple-negatives\n" in page.text
    assert "Nearest neighbours" in page.text
    assert "Rebuilt" not in page.text


def test_several_runs_are_compared(run: Path, messages: Any) -> None:
    other = "oth<img src=x>er"
    shutil.copytree(run, other)
    record = json.loads(Path(other, "run.json").read_text())
    record["settings"]["batch_size"] = 99
    Path(other, "run.json").write_text(json.dumps(record))
    assert write_report(runs=[run, other], output="new/two.html") == Path("new/two.html")
    page = Page(Path("new/two.html").read_text())
    assert page.links == []
    assert page.text.partition("Settings that differ\n")[2].split() == [
        "setting",
        "run",
        *other.split(),
        "batch_size",
        "8",
        "99",
    ]
    assert "best score" in messages()
    with pytest.raises(KitError, match="nowhere holds no run"):
        write_report(runs=["nowhere"])
    with pytest.raises(KitError, match="holds no scores"):
        write_report(runs=[run], scores=run / "run.json")
    with pytest.raises(KitError, match="run is named twice"):
        write_report(runs=[run, run])
    with pytest.raises(KitError, match="is a folder"):
        write_report(runs=[run, other], output="new")


def test_no_text_of_a_run_becomes_markup() -> None:
    text = """<img src="x"> & 'y'"""
    settings = {"model": text, "files": [text], "decoder_warmup_steps": 1}
    record = {"settings": settings, "about": {text: text}, "versions": {text: text}, "started": text,
              "finished": text, "finished_step": 2}  # fmt: skip
    metrics = [{"step": step, f"loss_{text}": 1.0, "loss_b": 2.0} for step in range(3)]
    rows = [{**BASE, "task": text, "model": text}, {**row(text, "better"), "metric": text}]
    measurements = {"scores": rows, "neighbours": [{"text": text, "before": [[0.5, text]], "after": [[0.5, text]]}],
                    "rebuilt": [{"clean": text, "noisy": text, "rebuilt": text}], "rebuilt_at": 1}  # fmt: skip
    html = make_run_page(RunReport(RunFolder(Path(text)), record, metrics, measurements, rows))
    page = Page(html)
    assert (page.open, page.links) == ([], [])
    assert "<img" not in html
    assert "&amp;lt;" not in html  # escaped once
    assert page.text.count(text) > 20


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        assert "CI" not in os.environ, "CI looks at the pages: apt-get install chromium"
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.mark.parametrize("name", rest_slow("run/report.html", "comparison.html", "prepared/report.html"))
def test_in_a_browser_the_page_fits_a_phone_reaches_for_nothing_and_follows_the_scheme(
    run: Path, browser: Browser, name: str, tiny_data: Path
) -> None:
    shutil.copytree(run, "other")
    write_report(runs=[run, "other"])
    shutil.copytree(tiny_data, "prepared")
    colours = []
    for width, scheme in ((1100, "light"), (390, "light"), (390, "dark")):
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        page, faults, requests = context.new_page(), [], []  # type: Any, list[str], list[str]
        page.on("console", lambda message, faults=faults: faults.append(message.text))
        page.on("request", lambda request, requests=requests: requests.append(request.url))
        page.goto(Path(name).resolve().as_uri())
        assert (faults, len(requests)) == ([], 1)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        drawn = page.evaluate("[...document.querySelectorAll('svg')].map(e => e.getBoundingClientRect().width)")
        assert all(100 < w <= width for w in drawn)
        colours.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        context.close()
    assert colours[0] == colours[1] != colours[2]
    assert np.mean([int(c) for c in colours[2][4:-1].split(",")]) < 60
