"""Export an encoder to ONNX or OpenVINO: one file from token ids to the sentence embedding.

``python -m tsdae_kit.export runs/tsdae/final --format onnx``. Sentence Transformers' own way, ``backend="onnx"``, needs
the package optimum-onnx, which cannot be installed beside transformers 5. So torch's exporter is used, and what it made
is compared with the encoder. Unlike the library's file, this one holds the pooling too: nothing is left to do outside.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import Tensor
from transformers import AutoTokenizer

from tsdae_kit.config.settings import ExportSettings
from tsdae_kit.console import quiet_frameworks
from tsdae_kit.errors import KitError, first_line
from tsdae_kit.filesystem import atomic_folder, check_writable
from tsdae_kit.models.compatibility import write_tokenizer
from tsdae_kit.models.loading import load_encoder
from tsdae_kit.models.prompts import default_prompt

logger = logging.getLogger("tsdae_kit")
TOLERANCE = 1e-4
_INPUTS = ("input_ids", "attention_mask")
_PACKAGES = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("onnx", "onnxscript", "openvino")}
_TEXTS = (["One."], ["Two texts of unlike length.", "Of these, the second one is longer: it holds many words more."])
_LONG = 512  # tokens; a text that long is compared too, or one behind the model's limit


def export(settings: ExportSettings) -> Path:
    """Write the encoder as one file, compare it with the encoder, and return its folder."""
    if settings.output.exists():
        raise KitError(f"{settings.output} is there already. Delete it, or choose another --output.")
    check_writable(settings.output)
    with quiet_frameworks():
        encoder = load_encoder(settings.model, torch.device("cpu"), settings.trust_remote_code).float().eval()
        prompts = _find_prompts(encoder, settings.model)
        with atomic_folder(settings.output) as folder:
            write_tokenizer(encoder.tokenizer, folder)
            _write_onnx(encoder, folder / "model.onnx")
            file = folder / "model.onnx" if settings.format == "onnx" else _convert(folder / "model.onnx")
            difference = _compare(encoder, file)
            if not difference < TOLERANCE:
                raise KitError(
                    f"The exported embeddings differ by {difference:.2g} from those of encode(). Export to the other "
                    "--format, or use the model with Sentence Transformers."
                )
        logger.info("%s: from %s to sentence_embedding, which differs from %s by %.1g at most.",
                    settings.output / file.name, " and ".join(_INPUTS), settings.model, difference)  # fmt: skip
        if prompts:
            logger.info("The model's prompts are not in the file; put them before the texts: %s.", prompts)
    return settings.output


def _find_prompts(encoder: SentenceTransformer, name: str) -> str:
    """Return the model's prompts, as a list for a person.

    Raises:
        KitError: If they are left out of the pooling: which tokens are the prompt's, token ids do not say.
    """
    prompts = ", ".join(
        f"{kind}{' (the default)' * (kind == encoder.default_prompt_name)} {text!r}"
        for kind, text in encoder.prompts.items()
        if text
    )
    modules: list[Any] = list(encoder.children())
    if prompts and not all(module.include_prompt for module in modules if isinstance(module, Pooling)):
        raise KitError(
            f"{name} leaves its prompts ({prompts}) out of the pooling, and a file that gets token ids cannot know "
            "which are the prompt's. Use the model with Sentence Transformers."
        )
    return prompts


def _tokenize(tokenizer: Any, texts: list[str]) -> tuple[Tensor, ...]:
    """Return the inputs of texts, both of (batch, tokens), as a user of the file makes them."""
    features = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    return tuple(features[name] for name in _INPUTS)


def _write_onnx(encoder: SentenceTransformer, path: Path) -> None:
    class Whole(torch.nn.Module):
        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
            embedding = encoder({"input_ids": input_ids, "attention_mask": attention_mask})["sentence_embedding"]
            return embedding[:, : encoder.truncate_dim]  # as encode() does it

    whole, sizes = Whole().eval(), {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
    whole.add_module("encoder", encoder)
    try:
        program: Any = torch.onnx.export(
            whole, _tokenize(encoder.tokenizer, _TEXTS[1]), dynamo=True, verbose=False, input_names=_INPUTS,
            output_names=["sentence_embedding"], dynamic_shapes=(sizes, sizes),
        )  # fmt: skip
    except torch.onnx.errors.OnnxExporterError as error:
        raise KitError(
            f"torch cannot export this model ({first_line(error)}). Use it with Sentence Transformers."
        ) from error
    program.save(path)


def _convert(path: Path) -> Path:
    """Put OpenVINO's two files in the place of the ONNX file."""
    import openvino

    openvino.save_model(openvino.convert_model(path), path.with_suffix(".xml"), compress_to_fp16=False)
    for file in path.parent.glob("model.onnx*"):  # large weights lie in a file beside it
        file.unlink()
    return path.with_suffix(".xml")


def _compare(encoder: SentenceTransformer, path: Path) -> float:
    """Return the largest difference of a value of the exported embeddings from those that ``encode`` gives.

    Args:
        encoder: The model.
        path: The file; its folder holds the tokenizer, which the token ids come from.
    """
    if path.suffix == ".xml":
        import openvino

        run = openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    else:
        from onnxruntime import InferenceSession

        session = InferenceSession(path, providers=["CPUExecutionProvider"])

        def run(values: list[Any]) -> Any:
            return session.run(None, dict(zip(_INPUTS, values, strict=True)))

    tokenizer, prompt = AutoTokenizer.from_pretrained(path.parent), default_prompt(encoder)
    long = " ".join(["word"] * (min(encoder.max_seq_length or _LONG, _LONG) + 1))
    differences = []
    for texts in (*_TEXTS, [long, "One."]):
        inputs = [value.numpy() for value in _tokenize(tokenizer, [prompt + text for text in texts])]
        embeddings = encoder.encode(texts, show_progress_bar=False)
        found = run(inputs)[0]
        differences.append(abs(found - embeddings).max() if found.shape == embeddings.shape else float("inf"))
    return float(max(differences))
