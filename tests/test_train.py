"""train: the run's folder, what a person sees, what is refused, and the model that comes out."""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

from tests.test_resume import interrupted_after
from tests.tiny import assert_averaged, assert_equal_to_the_bit, make_sentences, rest_slow
from tsdae_kit import KitError, NoiseTransform, adapt, load_prepared, prepare_corpus
from tsdae_kit.config.settings import BASE_WEIGHT, CONTRASTIVE_WEIGHT, DRIFT_PENALTY
from tsdae_kit.train import main

SHORT: dict[str, Any] = {"batch_size": 16, "max_steps": 6, "save_steps": 3, "logging_steps": 2}


def train(tiny_model: Path, tiny_data: Path, **given: Any) -> Path:
    return adapt(**{"model": str(tiny_model), "data": tiny_data, "output": "run", **SHORT, **given})


@pytest.fixture(scope="module")
def finished(tiny_model: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("finished") / "run"
    train(tiny_model, tiny_data, output=run)
    return run


@pytest.fixture
def run(finished: Path) -> Path:
    """A finished run, to be changed."""
    return Path(shutil.copytree(finished, "run"))


def run_module(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONWARNINGS": "default"}
    environment.pop("PYTEST_CURRENT_TEST", None)
    return subprocess.run(
        [sys.executable, "-m", f"tsdae_kit.{command}", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )


def test_masked_words_have_the_base_models_own_token(tiny_model: Path) -> None:
    Path("corpus.txt").write_text("\n".join(make_sentences(100)))
    for name, token in (("own", "[MASK]"), ("piece", "."), ("other", "<mask>")):
        prepare_corpus(files=["corpus.txt"], output=name, noise="delete:0.1,mask", mask_token=token)
    for name in ("own", "piece"):
        train(tiny_model, Path(name), output=f"{name}-run")
    with pytest.raises(KitError, match=r"has no token '<mask>'.*--mask-token '\[MASK\]'\.$"):
        train(tiny_model, Path("other"), output="other-run")


def test_the_run_folder_holds_exactly_what_the_design_names(run: Path) -> None:
    assert {path.name for path in Path("run").iterdir()} == {
        "run.json", "train.log", "metrics.jsonl", "checkpoint-3", "checkpoint-6", "final",
        "base", "outcome.json", "report.html",
    }  # fmt: skip
    metrics = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [(m["step"], "eval_loss" in m) for m in metrics] == [
        (0, True),
        (2, False),
        (4, False),
        (6, False),
        (6, True),
    ]
    record = json.loads(Path("run/run.json").read_text())
    assert record["finished_step"] == 6
    assert record["settings"]["decoder_warmup_steps"] == 1


def test_training_lowers_the_held_out_loss(tiny_model: Path, tiny_data: Path) -> None:
    train(tiny_model, tiny_data, max_steps=60, learning_rate=3e-3, decoder_learning_rate=3e-3)
    losses = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines() if "eval_loss" in line]
    assert losses[-1]["eval_loss"] < 0.8 * losses[0]["eval_loss"]


@pytest.mark.slow
def test_the_final_model_is_plain_and_keeps_the_base_models_modules(tiny_model: Path, tiny_data: Path) -> None:
    final = train(tiny_model, tiny_data, max_length=12)
    code = (
        "import sys; sys.modules['tsdae_kit'] = None\n"
        "from sentence_transformers import SentenceTransformer\n"
        f"model = SentenceTransformer({str(final)!r}, device='cpu')\n"
        "assert model.encode('the doctor treats a rash').shape == (32,)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    base, adapted = (SentenceTransformer(str(path), device="cpu") for path in (tiny_model, final))
    assert [type(module) for module in adapted] == [type(module) for module in base]
    assert adapted[1].get_config_dict() == base[1].get_config_dict()
    assert adapted.max_seq_length == base.max_seq_length
    weights = dict(base.named_parameters())
    changed = [name for name, p in adapted.named_parameters() if not torch.equal(p, weights[name])]
    assert len(changed) > 0.9 * len([name for name in weights if "pooler" not in name])


def test_the_encoder_stays_as_it_is_while_the_decoder_warms_up(tiny_model: Path, tiny_data: Path) -> None:
    train(tiny_model, tiny_data, decoder_warmup_steps=3)
    base, warm, late = (
        dict(SentenceTransformer(str(path), device="cpu").named_parameters())
        for path in (tiny_model, Path("run/checkpoint-3"), Path("run/checkpoint-6"))
    )
    assert all(torch.equal(p, base[name]) for name, p in warm.items())
    assert not all(torch.equal(p, base[name]) for name, p in late.items())


def test_a_new_run_starts_from_a_trained_models_folder(run: Path, tiny_data: Path) -> None:
    final = run / "final"
    again = train(final, tiny_data, output="more", decoder_warmup_steps=5, learning_rate=1e-12)
    text = make_sentences(3)
    first, second = (SentenceTransformer(str(path), device="cpu").encode(text) for path in (final, again))
    assert second == pytest.approx(first, abs=1e-5)
    assert json.loads(Path("more/run.json").read_text())["id"] != json.loads(Path("run/run.json").read_text())["id"]


def test_resume_starts_where_there_is_nothing_and_a_finished_run_says_so(
    tiny_model: Path, tiny_data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One command for a job script that a scheduler starts again and again."""
    train(tiny_model, tiny_data, resume=True)
    assert "No run in run yet: starting at step 0." in caplog.text
    before = {p: p.stat().st_mtime_ns for p in Path("run").rglob("*") if p.name != "train.log" and p.is_file()}
    train(tiny_model, tiny_data, resume=True)
    assert "This run is finished" in caplog.text
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_a_run_killed_before_its_first_checkpoint_starts_again(
    run: Path, tiny_model: Path, tiny_data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for path in ("run/checkpoint-3", "run/checkpoint-6", "run/final"):
        shutil.rmtree(path)
    train(tiny_model, tiny_data, resume=True)
    assert "No checkpoint in run yet: starting at step 0." in caplog.text
    assert len(Path("run/metrics.jsonl").read_text().splitlines()) == 5


def test_a_folder_in_use_names_both_ways_out_and_stays_as_it_is(run: Path, tiny_model: Path, tiny_data: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in Path("run").rglob("*")}
    with pytest.raises(KitError, match=r"--resume .* --overwrite"):
        train(tiny_model, tiny_data)
    assert {p: p.stat().st_mtime_ns for p in Path("run").rglob("*")} == before
    old = json.loads(Path("run/run.json").read_text())["id"]
    train(tiny_model, tiny_data, overwrite=True)
    assert json.loads(Path("run/run.json").read_text())["id"] != old


def test_overwrite_deletes_nothing_before_the_new_run_can_begin(run: Path, tiny_model: Path, tiny_data: Path) -> None:
    final = run / "final"
    with pytest.raises(KitError, match="no-such-model"):
        train(tiny_model, tiny_data, overwrite=True, model="no-such-model")
    assert final.is_dir()


def test_overwrite_does_not_delete_the_model_it_starts_from(run: Path, tiny_data: Path) -> None:
    final = run / "final"
    with pytest.raises(KitError, match="lies in run, which --overwrite deletes"):
        train(final, tiny_data, overwrite=True)


def test_a_linked_run_folder_can_be_overwritten(run: Path, tiny_model: Path, tiny_data: Path) -> None:
    run.rename("elsewhere")
    run.symlink_to("elsewhere")
    train(tiny_model, tiny_data, overwrite=True)
    assert Path("elsewhere/final").is_dir()


def test_a_model_in_half_precision_is_trained_in_full(load_tiny: Any, tiny_data: Path) -> None:
    load_tiny().half().save_pretrained("half", create_model_card=False)
    final = train(Path("half"), tiny_data)
    assert {p.dtype for p in SentenceTransformer(str(final), device="cpu").parameters()} == {torch.float32}


def test_a_folder_that_holds_no_run_is_never_touched(tiny_model: Path, tiny_data: Path) -> None:
    Path("thesis").mkdir()
    Path("thesis/chapter.tex").touch()
    for flags in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(KitError, match=r"holds no run \(chapter\.tex\)"):
            train(tiny_model, tiny_data, output="thesis", **flags)
    assert [p.name for p in Path("thesis").iterdir()] == ["chapter.tex"]


def test_settings_that_contradict_the_record_are_refused_with_both_values(run: Path) -> None:
    with pytest.raises(KitError) as raised:
        adapt(output="run", resume=True, seed=7, batch_size=4, max_steps=9)
    assert "--seed is 7, but the run was started with 42" in str(raised.value)
    assert "--batch-size is 4, but the run was started with 16" in str(raised.value)
    assert "max-steps" not in str(raised.value)


def test_a_run_does_not_move_to_another_device_by_itself(run: Path) -> None:
    record = json.loads(Path("run/run.json").read_text())
    assert record["settings"]["device"] == "cpu"
    record["settings"]["device"] = "cuda:7"
    Path("run/run.json").write_text(json.dumps(record))
    with pytest.raises(KitError, match="'cuda:7' cannot be used"):
        adapt(output="run", resume=True, max_steps=9)


def test_another_corpus_is_refused_on_resume(run: Path) -> None:
    Path("c.txt").write_text("\n".join(make_sentences(50)))
    with pytest.raises(KitError, match=r"has the fingerprint .*, but the run was started on"):
        adapt(output="run", resume=True, data=prepare_corpus(files=["c.txt"], output="other"), max_steps=9)


def test_two_processes_can_not_run_in_one_folder_and_the_lock_dies_with_its_owner(
    tiny_model: Path, tiny_data: Path
) -> None:
    """The owner's forked children (a DataLoader's workers) outlive it here, and must not keep the lock."""
    code = (
        "import os, sys, time\nfrom pathlib import Path\nfrom tsdae_kit.filesystem import folder_lock\n"
        "with folder_lock(Path('run'), wait=False) as got:\n"
        "    child = os.fork()\n"
        "    if child: print(got, child, flush=True)\n"
        "    time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        got, child = owner.stdout.readline().split()
        assert got == "True"
        with pytest.raises(KitError, match="Another run is going on in run"):
            train(tiny_model, tiny_data)
        owner.kill()
        owner.wait()
        train(tiny_model, tiny_data)
        os.kill(int(child), 9)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"data": "nowhere"}, "The data folder nowhere does not exist"),
        ({"data": "."}, "is no prepared data set"),
        ({"model": "no/such-model"}, "'no/such-model' is neither a folder nor in the hub's cache"),
        ({"model": "empty"}, "The folder holds no model"),
        ({"epochs": 1}, "--epochs and --max-steps both"),
        ({"device": "cuda:7"}, "'cuda:7' cannot be used"),
        ({"decoder_warmup_steps": 6}, "leaves the encoder none of 6 steps"),
        ({"max_length": 1000}, "is more than the 64 tokens"),
        ({"trainer": ["nonsense=1"]}, r"argument \(see the fields of SentenceTransformerTrainingArguments\)\.$"),
        ({"trainer": ["save_steps=4", "learning=3", "x"]}, "--save-steps says.*no training argument.*not KEY=VALUE"),
        ({"max_length": 3, "seed": -1}, "--seed -1 is outside 0.*--max-length 3 leaves no words"),
        ({"report_to": "mlflow"}, "--report-to mlflow needs a package"),
        ({"report_to": "paper"}, "'paper' is not one of none, tensorboard"),
        ({"resume": Path("nowhere")}, "There is no checkpoint folder nowhere"),
        ({"learning_rate": float("nan"), "decoder_learning_rate": "inf"}, "rate nan is not a number.*rate 'inf'"),
        ({"trainer": ["save_only_model=true", "dataloader_drop_last=true"]}, "not be resumed.*drop_last is not taken"),
        ({"trainer": ["lr_scheduler_type=sine"]}, "The trainer refuses its arguments"),
        ({"trainer": ["weight_decay=a"]}, "weight_decay takes a number, not 'a'"),
        ({"trainer": ["load_best_model_at_end=true"]}, "not taken: with --eval-data the best step becomes the final"),
        ({"trainer": ["warmup_steps=5"]}, "warmup_steps would do nothing: the rate is constant. Add --trainer lr_sch"),
        ({"trainer": ["optim=adamw_bnb_8bit"]}, "The trainer refuses its arguments: .*bitsandbytes"),
        ({"trainer": ["learning_rate_mapping=x"]}, "The trainer refuses its arguments"),
        ({"trainer": ["batch_sampler=group_by_label"]}, "group_by_label is for losses over classes"),
        ({"trainer": ["torch_compile_backend=nope"]}, "'NOPE' is not a valid DynamoBackend"),
        ({"trainer": ["optim_args=x"]}, "The trainer refuses its arguments"),
        ({"trainer": ["lr_scheduler_type=cosine", "lr_scheduler_kwargs={a: 1}"]}, "unexpected keyword argument 'a'"),
        ({"trainer": ["lr_scheduler_type=cosine_with_min_lr"]}, "The trainer refuses its arguments: .*min_lr"),
        ({"trainer": ["dataloader_persistent_workers=true"]}, "persistent_workers needs .*Add --workers 1"),
        ({"device": "meta"}, "'meta' cannot be used"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_leaves_no_run(
    given: dict[str, Any], message: str, tiny_model: Path, tiny_data: Path
) -> None:
    Path("empty").mkdir()
    with pytest.raises(KitError, match=message) as raised:
        train(tiny_model, tiny_data, **given)
    assert "\n" not in str(raised.value)
    assert not Path("run").exists()


def test_a_mistake_ends_the_command_with_one_line_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--data", "nowhere"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
def test_the_two_lines_of_the_readme_work_on_a_hundred_lines() -> None:
    """The real model, the real commands; nothing of the frameworks' load reports, bars or warnings is shown."""
    Path("corpus.txt").write_text("\n".join(make_sentences(100)))
    prepared = run_module("prepare", "corpus.txt")
    assert (prepared.returncode, prepared.stderr) == (0, "")
    for expected in ("No run in runs/tsdae yet", "This run is finished"):
        trained = run_module("train", "--resume")
        assert (trained.returncode, trained.stderr) == (0, "")
        assert expected in trained.stdout
        assert not any(word in trained.stdout for word in ("MISSING", "UNEXPECTED", "LOAD REPORT", "it/s]", "Warning"))
    assert SentenceTransformer("runs/tsdae/final", device="cpu").encode("a test").shape == (384,)


def test_messages_go_through_logging_that_a_program_has_set_up(
    tiny_model: Path, tiny_data: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO, "tsdae_kit"):
        train(tiny_model, tiny_data)
    assert "held-out loss" in caplog.text
    assert "held-out loss" in Path("run/train.log").read_text()
    assert capsys.readouterr().out == ""


def test_the_papers_recipe_is_a_name_for_its_settings(tiny_model: Path, tiny_data: Path) -> None:
    given: dict[str, Any] = {"model": str(tiny_model), "data": tiny_data, "max_steps": 2, "device": "cpu"}
    adapt(**given, recipe="paper", output="paper")
    adapt(**given, recipe="paper", output="own", learning_rate=1e-4)
    settings = [json.loads(Path(run, "run.json").read_text())["settings"] for run in ("paper", "own")]
    assert [s["batch_size"] for s in settings] == [8, 8]
    assert [s["learning_rate"] for s in settings] == [3e-5, 1e-4]
    assert settings[0]["decoder_learning_rate"] == 3e-5
    assert settings[0]["decoder_warmup_steps"] == 0
    assert settings[0]["contrastive_weight"] == settings[0]["drift_penalty"] == settings[0]["base_weight"] == 0
    adapt(**given, recipe="paper", output="paper", resume=True)
    with pytest.raises(KitError, match="--recipe"):
        adapt(**given, recipe="best", output="other")


def test_the_held_out_loss_is_shown_as_perplexity_per_word(tiny_model: Path, tiny_data: Path) -> None:
    """Each word of the small corpus is one token, and the closing [SEP] is predicted with the words."""
    adapt(model=str(tiny_model), data=tiny_data, output="run", **SHORT | {"max_steps": 2, "decoder_warmup_steps": 0})
    entries = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    held_out = [entry for entry in entries if "eval_loss" in entry]
    assert held_out
    words = [len(text.replace(".", " .").split()) for text in load_prepared(tiny_data).held_out["clean"]]
    ratio = (sum(words) + len(words)) / sum(words)
    for entry in held_out:
        assert entry["eval_perplexity"] == pytest.approx(math.exp(ratio * entry["eval_loss"]))


def write_pairs(path: Path, count: int) -> Path:
    texts = make_sentences(2 * count)
    rows = [f"{i % 2}\t{texts[i]}\t{texts[count + i]}\n" for i in range(count)]
    path.write_text("".join(rows))
    return path


@pytest.mark.slow
def test_labelled_pairs_beside_the_text_are_learned_from_in_the_same_steps(tiny_model: Path, tiny_data: Path) -> None:
    given: dict[str, Any] = {"model": str(tiny_model), "data": tiny_data, **SHORT, "decoder_warmup_steps": 2}
    pairs = write_pairs(Path("pairs.tsv"), 60)
    seen: list[list[str]] = []
    drawn = NoiseTransform._draw_pairs

    def noted(self: NoiseTransform, clean: list[str]) -> dict[str, list[str]]:
        columns = drawn(self, clean)
        seen.append([f"{a}\t{b}" for a, b in zip(*columns.values(), strict=True)])
        return columns

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NoiseTransform, "_draw_pairs", noted)
        adapt(**given, output="both", pairs=pairs)
    together = {line[2:] for line in pairs.read_text().splitlines() if line.startswith("1")}
    assert {pair for batch in seen for pair in batch} <= together
    assert len({pair for batch in seen for pair in batch}) > 20
    adapt(**given, output="text")
    both, text = (load_file(Path(run, "final/model.safetensors")) for run in ("both", "text"))
    assert any(not torch.equal(both[name], text[name]) for name in both)
    adapt(**given | {"max_steps": 3}, output="broken", pairs=pairs)
    adapt(**given, output="broken", pairs=pairs, resume=True)
    assert_equal_to_the_bit(Path("both"), Path("broken"), SHORT["max_steps"])
    write_pairs(pairs, 50)
    with pytest.raises(KitError, match="has the fingerprint"):
        adapt(**given | {"max_steps": 9}, output="both", resume=True)
    with pytest.raises(KitError, match="no texts that belong together"):
        Path("scored.tsv").write_text("0.5\ta b\tc d\n0.1\te f\tg h\n")
        adapt(**given, output="other", pairs="scored.tsv")


def test_an_anchor_keeps_the_clean_sentences_where_the_base_model_has_them(tiny_model: Path, tiny_data: Path) -> None:
    given: dict[str, Any] = {
        "model": str(tiny_model), "data": tiny_data, "device": "cpu", "max_steps": 12, "decoder_warmup_steps": 0,
        "learning_rate": 1e-3, "batch_size": 16,
    }  # fmt: skip
    texts = make_sentences(32)
    before = SentenceTransformer(str(tiny_model), device="cpu").encode(texts, convert_to_tensor=True)
    kept = []
    for anchor in (0.0, 100.0):
        adapt(**given, contrastive_weight=0.0, drift_penalty=anchor, output=f"run-{anchor}")
        after = SentenceTransformer(f"run-{anchor}/final", device="cpu").encode(texts, convert_to_tensor=True)
        kept.append(float(torch.cosine_similarity(before, after).mean()))
    assert kept[1] > kept[0] + 0.01, kept


def test_a_plain_language_model_is_not_held_where_it_is(tiny_model: Path, tiny_data: Path) -> None:
    shutil.copytree(tiny_model, "plain", ignore=shutil.ignore_patterns("modules.json", "config_s*", "*Pooling*"))
    for model, anchor in ((str(tiny_model), DRIFT_PENALTY), ("plain", 0.0), (str(tiny_model), DRIFT_PENALTY)):
        adapt(model=model, data=tiny_data, device="cpu", max_steps=2, batch_size=8, output="run", overwrite=True)
        settings = json.loads(Path("run/run.json").read_text())["settings"]
        assert (settings["contrastive_weight"], settings["drift_penalty"], Path("run/base").is_dir()) == (
            CONTRASTIVE_WEIGHT,
            anchor,
            anchor > 0,
        )
        assert settings["base_weight"] == (BASE_WEIGHT if anchor else 0)


@pytest.mark.parametrize("anchor", rest_slow(None, 0.0))
def test_the_final_weights_are_averaged_with_those_of_the_base_model_the_run_keeps(
    anchor: float | None, tiny_model: Path, tiny_data: Path
) -> None:
    """Also of a run that was broken off, whose base model is gone, and which knows it by the average alone."""
    given: dict[str, Any] = {"data": tiny_data, **SHORT, "drift_penalty": anchor, "base_weight": 0.3, "output": "run"}
    shutil.copytree(tiny_model, "gone")
    with interrupted_after(4):
        adapt(**given, model="gone")
    shutil.rmtree("gone")
    adapt(**given, resume=True)
    assert_averaged(Path("run"), 6, 0.3)
    adapt(**given | {"base_weight": 0.0, "output": "alone"}, model=str(tiny_model))
    alone, trained = (load_file(Path("alone", name, "model.safetensors")) for name in ("final", "checkpoint-6"))
    assert all(torch.equal(alone[name], trained[name]) for name in trained)


def test_a_run_that_overwrites_another_is_held_at_its_own_base_model(tiny_model: Path, tiny_data: Path) -> None:
    other = shutil.copytree(tiny_model, Path("other"))
    weights = load_file(other / "model.safetensors")
    save_file({name: 2 * tensor for name, tensor in weights.items()}, other / "model.safetensors", {"format": "pt"})
    for model in (tiny_model, other):
        adapt(model=str(model), data=tiny_data, device="cpu", max_steps=2, batch_size=8, output="run", overwrite=True)
        kept = load_file("run/base/model.safetensors")
        torch.testing.assert_close(kept, load_file(model / "model.safetensors"))


def test_what_needs_a_base_model_is_refused_from_scratch(tiny_data: Path) -> None:
    with pytest.raises(KitError, match="--drift-penalty needs a base model"):
        adapt(model="scratch", data=tiny_data, drift_penalty=1.0, device="cpu")
    with pytest.raises(KitError, match="--base-weight needs a base model"):
        adapt(model="scratch", data=tiny_data, base_weight=0.1, device="cpu")


def test_a_share_that_cannot_be_had_is_refused(tiny_model: Path, tiny_data: Path) -> None:
    for share, fault in ((1.0, "--base-weight 1.0 is outside"), (-0.1, "--base-weight -0.1 is outside")):
        with pytest.raises(KitError, match=fault):
            adapt(model=str(tiny_model), data=tiny_data, base_weight=share, device="cpu")
    with pytest.raises(KitError, match="--lora-rank freezes them"):
        adapt(model=str(tiny_model), data=tiny_data, base_weight=0.5, lora_rank=2, device="cpu")
