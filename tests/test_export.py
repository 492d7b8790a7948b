"""export: another runtime computes the same embeddings from the folder alone."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import openvino
import pytest
from sentence_transformers import SentenceTransformer
from transformers import AutoTokenizer

from tests.tiny import make_sentences
from tsdae_kit import KitError, export, export_model
from tsdae_kit.export import main


@pytest.mark.parametrize("kind", ["onnx", "openvino"])
def test_the_exported_model_computes_the_same_embeddings(tiny_model: Path, kind: str) -> None:
    """In batches of other sizes than those it was made with, also of texts that are cut."""
    folder = export_model(model=str(tiny_model), format=kind, output=Path("exported"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoder = SentenceTransformer(str(tiny_model), device="cpu")
    sentences = make_sentences(40)
    for texts in (sentences[:1], sentences[:7], ["a rash", " ".join(sentences)]):
        features = tokenizer(texts, padding=True, truncation=True, return_tensors="np")
        ids, mask = features["input_ids"], features["attention_mask"]
        if kind == "onnx":
            session = onnxruntime.InferenceSession(folder / "model.onnx")
            (embeddings,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
        else:
            # Where the processor has bf16, OpenVINO computes in it unless told otherwise: differences of 1e-4 and more
            network = openvino.compile_model(folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
            embeddings = network([ids, mask])[0]
        np.testing.assert_allclose(embeddings, encoder.encode(texts), atol=1e-4)
    others = {path.name for path in folder.iterdir()} - {"tokenizer.json", "tokenizer_config.json"}
    assert others == ({"model.onnx"} if kind == "onnx" else {"model.xml", "model.bin"})


def test_an_export_that_differs_is_not_kept(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "_compare", lambda *args: float("nan"))
    with pytest.raises(KitError, match="The exported embeddings differ by nan"):
        export_model(model=str(tiny_model), output=Path("exported"))
    assert not Path("exported").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["nowhere/model"], "'nowhere/model' is neither a folder nor"),
        (["model", "--output", "."], ". is there already. Delete it, or choose another --output."),
        (["model", "--format", "openvino"], "openvino missing. Install: pip install 'tsdae_kit[openvino]'."),
    ],
)
def test_what_cannot_be_exported_is_one_line(
    argv: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if "openvino" in argv:
        monkeypatch.setattr(export, "find_spec", lambda name: None if name == "openvino" else sys)
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
