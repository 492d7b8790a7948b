"""What comes from others is not trusted: data, records and models run no code and move no file that nobody named."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, Features, Image, Value

from tests.tiny import SHORT, make_data, make_sentences
from tsdae_kit import KitError, adapt, fine_tune, inspect_run, load_prepared, prepare_corpus, score_models, write_report
from tsdae_kit.config.settings import TrainSettings
from tsdae_kit.filesystem import remove_known_files, write_json
from tsdae_kit.plans.plan import run_plan
from tsdae_kit.run_folder import RunFolder
from tsdae_kit.training.checkpoints import verify_checkpoint
from tsdae_kit.training.resuming import recorded_settings

EVIL = "from pathlib import Path\nPath('EXECUTED').touch()\ndef noise(words, random):\n    return words[:2]\n"
GIVEN = {**SHORT, "max_steps": 3, "save_steps": 3, "decoder_warmup_steps": 1, "device": "cpu", "output": "run"}


@pytest.fixture
def data(tiny_data: Path) -> Path:
    """A copy of the prepared data, to be changed."""
    return Path(shutil.copytree(tiny_data, "downloaded"))


@pytest.fixture(scope="module")
def finished(tiny_model: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("finished") / "run"
    adapt(**GIVEN | {"output": run}, model=str(tiny_model), data=tiny_data)
    return run


@pytest.fixture
def run(finished: Path) -> Path:
    """A finished run, to be changed."""
    return Path(shutil.copytree(finished, "run"))


def change(path: Path, **values: Any) -> None:
    """Change some keys of a JSON file; a dict is merged."""
    content = json.loads(path.read_text())
    for key, value in values.items():
        content[key] = content[key] | value if isinstance(value, dict) else value
    path.write_text(json.dumps(content))


@pytest.fixture
def evil(monkeypatch: pytest.MonkeyPatch) -> str:
    """A function of a module that leaves a trace when it is imported."""
    Path("evil.py").write_text(EVIL)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    return "evil.noise"


@pytest.mark.parametrize("kinds", ["evil.noise", "delete:0.2, evil.noise", "evil.noise:"])
def test_data_runs_a_function_only_where_the_user_names_it_again(
    kinds: str, data: Path, evil: str, tiny_model: Path
) -> None:
    change(data / "manifest.json", noise={"kinds": kinds})
    for call in (
        lambda **more: adapt(**GIVEN, model=str(tiny_model), data=data, **more),
        lambda **more: load_prepared(data, **more),
    ):
        with pytest.raises(KitError, match=rf"by {evil}, .* If it is yours, name it again: --noise '?{kinds}'?\.$"):
            call()
        with pytest.raises(KitError, match="name it again"):
            call(noise="delete")
    assert not Path("EXECUTED").exists()
    assert not Path("run").exists()
    assert load_prepared(data, kinds).noise("the doctor treats a rash").count(" ") < 2
    assert Path("EXECUTED").exists()


def test_a_resumed_run_and_inspect_are_told_the_function_each_time(data: Path, evil: str, tiny_model: Path) -> None:
    change(data / "manifest.json", noise={"kinds": evil})
    adapt(**GIVEN, model=str(tiny_model), data=data, noise=evil)
    assert "noise" not in json.loads(Path("run/run.json").read_text())["settings"]
    change(Path("run/run.json"), settings={"noise": evil})  # one from others may say anything
    for call in (
        lambda **more: adapt(resume=True, output="run", max_steps=4, **more),
        lambda **more: inspect_run(run="run", text=["a rash"], device="cpu", **more),
    ):
        with pytest.raises(KitError, match=r"name it again: --noise evil\.noise"):
            call()
        assert call(noise=evil)


def test_other_noise_than_the_data_has_is_refused(tiny_data: Path) -> None:
    with pytest.raises(KitError, match=r"^--noise is swap, but .* was prepared with delete. Leave --noise out\.$"):
        load_prepared(tiny_data, "swap")
    assert load_prepared(tiny_data, "delete").noise == load_prepared(tiny_data).noise


def test_a_plan_names_its_own_function_once(evil: str, tiny_model: Path) -> None:
    Path("corpus.txt").write_text("\n".join(make_sentences(60)))
    settings = {**GIVEN, "output": "run", "model": str(tiny_model)}
    Path("plan.yaml").write_text(json.dumps({"prepare": {"files": "corpus.txt", "noise": evil}, "train": settings}))
    assert [state.partition(":")[0] for state in run_plan(Path("plan.yaml"))] == ["prepare", "train"]
    assert Path("run/final").is_dir()


@pytest.mark.parametrize(
    "noise",
    [
        {"words": "syllables"}, {"words": ["auto"]}, {"deletion_ratio": 1.5}, {"deletion_ratio": "0.6"},
        {"deletion_ratio": True}, {"seed": "42"}, {"seed": None}, {"protect": "doctor"}, {"protect": [1]},
        {"vocabulary": {"a": 1}}, {"mask_token": 5}, {"kinds": "delet"}, {"kinds": "evil.noise:0.5"}, {"kinds": 3},
        {"stranger": 1}, {"deletion_ratio": float("nan")},
    ],
)  # fmt: skip
def test_a_manifest_s_noise_that_cannot_be_is_damage(noise: dict[str, Any], data: Path) -> None:
    change(data / "manifest.json", noise=noise)
    with pytest.raises(
        KitError, match=rf"^The data folder downloaded is damaged \(its noise has .*{next(iter(noise))}"
    ):
        load_prepared(data)


@pytest.mark.parametrize("part", [{"dropped": 1}, {"train": "many"}, {"noise": []}, {"examples": None}])
def test_a_manifest_with_parts_of_other_types_is_no_manifest(part: dict[str, Any], data: Path) -> None:
    change(data / "manifest.json", dropped=part.get("dropped", {}), **{k: v for k, v in part.items() if k != "dropped"})
    with pytest.raises(KitError, match="is no prepared data set"):
        load_prepared(data)


@pytest.mark.parametrize("where", ["../elsewhere/train/data-00000-of-00001.arrow", "/absolute"])
def test_data_reads_no_file_outside_its_folder(where: str, data: Path) -> None:
    shutil.copytree(data, "elsewhere")
    place = str(Path("elsewhere/train/data-00000-of-00001.arrow").resolve()) if where == "/absolute" else "../" + where
    change(data / "train" / "state.json", _data_files=[{"filename": place}])
    with pytest.raises(KitError, match=r"damaged \(it names .*elsewhere.*, which is outside\)"):
        load_prepared(data)
    shutil.copytree("elsewhere/train", data / "train", dirs_exist_ok=True)
    load_prepared(data)
    change(data / "dataset_dict.json", splits=["../elsewhere/train"])
    with pytest.raises(KitError, match="which is outside"):
        load_prepared(data)


def test_columns_whose_values_would_be_files_are_refused(data: Path) -> None:
    """An image is opened, by path or address, when its row is read."""
    kinds = Features(noisy=Image(), clean=Value("string"))
    pictures = Dataset.from_dict({"noisy": [{"path": None, "bytes": b"x"}], "clean": ["a"]}, features=kinds)
    shutil.rmtree(data / "train")
    pictures.save_to_disk(data / "train")
    with pytest.raises(KitError, match=r"downloaded is damaged \(its column noisy is no text\)"):
        load_prepared(data)


def test_whether_code_is_trusted_is_never_recorded_nor_read_from_a_record(
    tiny_model: Path, tiny_data: Path, search_data: Path
) -> None:
    adapt(**GIVEN, model=str(tiny_model), data=tiny_data, trust_remote_code=True)
    score_models(models=[str(tiny_model)], data=[str(search_data)], device="cpu", trust_remote_code=True)
    for record in ("run/run.json", "scores.json"):
        assert "trust_remote_code" not in Path(record).read_text()
    forged = {"trust_remote_code": True, "push_to_hub": "their/model", "overwrite": True, "resume": "/"}
    change(Path("run/run.json"), settings=forged)
    record = RunFolder(Path("run")).read_record()
    assert record
    assert not recorded_settings(record, TrainSettings).keys() & forged.keys()
    assert adapt(resume=True, output="run", max_steps=4)
    kept = json.loads(Path("run/run.json").read_text())["settings"]
    assert not kept.keys() & forged.keys()


def test_trainer_fields_of_a_record_are_held_to_the_same_rules(run: Path) -> None:
    change(Path("run/run.json"), settings={"trainer": ["load_best_model_at_end=true"]})
    with pytest.raises(KitError, match="--trainer load_best_model_at_end is not taken"):
        adapt(resume=True, output="run", max_steps=4)


@pytest.mark.parametrize("part", [{"goals": []}, {"about": 1}, {"best_step": "../../x"}, {"finished_step": "3"}])
def test_a_record_with_parts_of_other_types_is_damaged(part: dict[str, Any]) -> None:
    record = {"id": "1", "settings": {}, "data": "", "max_length": 1, "processes": 1, "versions": {}}
    Path("run.json").write_text(json.dumps(record | part))
    with pytest.raises(KitError, match=rf"run.json is damaged \({next(iter(part))} is"):
        RunFolder(Path()).read_record()


@pytest.mark.parametrize("entry", [{"../secret": {"bytes": 1, "sha256": ""}}, {"a": []}, ["a"]])
def test_a_checkpoint_s_manifest_reaches_nothing_outside(entry: Any) -> None:
    Path("secret").write_text("1")
    Path("checkpoint-1").mkdir()
    Path("checkpoint-1/manifest.json").write_text(json.dumps({"run": "1", "files": entry}) + "\n")
    fault = verify_checkpoint(Path("checkpoint-1"), "1")
    expected = "its manifest names ../secret, which is outside" if "../secret" in entry else "is missing or damaged"
    assert fault
    assert fault.endswith(expected)


@pytest.mark.parametrize("name", ["train.log", "final", ".run.json.partial"])
def test_a_run_from_others_writes_through_no_link(run: Path, name: str) -> None:
    """A link ``final`` would have had its target replaced, ``train.log`` have lines added to any file."""
    Path("thesis").mkdir()
    Path("thesis/text.tex").write_text("years of work")
    link = Path("run") / name
    if link.is_dir():
        shutil.rmtree(link)
    link.unlink(missing_ok=True)
    link.symlink_to(Path("thesis").resolve() / ("text.tex" if name != "final" else ""))
    with pytest.raises(KitError, match=rf"^run/{name} is a link to .*thesis"):
        adapt(resume=True, output="run", max_steps=4)
    assert Path("thesis/text.tex").read_text() == "years of work"


def test_overwrite_deletes_a_run_that_holds_all_the_kit_writes_and_nothing_else(
    tiny_model: Path, tiny_data: Path, search_data: Path
) -> None:
    given = {**GIVEN, "model": str(tiny_model), "data": tiny_data}
    adapt(**given, report_to="tensorboard")
    score_models(models=[str(tiny_model)], data=[str(search_data)], device="cpu", output="run/scores.json")
    Path("run/.run.json.partial").write_text("{")
    Path("run/negatives-0-x.parquet").touch()
    before = {path.name for path in Path("run").iterdir()}
    assert {"tensorboard", "base", "outcome.json", "report.html", "scores.json"} <= before
    for name in ("notes.txt", "cut.csv", "final.zip", "zebra/a"):
        (Path("run") / name).parent.mkdir(exist_ok=True)
        (Path("run") / name).write_text("mine")
    with pytest.raises(KitError, match=r"^run holds cut.csv, final.zip, notes.txt and 1 more, not written by this"):
        adapt(**given, overwrite=True)
    assert before <= {path.name for path in Path("run").iterdir()}
    for name in ("notes.txt", "cut.csv", "final.zip", "zebra/a"):
        (Path("run") / name).unlink()
    adapt(**given, overwrite=True)
    left = {path.name for path in Path("run").iterdir()}
    assert not left & {"scores.json", ".run.json.partial", "negatives-0-x.parquet", "tensorboard"}


def test_overwrite_of_stage_two_spares_what_it_did_not_write(tiny_model: Path) -> None:
    Path("pairs.jsonl").write_text(
        "".join(json.dumps({"anchor": text, "positive": text[:-9]}) + "\n" for text in make_sentences(16))
    )
    given = {"files": ["pairs.jsonl"], "model": str(tiny_model), "output": "tuned", "device": "cpu", "max_steps": 1}
    fine_tune(**given)
    Path("tuned/labels.xlsx").touch()
    with pytest.raises(KitError, match=r"tuned holds labels\.xlsx, not written"):
        fine_tune(**given, overwrite=True)
    Path("tuned/labels.xlsx").unlink()
    assert fine_tune(**given, overwrite=True)


MINE = ("final/mine.txt", "final/onnx/model.onnx", "final/mine.json", "base/my.txt", "checkpoint-3/notes.md",
        "tensorboard/notes.txt", "final/1_Pooling/mine.txt", "negatives-x/y.parquet")  # fmt: skip


def test_overwrite_deletes_nothing_that_others_put_into_a_runs_own_folders(
    run: Path, tiny_model: Path, tiny_data: Path
) -> None:
    given = {**GIVEN, "model": str(tiny_model), "data": tiny_data}
    for name in MINE:
        path = Path("run") / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
        with pytest.raises(KitError, match=rf"^run holds {re.escape(name)}, not written by this command"):
            adapt(**given, overwrite=True)
        assert path.read_text() == "mine"
        path.unlink()
    record = RunFolder(Path("run")).read_record()
    assert record is not None
    assert set(record["files"]) >= {"README.md", "1_Pooling/config.json", "model.safetensors"}
    write_json(Path("run/run.json"), {key: value for key, value in record.items() if key != "files"})  # an older run
    Path("run/checkpoint-3/manifest.json").write_text("{")
    adapt(**given, overwrite=True)


def test_overwrite_knows_a_models_own_code_by_the_runs_record(run: Path, tiny_model: Path, tiny_data: Path) -> None:
    given = {**GIVEN, "model": str(tiny_model), "data": tiny_data}
    Path("run/final/modeling_own.py").write_text("pass")
    with pytest.raises(KitError, match=r"^run holds final/modeling_own.py, not written"):
        adapt(**given, overwrite=True)
    record = RunFolder(Path("run")).read_record()
    assert record is not None
    write_json(Path("run/run.json"), {**record, "files": [*record["files"], "modeling_own.py"]})
    adapt(**given, overwrite=True)
    assert not Path("run/final/modeling_own.py").exists()


def test_what_comes_while_known_files_are_removed_stays() -> None:
    for name in ("final/config.json", "final/mine.txt", "base/config.json"):
        Path("run", name).parent.mkdir(parents=True, exist_ok=True)
        Path("run", name).touch()
    remove_known_files(Path("run"), ["*/config.json"])
    assert [str(path) for path in sorted(Path("run").rglob("*"))] == ["run/final", "run/final/mine.txt"]


def test_overwrite_of_data_spares_what_prepare_did_not_write() -> None:
    folder = make_data(Path("made"))
    given = {"files": ["made/corpus.txt"], "output": folder, "overwrite": True}
    prepare_corpus(**given, seed=1, keep_rejects=True)
    Path(folder / "train" / "cache-0a1b.arrow").touch()  # one of datasets' own
    for name in ("labels.csv", "mine.json", "mine.arrow", "mine.parquet", "sub/state.json"):
        path = folder / "train" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
        with pytest.raises(KitError, match=rf"^made/prepared holds train/{name}, not written .*Move that away"):
            prepare_corpus(**given, seed=2)
        assert path.read_text() == "mine"
        path.unlink()
    assert load_prepared(folder).noise.seed == 1
    prepare_corpus(**given, seed=2)
    assert load_prepared(folder).noise.seed == 2


@pytest.mark.parametrize("content", ['{"settings": 1}', "[]", "my notes", "\udcff"])
def test_scores_replace_no_file_but_scores(content: str, tiny_model: Path, search_data: Path) -> None:
    given = {"models": [str(tiny_model)], "data": [str(search_data)], "device": "cpu", "output": "results.json"}
    Path("results.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(KitError, match=r"^results.json exists and was not written by this command"):
        score_models(**given)
    assert Path("results.json").read_bytes() == content.encode(errors="surrogateescape")
    Path("results.json").write_text("")
    score_models(**given)
    score_models(**given)
    os.mkfifo("pipe")
    with pytest.raises(KitError, match="pipe exists"):
        score_models(**given | {"output": "pipe"})


def test_a_comparison_replaces_no_page_but_one_of_ours() -> None:
    for name in ("a", "b"):
        Path(name).mkdir()
        Path(name, "run.json").write_text(json.dumps({"settings": {}}))
    Path("comparison.html").write_text("<!doctype html><title>My own</title>")
    with pytest.raises(KitError, match=r"^comparison.html exists and was not written by this command"):
        write_report(runs=["a", "b"])
    Path("comparison.html").unlink()
    write_report(runs=["a", "b"])
    assert write_report(runs=["a", "b"]) == Path("comparison.html")
