"""Settings of the command ``evaluate``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tsdae_kit.config.fields import Group, setting
from tsdae_kit.config.settings.reading import DEVICE_HELP, TRUST_HELP, ReadingSettings, repeated


@dataclass(frozen=True)
class EvaluateSettings(ReadingSettings):
    """Settings of ``score_models``: models and evaluation data in, scores with intervals out."""

    models: tuple[str, ...] = setting(
        (), "folders or hub names, or bm25; the first is the reference", Group.MAIN, metavar="MODEL", positional=True
    )
    data: tuple[str, ...] = setting(
        (), "folders of evaluation data, or files of labelled pairs or reranking lists", Group.MAIN, metavar="DIR"
    )
    split: Literal["test", "dev"] = setting(
        "test", "split of the data to score on: choose models on dev, report on test", Group.MAIN
    )
    output: Path = setting(Path("scores.json"), "file to write", Group.MAIN)
    batch_size: int = setting(32, "texts per batch", Group.HARDWARE)
    device: str | None = setting(None, DEVICE_HELP, Group.HARDWARE)
    trust_remote_code: bool = setting(False, TRUST_HELP, Group.ADVANCED, record="left out")

    def validate(self) -> list[str]:
        """Return every contradiction between the settings, as sentences."""
        problems = super().validate()
        if not self.models:
            problems.append("no model given: name one or more before --data")
        if not self.data:
            problems.append("no data given: pass --data with one or more folders")
        problems += [*repeated(self.models), *repeated(self.data)]
        if self.batch_size < 1:
            problems.append(f"--batch-size {self.batch_size} is below 1")
        if self.output.is_dir():
            problems.append(f"--output {self.output} is a folder: name a file")
        return problems
