"""One frozen dataclass per command: the only place where a default is written."""

from tsdae_kit.config.settings.evaluation import EvaluateSettings
from tsdae_kit.config.settings.fine_tuning import FineTuneSettings, Objective
from tsdae_kit.config.settings.finished_models import ExportSettings, InspectSettings, ReportSettings
from tsdae_kit.config.settings.preparation import PrepareSettings
from tsdae_kit.config.settings.reading import ReadingSettings
from tsdae_kit.config.settings.training import (
    ADAPTER_LEARNING_RATE,
    BASE_WEIGHT,
    CONTRASTIVE_WEIGHT,
    DRIFT_PENALTY,
    ENCODER_LEARNING_RATE,
    LARGEST_BATCH,
    MAX_WARMUP_STEPS,
    NO_PAIRS,
    RECIPES,
    SCRATCH,
    DecoderKind,
    RunSettings,
    ScratchSize,
    TrainSettings,
)

__all__ = [
    "ADAPTER_LEARNING_RATE",
    "BASE_WEIGHT",
    "CONTRASTIVE_WEIGHT",
    "DRIFT_PENALTY",
    "ENCODER_LEARNING_RATE",
    "LARGEST_BATCH",
    "MAX_WARMUP_STEPS",
    "NO_PAIRS",
    "RECIPES",
    "SCRATCH",
    "DecoderKind",
    "EvaluateSettings",
    "ExportSettings",
    "FineTuneSettings",
    "InspectSettings",
    "Objective",
    "PrepareSettings",
    "ReadingSettings",
    "ReportSettings",
    "RunSettings",
    "ScratchSize",
    "TrainSettings",
]
