"""Exports an encoder to ONNX or OpenVINO: one file from token ids to the sentence embedding.

``python -m tsdae_kit.export runs/tsdae/final --format onnx``. Sentence Transformers' own export, ``backend="onnx"``,
needs the package optimum-onnx, which cannot be installed beside transformers 5. Here torch's exporter is used, and its
result is compared with the encoder. Unlike the library's file, this one includes the pooling, so that it needs no
further code.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import Tensor, nn
from transformers import AutoTokenizer

from tsdae_kit.config.settings.finished_models import ExportSettings
from tsdae_kit.errors import KitError, first_line
from tsdae_kit.extras import import_extra
from tsdae_kit.filesystem import atomic_folder, check_writable
from tsdae_kit.framework_output import quiet_frameworks
from tsdae_kit.models.compatibility import write_tokenizer
from tsdae_kit.models.loading import load_encoder
from tsdae_kit.models.prompts import default_prompt

logger = logging.getLogger("tsdae_kit")
TOLERANCE = 1e-4
_INPUTS = ("input_ids", "attention_mask")
_EXAMPLE_TEXTS = ["Two texts of unlike length.", "Of these, the second one is longer: it holds many words more."]
_MAX_COMPARED_LENGTH = 512  # tokens

# Computes the embeddings, (batch, embedding), from the arrays of _INPUTS, both (batch, tokens)
_Runtime = Callable[[list[Any]], Any]


def export_encoder(settings: ExportSettings) -> Path:
    """Write the encoder as one file with its tokenizer, compare it with the encoder, and return the folder.

    Raises:
        KitError: If the folder exists, the model cannot be exported, or the exported embeddings differ.
    """
    if settings.output.exists():
        raise KitError(f"{settings.output} exists already. Delete it, or choose another --output.")
    check_writable(settings.output)
    with quiet_frameworks():
        encoder = load_encoder(settings.model, torch.device("cpu"), settings.trust_remote_code).float().eval()
        prompts = _list_prompts(encoder, settings.model)
        with atomic_folder(settings.output) as folder:
            write_tokenizer(encoder.tokenizer, folder)
            file = folder / "model.onnx"
            _write_onnx(encoder, file)
            if settings.format == "openvino":
                file = _convert_to_openvino(file)
            difference = _max_difference(encoder, file)
            if not difference < TOLERANCE:
                raise KitError(
                    f"The exported embeddings differ by {difference:.2g} from those of encode(). Export to the other "
                    "--format, or use the model with Sentence Transformers."
                )
        logger.info("%s: from %s to sentence_embedding; the largest difference from %s is %.1g.",
                    settings.output / file.name, " and ".join(_INPUTS), settings.model, difference)  # fmt: skip
        if prompts:
            logger.info("The model's prompts are not in the file; put them before the texts: %s.", prompts)
    return settings.output


def _list_prompts(encoder: SentenceTransformer, name: str) -> str:
    """Return the model's prompts as a list for a person.

    Raises:
        KitError: If the pooling excludes them: token ids do not tell which tokens are the prompt's.
    """
    prompts = ", ".join(
        f"{prompt_name}{' (the default)' * (prompt_name == encoder.default_prompt_name)} {text!r}"
        for prompt_name, text in encoder.prompts.items()
        if text
    )
    modules: list[Any] = list(encoder.children())
    if prompts and not all(module.include_prompt for module in modules if isinstance(module, Pooling)):
        raise KitError(
            f"{name} excludes its prompts ({prompts}) from the pooling, but the exported file gets only token ids and "
            "cannot tell which are the prompt's. Use the model with Sentence Transformers."
        )
    return prompts


class _EmbeddingModel(nn.Module):
    """The whole encoder as a function of two tensors, as the exporter needs it."""

    def __init__(self, encoder: SentenceTransformer) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        features: Any = {"input_ids": input_ids, "attention_mask": attention_mask}
        embedding: Tensor = self.encoder(features)["sentence_embedding"]
        return embedding[:, : self.encoder.truncate_dim]  # as in encode()


def _write_onnx(encoder: SentenceTransformer, path: Path) -> None:
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
    try:
        program: Any = torch.onnx.export(
            _EmbeddingModel(encoder).eval(), _tokenize(encoder.tokenizer, _EXAMPLE_TEXTS), dynamo=True, verbose=False,
            input_names=_INPUTS, output_names=["sentence_embedding"], dynamic_shapes=(sizes, sizes),
        )  # fmt: skip
    except torch.onnx.errors.OnnxExporterError as error:
        raise KitError(
            f"torch cannot export this model ({first_line(error)}). Use it with Sentence Transformers."
        ) from error
    program.save(path)


def _tokenize(tokenizer: Any, texts: list[str]) -> tuple[Tensor, ...]:
    """Return the inputs of the exported file for some texts, each (batch, tokens)."""
    features = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    return tuple(features[name] for name in _INPUTS)


def _convert_to_openvino(path: Path) -> Path:
    """Replace the ONNX file by OpenVINO's two files, and return the one with the graph."""
    openvino = import_extra("openvino", "openvino", "--format openvino")
    graph = path.with_suffix(".xml")
    openvino.save_model(openvino.convert_model(path), graph, compress_to_fp16=False)
    for file in path.parent.glob("model.onnx*"):  # large weights have a file of their own
        file.unlink()
    return graph


def _max_difference(encoder: SentenceTransformer, path: Path) -> float:
    """Return the largest absolute difference between the exported embeddings and those of ``encode``.

    It compares a single text, two texts of different length, and one at the model's maximum length (or 512 tokens).

    Args:
        encoder: The model.
        path: The exported file, in a folder with the tokenizer.
    """
    runtime, prompt = _load_runtime(path), default_prompt(encoder)
    tokenizer = AutoTokenizer.from_pretrained(path.parent)
    long = " ".join(["word"] * (min(encoder.max_seq_length or _MAX_COMPARED_LENGTH, _MAX_COMPARED_LENGTH) + 1))
    differences = []
    for texts in (["One."], _EXAMPLE_TEXTS, [long, "One."]):
        inputs = [value.numpy() for value in _tokenize(tokenizer, [prompt + text for text in texts])]
        expected, exported = encoder.encode(texts, show_progress_bar=False), runtime(inputs)
        differences.append(abs(exported - expected).max() if exported.shape == expected.shape else float("inf"))
    return float(max(differences))


def _load_runtime(path: Path) -> _Runtime:
    if path.suffix == ".xml":
        openvino = import_extra("openvino", "openvino", "--format openvino")
        network = openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return lambda values: network(values)[0]
    onnxruntime = import_extra("onnxruntime", "onnx", "--format onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda values: session.run(None, dict(zip(_INPUTS, values, strict=True)))[0]
