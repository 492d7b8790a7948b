"""The command export: another runtime computes the same embeddings from the folder alone."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openvino
import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling
from transformers import AutoTokenizer

from tests.tiny import make_sentences, rest_slow
from tsdae_kit import KitError, export_model
from tsdae_kit.export import main
from tsdae_kit.models import onnx_export


def embed(folder: Path, texts: list[str]) -> Any:
    """As in the README: the tokenizer of the folder, and its file."""
    features = AutoTokenizer.from_pretrained(folder)(texts, padding=True, truncation=True, return_tensors="np")
    inputs = {name: features[name] for name in ("input_ids", "attention_mask")}
    if (folder / "model.onnx").exists():
        return onnxruntime.InferenceSession(folder / "model.onnx").run(None, inputs)[0]
    # Where the processor has bf16, OpenVINO computes in it unless told otherwise: differences of 1e-4 and more
    network = openvino.compile_model(folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return network(list(inputs.values()))[0]


@pytest.fixture(scope="module")
def exported(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_model(model=str(tiny_model), output=tmp_path_factory.mktemp("onnx") / "exported")


@pytest.fixture
def already_exported(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare an export the seconds in which torch makes the file."""
    monkeypatch.setattr(onnx_export, "_write_onnx", lambda _, path: shutil.copy(exported / path.name, path))


@pytest.mark.usefixtures("already_exported")
@pytest.mark.parametrize("kind", rest_slow("onnx", "openvino"))
def test_the_exported_model_computes_the_same_embeddings(tiny_model: Path, kind: str, exported: Path) -> None:
    """Also in batches of other sizes than at the export, and for truncated texts."""
    if kind == "openvino":
        exported = export_model(model=str(tiny_model), format=kind, output=Path("exported"))
    encoder = SentenceTransformer(str(tiny_model), device="cpu")
    sentences = make_sentences(40)
    for texts in (sentences[:1], sentences[:7], ["a rash", " ".join(sentences)]):
        np.testing.assert_allclose(embed(exported, texts), encoder.encode(texts), atol=1e-4)
    others = {path.name for path in exported.iterdir()} - {"tokenizer.json", "tokenizer_config.json"}
    assert others == ({"model.onnx"} if kind == "onnx" else {"model.xml", "model.bin"})


@pytest.mark.usefixtures("already_exported")
def test_an_export_that_differs_is_not_kept(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsdae_kit.models.onnx_export._max_difference", lambda *args: float("nan"))
    with pytest.raises(KitError, match="The exported embeddings differ by nan"):
        export_model(model=str(tiny_model), output=Path("exported"))
    assert not Path("exported").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["nowhere/model"], "'nowhere/model' is neither a folder nor"),
        (["model", "--output", "."], ". exists already. Delete it, or choose another --output."),
        (
            ["model", "--format", "openvino"],
            "--format openvino needs the package openvino. Install: pip install 'tsdae_kit[openvino]'.",
        ),
    ],
)
def test_what_cannot_be_exported_is_one_line(
    argv: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if "openvino" in argv:
        monkeypatch.setattr("tsdae_kit.extras.find_spec", lambda name: None if name == "openvino" else sys)
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_embeddings_are_cut_as_encode_cuts_them(tiny_model: Path, kind: str) -> None:
    """Also after a projection and a normalization, and with texts truncated at the model's maximum length."""
    first = SentenceTransformer(str(tiny_model), device="cpu")[0]
    modules = [first, Pooling(32, ("cls", "mean")), Dense(64, 24), Normalize()]
    encoder = SentenceTransformer(modules=modules, truncate_dim=12, device="cpu")
    encoder.max_seq_length = 9
    encoder.save_pretrained("model")
    folder = export_model(model="model", format=kind, output=Path("exported"))  # which compares with encode()
    texts = ["a rash", " ".join(make_sentences(3))]
    wanted = encoder.encode(texts)
    assert wanted.shape == (2, 12)
    assert not np.allclose(np.linalg.norm(wanted, axis=1), 1)
    np.testing.assert_allclose(embed(folder, texts), wanted, atol=1e-4)


@pytest.mark.slow
def test_prompts_are_named_and_stand_before_the_texts(tiny_model: Path, messages: Any) -> None:
    prompts = {"query": "our patient ", "document": ""}
    encoder = SentenceTransformer(str(tiny_model), prompts=prompts, default_prompt_name="query", device="cpu")
    encoder.save_pretrained("model")
    folder = export_model(model="model", output=Path("exported"))
    assert "not in the file; put them before the texts: query (the default) 'our patient '." in messages()
    np.testing.assert_allclose(embed(folder, ["our patient a rash"]), encoder.encode(["a rash"]), atol=1e-4)


@pytest.mark.slow
def test_a_prompt_that_is_left_out_of_the_pooling_is_refused(tiny_model: Path) -> None:
    """Token ids do not tell where the prompt ends; without prompts there is nothing to exclude."""
    encoder = SentenceTransformer(str(tiny_model), prompts={"query": "our patient "}, device="cpu")
    encoder.set_pooling_include_prompt(False)
    encoder.save_pretrained("model")
    with pytest.raises(KitError, match=r"model excludes its prompts \(query 'our patient '\) from the pooling.* Use"):
        export_model(model="model", output=Path("exported"))
    assert not Path("exported").exists()
    encoder.prompts["query"] = ""
    encoder.save_pretrained("model")
    folder = export_model(model="model", output=Path("exported"))
    np.testing.assert_allclose(embed(folder, ["a rash"]), encoder.encode(["a rash"]), atol=1e-4)


@pytest.mark.usefixtures("already_exported")
def test_the_comparison_is_with_what_encode_gives(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not with a forward pass of the same inputs, which lacks what encode does before and after it."""
    encode = SentenceTransformer.encode
    monkeypatch.setattr(SentenceTransformer, "encode", lambda *args, **given: encode(*args, **given) * 1.1)
    with pytest.raises(KitError, match=r"differ by .* from those of encode\(\)"):
        export_model(model=str(tiny_model), output=Path("exported"))
    assert not Path("exported").exists()


def test_the_exported_tokenizer_is_one_that_transformers_4_knows(exported: Path) -> None:
    assert json.loads((exported / "tokenizer_config.json").read_text())["tokenizer_class"] == "PreTrainedTokenizerFast"
