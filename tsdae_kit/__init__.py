"""Adapts sentence encoders to a field's own unlabelled text with TSDAE, then fine-tunes them.

Each stage is one function: :func:`prepare_corpus`, :func:`adapt`, :func:`fine_tune`,
:func:`score_models`, :func:`export_model`; :func:`write_report` and :func:`inspect_run` show what a run
did. The pieces are public too: :class:`Noise` and :class:`NoiseTransform`, :class:`TSDAELoss`,
:class:`Regularization` and :func:`probe_signal`, :class:`LengthGroupedBatchSampler`, :class:`DecoderWarmup`,
:class:`ResumableTrainer` and :class:`BaseWeightAverage` work with the library's own classes around them. Names are
imported when they are first used, so that ``import tsdae_kit`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tsdae_kit.corpus.dataset import PreparedCorpus, load_prepared
    from tsdae_kit.corpus.noise import Noise
    from tsdae_kit.corpus.noise_transform import NoiseTransform
    from tsdae_kit.errors import KitError
    from tsdae_kit.evaluate import score_models
    from tsdae_kit.export import export_model
    from tsdae_kit.finetune import fine_tune
    from tsdae_kit.inspection import Inspection, inspect_run
    from tsdae_kit.models.weight_averaging import BaseWeightAverage
    from tsdae_kit.prepare import prepare_corpus
    from tsdae_kit.report import write_report
    from tsdae_kit.train import adapt
    from tsdae_kit.training.batch_samplers import LengthGroupedBatchSampler
    from tsdae_kit.training.decoder_warmup import DecoderWarmup
    from tsdae_kit.training.trainer import ResumableTrainer
    from tsdae_kit.tsdae.gradient_probe import probe_signal
    from tsdae_kit.tsdae.loss import TSDAELoss
    from tsdae_kit.tsdae.regularization import Regularization

_HOMES = {
    "BaseWeightAverage": "models.weight_averaging",
    "DecoderWarmup": "training.decoder_warmup",
    "Regularization": "tsdae.regularization",
    "Inspection": "inspection",
    "KitError": "errors",
    "LengthGroupedBatchSampler": "training.batch_samplers",
    "Noise": "corpus.noise",
    "NoiseTransform": "corpus.noise_transform",
    "PreparedCorpus": "corpus.dataset",
    "ResumableTrainer": "training.trainer",
    "TSDAELoss": "tsdae.loss",
    "adapt": "train",
    "export_model": "export",
    "fine_tune": "finetune",
    "inspect_run": "inspection",
    "load_prepared": "corpus.dataset",
    "prepare_corpus": "prepare",
    "probe_signal": "tsdae.gradient_probe",
    "score_models": "evaluate",
    "write_report": "report",
}
__all__ = [
    "BaseWeightAverage",
    "DecoderWarmup",
    "Inspection",
    "KitError",
    "LengthGroupedBatchSampler",
    "Noise",
    "NoiseTransform",
    "PreparedCorpus",
    "Regularization",
    "ResumableTrainer",
    "TSDAELoss",
    "adapt",
    "export_model",
    "fine_tune",
    "inspect_run",
    "load_prepared",
    "prepare_corpus",
    "probe_signal",
    "score_models",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"tsdae_kit.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'tsdae_kit' has no attribute {name!r}")
