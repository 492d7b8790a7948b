"""Stage two: the columns decide, what the user gets wrong is one line, and a resumed run ends in the same bits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from pyarrow import parquet
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import losses

from tests.test_resume import interrupted_after
from tests.tiny import ENDINGS, SUBJECTS, assert_averaged, assert_equal_to_the_bit, make_sentences
from tests.tiny import SHORT as RUN
from tsdae_kit import adapt, fine_tune
from tsdae_kit.config.settings import FineTuneSettings
from tsdae_kit.errors import KitError
from tsdae_kit.labelled.loading import load_labelled
from tsdae_kit.training.pair_losses import make_objective
from tsdae_kit.training.pairs_task import _stage_one_base

pytestmark = pytest.mark.usefixtures("no_report")

STEPS = 12
SHORT = {"batch_size": 8, "max_steps": STEPS, "save_steps": 4, "logging_steps": 1, "precision": "fp32"}


def write(name: str, rows: list[dict[str, Any]]) -> Path:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Path(name)


def pairs(count: int = 80) -> list[dict[str, Any]]:
    """Sentences, each with another by the same subject."""
    texts = make_sentences(count)
    return [{"anchor": t, "positive": f"{next(s for s in SUBJECTS if t.startswith(s))} needs sleep {ENDINGS[i % 6]}."}
            for i, t in enumerate(texts)]  # fmt: skip


def labelled(values: list[Any]) -> list[dict[str, Any]]:
    rows = pairs()
    return [{"a": r["anchor"], "b": r["positive"], "score": values[i % len(values)]} for i, r in enumerate(rows)]


FILES = {
    "multiple-negatives": pairs(),
    "contrastive": labelled([0, 1]),
    "cosent": labelled([0.0, 0.4, 1.0]),
    "softmax": labelled(["neutral", "entailment", "contradiction"]),
}


def tune(model: Path, *files: Path, **given: Any) -> Path:
    return fine_tune(**{**SHORT, "model": str(model), "files": list(map(str, files)), "device": "cpu",
                        "output": "run", **given})  # fmt: skip


@pytest.mark.parametrize("objective", FILES)
def test_the_columns_decide_the_objective_and_the_encoder_learns(
    objective: str, tiny_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = SentenceTransformer(str(tiny_model), device="cpu").state_dict()
    final = tune(tiny_model, write("pairs.jsonl", FILES[objective]), learning_rate=1e-3)
    assert f"the objective is {objective}." in caplog.text
    after = SentenceTransformer(str(final), device="cpu").state_dict()
    assert sum(not torch.equal(before[name], after[name]) for name in before) > 20


@pytest.mark.parametrize("objective", ["multiple-negatives", "softmax"])
def test_a_resumed_run_ends_in_the_same_bits(objective: str, tiny_model: Path) -> None:
    """The classifier of ``softmax`` is the loss's own: upstream loses it on resume."""
    file = write("pairs.jsonl", FILES[objective])
    tune(tiny_model, file, output="whole")
    for last, resume in ((7, False), (STEPS, True)):
        # the plan of the learning rate is that of the whole run, as if it had been killed after step 7
        with pytest.MonkeyPatch.context() as patch:
            if last < STEPS:
                patch.setattr("tsdae_kit.training.progress.Progress.on_step_begin", _stop_after(last))
                with pytest.raises(_Killed):
                    tune(tiny_model, file, output="killed")
            else:
                tune(tiny_model, file, output="killed", resume=resume)
    assert_equal_to_the_bit(Path("whole"), Path("killed"), STEPS)


