"""Adapts sentence encoders to a field's own unlabelled text with TSDAE, then fine-tunes them.

Each stage is one function: :func:`prepare_corpus`, :func:`adapt`, :func:`fine_tune`,
:func:`score_models`, :func:`export_model`; :func:`write_report` and :func:`inspect_run` show what a run
did. The pieces are public too: :class:`Noise` and :class:`NoiseTransform`, :class:`TSDAELoss`,
:class:`Guidance` and :func:`probe_signal`, :class:`LengthGroupedBatchSampler`, :class:`DecoderWarmup`,
:class:`ResumableTrainer` and :class:`BaseShare` work with the library's own classes around them. Names are
imported when they are first used, so that ``import tsdae_kit`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tsdae_kit.denoising.guidance import Guidance
    from tsdae_kit.denoising.loss import TSDAELoss
    from tsdae_kit.denoising.probe import probe_signal
    from tsdae_kit.errors import KitError
    from tsdae_kit.evaluate import score_models
    from tsdae_kit.export import export_model
    from tsdae_kit.finetune import fine_tune
    from tsdae_kit.inspection import Inspection, inspect_run
    from tsdae_kit.prepare import prepare_corpus
    from tsdae_kit.report import write_report
    from tsdae_kit.text.noise import Noise, NoiseTransform
    from tsdae_kit.text.pairs import PreparedCorpus, load_pairs
    from tsdae_kit.train import adapt
    from tsdae_kit.training.averaging import BaseShare
    from tsdae_kit.training.batches import LengthGroupedBatchSampler
    from tsdae_kit.training.trainer import ResumableTrainer
    from tsdae_kit.training.warmup import DecoderWarmup

_HOMES = {
    "BaseShare": "training.averaging",
    "DecoderWarmup": "training.warmup",
    "Guidance": "denoising.guidance",
    "Inspection": "inspection",
    "KitError": "errors",
    "LengthGroupedBatchSampler": "training.batches",
    "Noise": "text.noise",
    "NoiseTransform": "text.noise",
    "PreparedCorpus": "text.pairs",
    "ResumableTrainer": "training.trainer",
    "TSDAELoss": "denoising.loss",
    "adapt": "train",
    "export_model": "export",
    "fine_tune": "finetune",
    "inspect_run": "inspection",
    "load_pairs": "text.pairs",
    "prepare_corpus": "prepare",
    "probe_signal": "denoising.probe",
    "score_models": "evaluate",
    "write_report": "report",
}
__all__ = [
    "BaseShare",
    "DecoderWarmup",
    "Guidance",
    "Inspection",
    "KitError",
    "LengthGroupedBatchSampler",
    "Noise",
    "NoiseTransform",
    "PreparedCorpus",
    "ResumableTrainer",
    "TSDAELoss",
    "adapt",
    "export_model",
    "fine_tune",
    "inspect_run",
    "load_pairs",
    "prepare_corpus",
    "probe_signal",
    "score_models",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"tsdae_kit.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'tsdae_kit' has no attribute {name!r}")
