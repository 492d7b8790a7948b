"""Adapts sentence encoders to a field's own unlabelled text with TSDAE, then fine-tunes them.

Each command is one function: :func:`prepare_corpus`, :func:`adapt`, :func:`fine_tune`, :func:`score_models`,
:func:`export_model`; :func:`write_report` and :func:`inspect_run` show the results of a run. The building blocks are
public too, for a training script of your own: :class:`Noise` and :class:`NoiseTransform`, :class:`TSDAELoss`,
:class:`Regularization` and :func:`probe_signal`, :class:`LengthGroupedBatchSampler`, :class:`DecoderWarmup`,
:class:`ResumableTrainer` and :class:`BaseWeightAverage`. Names are imported on first use, so that
``import tsdae_kit`` is fast. Editors and mypy read their types from ``__init__.pyi``.
"""

from importlib import import_module

_MODULES = {
    "BaseWeightAverage": "models.weight_averaging",
    "DecoderWarmup": "training.decoder_warmup",
    "Inspection": "inspection",
    "KitError": "errors",
    "LengthGroupedBatchSampler": "training.batch_samplers",
    "Noise": "corpus.noise",
    "NoiseTransform": "corpus.noise_transform",
    "PreparedCorpus": "corpus.dataset",
    "Regularization": "tsdae.regularization",
    "ResumableTrainer": "training.trainer",
    "ScoreReport": "evaluate",
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
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> object:
    if name == "__version__":
        return import_module("importlib.metadata").version("tsdae_kit")
    if name in _MODULES:
        return getattr(import_module(f"tsdae_kit.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'tsdae_kit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