def test_the_final_weights_are_averaged_with_those_it_began_with(tiny_model: Path) -> None:
    """Also of a run that was broken off before its first checkpoint, and whose base model is gone."""
    file = write("pairs.jsonl", FILES["multiple-negatives"])
    gone = shutil.copytree(tiny_model, Path("gone"))
    with interrupted_after(2):
        tune(gone, file, base_weight=0.3)
    shutil.rmtree(gone)
    tune(gone, file, base_weight=0.3, resume=True)
    assert_averaged(Path("run"), STEPS, 0.3)
    trained = shutil.copytree("run/final", "trained")
    tune(trained, file, base_weight=0.4, overwrite=True)
    assert_averaged(Path("run"), STEPS, 0.4)
    assert same(trained, Path("run/base"))
    tune(tiny_model, file, output="alone")
    assert not Path("alone/base").exists()
    for fault, given in (("is outside", {"base_weight": 1.0}), ("freezes them", {"base_weight": 0.5, "lora_rank": 2})):
        with pytest.raises(KitError, match=fault):
            tune(tiny_model, file, output="other", **given)


def test_a_run_that_is_resumed_knows_its_files(tiny_model: Path) -> None:
    tune(tiny_model, write("pairs.jsonl", pairs(20)), max_steps=2)
    assert fine_tune(resume=True, output="run") == Path("run/final")
    for resume in (False, True):
        with pytest.raises(KitError, match="no labelled pairs given"):
            fine_tune(resume=resume, output="new", model=str(tiny_model))


class _Killed(Exception):  # noqa: N818
    pass


def _stop_after(step: int) -> Any:
    def on_step_begin(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == step:
            raise _Killed
        self._step_began = 0.0

    return on_step_begin


def test_several_files_are_trained_on_each_with_its_own_objective_and_resumed(
    tiny_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = [write(f"{name}.jsonl", FILES[name]) for name in ("multiple-negatives", "softmax")]
    tune(tiny_model, *files, output="whole")
    assert "the objective is multiple-negatives." in caplog.text
    assert "the objective is softmax." in caplog.text
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tsdae_kit.training.progress.Progress.on_step_begin", _stop_after(7))
        with pytest.raises(_Killed):
            tune(tiny_model, *files, output="killed")
    tune(tiny_model, *files, output="killed", resume=True)
    assert_equal_to_the_bit(Path("whole"), Path("killed"), STEPS)


def test_of_labels_0_and_1_in_batch_negatives_take_the_positives() -> None:
    file = write("pairs.jsonl", FILES["contrastive"])
    from tsdae_kit.config.settings import FineTuneSettings
    from tsdae_kit.training.pairs_task import PairsTask

    settings = FineTuneSettings(files=(str(file),), loss="multiple-negatives")
    rows = PairsTask().load_data(settings).files[0].rows
    assert rows.column_names == ["anchor", "positive"]
    assert rows["anchor"].to_pylist() == [row["a"] for row in FILES["contrastive"] if row["score"] == 1]


def test_texts_come_in_the_order_in_which_a_loss_takes_them() -> None:
    """The library goes by position: a positive in the first column would be the anchor."""
    rows = [{"negative": "c", "id": "1", "positive": "b", "anchor": "a"}]
    table = load_labelled([write("pairs.jsonl", rows)]).files[0].rows
    assert table.column_names == ["anchor", "positive", "negative"]


@pytest.mark.parametrize(
    ("name", "content", "labels"),
    [
        ("a.tsv", '1\tone text\tanother\n0\tthird "text\tfourth\n', "binary"),
        ("b.tsv", "neutral\tone text\tanother\nentailment\tthird\tfourth\n", "classes"),
        ("c.tsv", "question\tAnswer\nx\ty\n", "none"),
        ("d.csv", 'score,text1,text2\n3.8,"one, text",b\n', "scores"),
        ("e.csv", "label,text1,text2\n0,a,b\n2,c,d\n", "classes"),
    ],
)
def test_a_files_form_and_labels_are_recognised(name: str, content: str, labels: str) -> None:
    Path(name).write_text(content)
    file = load_labelled([Path(name)]).files[0]
    assert file.labels == labels
    assert len(file.rows) == content.count("\n") - (name > "c")


@pytest.mark.parametrize(
    ("name", "content", "given", "message"),
    [
        ("nowhere.csv", None, {}, "There is no file nowhere"),
        ("a.docx", "x", {}, "is none of .jsonl"),
        ("a.jsonl", "{broken", {}, "a.jsonl, line 1: no JSON"),
        ("a.jsonl", '{"text": "a"}\n', {}, "has one column of text .*columns: text"),
        ("a.jsonl", '{"a": "", "b": "x"}\n', {}, "has one column of text"),
        ("a.jsonl", '{"a": "", "b": "x"}\n{"a": "x", "b": null}\n', {}, "holds no row with all its texts"),
        ("a.csv", "score,text1,text2\n0.5,a,b\n", {"loss": "softmax"}, "--loss softmax does not fit a.csv"),
        ("a.csv", "text1,text2\na,b\n", {"loss": "rank"}, "'rank' is not one of auto"),
    ],
)
def test_what_the_user_gets_wrong_is_one_line_and_leaves_no_run(
    name: str, content: str | None, given: dict[str, Any], message: str, tiny_model: Path
) -> None:
    if content is not None:
        Path(name).write_text(content)
    with pytest.raises(KitError, match=message) as raised:
        tune(tiny_model, Path(name), **given)
    assert "\n" not in str(raised.value)
    assert not Path("run").exists()


def test_without_files_one_line_says_what_to_give() -> None:
    with pytest.raises(KitError, match="no labelled pairs given"):
        fine_tune()


def test_a_run_of_stage_one_is_not_resumed_as_stage_two(tiny_model: Path) -> None:
    Path("run").mkdir()
    record = {"id": "a", "settings": {"data": "d"}, "data": "b", "max_length": 64, "processes": 1, "versions": {}}
    Path("run/run.json").write_text(json.dumps(record))
    with pytest.raises(KitError, match="run of another stage"):
        tune(tiny_model, write("pairs.jsonl", pairs(20)), resume=True)


def test_large_batches_are_encoded_in_parts(tiny_model: Path) -> None:
    encoder = SentenceTransformer(str(tiny_model), device="cpu")
    kinds = [type(make_objective("multiple-negatives", encoder, size, 2)) for size in (64, 128)]
    assert kinds == [losses.MultipleNegativesRankingLoss, losses.CachedMultipleNegativesRankingLoss]


@pytest.fixture
def corpus(monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tsdae_kit.training.hard_negatives.MARGIN", 1e-3)  # of a random encoder's, all are alike
    Path("field.txt").write_text("\n".join(make_sentences(300)))
    return Path("field.txt")


@pytest.mark.slow
def test_hard_negatives_are_near_and_not_the_positive_and_a_resumed_run_keeps_them(
    tiny_model: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write("pairs.jsonl", pairs())
    tune(tiny_model, file, output="whole", mine_negatives=corpus)
    assert "it/s" not in capsys.readouterr().err  # no progress bars
    mined = parquet.read_table("whole/negatives-0-pairs.parquet")
    assert mined.column_names == ["anchor", "positive", "negative"]
    assert 20 < len(mined) <= 80
    model = SentenceTransformer(str(tiny_model), device="cpu")
    anchor, positive, negative = (
        model.encode(mined[name].to_pylist(), normalize_embeddings=True) for name in mined.column_names
    )
    near, nearer = (anchor * negative).sum(1), (anchor * positive).sum(1)
    assert (near < nearer).all()
    others = model.encode(make_sentences(300)[150:], normalize_embeddings=True)
    assert near.mean() > (anchor @ others.T).mean()
    with interrupted_after(7):
        tune(tiny_model, file, output="broken", mine_negatives=corpus)
    tune(tiny_model, file, output="broken", mine_negatives=corpus, resume=True)
    assert_equal_to_the_bit(Path("whole"), Path("broken"), STEPS)
    plain = tune(tiny_model, file, output="plain")
    assert not same(plain, Path("whole/final"))


@pytest.mark.slow
def test_after_stage_one_its_base_model_finds_the_negatives(tiny_model: Path, tiny_data: Path, corpus: Path) -> None:
    file = write("pairs.jsonl", pairs())
    adapt(
        **{**RUN, "max_steps": 6, "learning_rate": 3e-2},
        model=str(tiny_model),
        data=tiny_data,
        device="cpu",
        output="one",
    )
    shutil.copytree("one/final", "moved")  # out of its run's folder
    for model, output in ((tiny_model, "base"), (Path("one/final"), "adapted"), (Path("moved"), "own")):
        tune(model, file, output=output, mine_negatives=corpus, max_steps=4)
    found = [parquet.read_table(f"{name}/negatives-0-pairs.parquet") for name in ("base", "adapted", "own")]
    assert found[0] == found[1] != found[2]
    cards = [Path(name, "final", "README.md").read_text() for name in ("adapted", "own")]
    assert "mined from field.txt by the base model of stage one" in cards[0]
    assert "mined from field.txt by the encoder" in cards[1]
    shutil.rmtree("one")
    tune(Path("one/final"), file, output="adapted", mine_negatives=corpus, max_steps=8, resume=True)
    assert parquet.read_table("adapted/negatives-0-pairs.parquet") == found[1]


def test_a_model_of_the_hub_lies_in_no_run() -> None:
    """Also where the command is given in the folder of one."""
    Path("base").mkdir()
    Path("run.json").write_text("{}")
    assert _stage_one_base(FineTuneSettings(model="all-MiniLM-L6-v2", files=("pairs.jsonl",))) is None


def test_mined_negatives_that_are_gone_or_not_wanted_are_one_line(tiny_model: Path, corpus: Path) -> None:
    file = write("pairs.jsonl", pairs())
    tune(tiny_model, file, mine_negatives=corpus, max_steps=4)
    Path("run/negatives-0-pairs.parquet").unlink()
    with pytest.raises(KitError, match="trained on, is gone"):
        tune(tiny_model, file, mine_negatives=corpus, resume=True)
    with pytest.raises(KitError, match="is no file"):
        tune(tiny_model, file, mine_negatives="nowhere.txt", output="other")
    with pytest.raises(KitError, match="for pairs that belong together"):
        tune(tiny_model, write("scored.jsonl", FILES["cosent"]), mine_negatives=corpus, output="other")
    assert not Path("other").exists()


def test_mining_that_fails_leaves_no_run(tiny_model: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder stood there already, with a record, and the next try was refused."""
    file = write("pairs.jsonl", pairs())
    Path("damaged.txt").write_bytes(b"a good sentence of the field\nand a b\xe9d one\n")
    with pytest.raises(KitError, match=r"damaged\.txt, line 2: the byte 0xe9 is not UTF-8"):
        tune(tiny_model, file, mine_negatives="damaged.txt")
    Path("a.csv").write_text("body,id\nb,1\n")
    Path("a.jsonl").write_text('{"text": [1]}\n')
    for name, expected in (
        ("a.csv", r"a.csv: there is no column 'text' \(there are: body, id\)\. Call the column that"),
        ("a.jsonl", "a.jsonl, line 1: the column 'text' holds a list, not text. Call the column that"),
    ):
        with pytest.raises(KitError, match=expected):
            tune(tiny_model, file, mine_negatives=name)
    monkeypatch.setattr("tsdae_kit.training.hard_negatives.MARGIN", 1.9)
    with pytest.raises(KitError, match="No hard negatives were found"):
        tune(tiny_model, file, mine_negatives=corpus)
    assert not Path("run").exists()


def test_rows_called_query_pos_neg_are_trained_on_as_anchor_positive_negative(tiny_model: Path) -> None:
    """To the bit; the library takes texts by position, and `neg` once stood where the positive belongs."""
    rows = [{"anchor": row["anchor"], "positive": row["positive"], "negative": text}
            for row, text in zip(pairs(), reversed(make_sentences(160)[80:]), strict=True)]  # fmt: skip
    renamed = [
        {"neg": r["negative"], "id": str(i), "pos": r["positive"], "query": r["anchor"]} for i, r in enumerate(rows)
    ]
    for name, content in (("plain", rows), ("renamed", renamed)):
        tune(tiny_model, write(f"{name}.jsonl", content), output=name)
    assert_equal_to_the_bit(Path("plain"), Path("renamed"), STEPS)


def same(first: Path, second: Path) -> bool:
    a, b = (SentenceTransformer(str(folder), device="cpu").state_dict() for folder in (first, second))
    return all(torch.equal(a[name], b[name]) for name in a)
