"""Settings of the command ``finetune``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tsdae_kit.config.fields import Group, setting
from tsdae_kit.config.settings.training import NO_PAIRS, RunSettings

Objective = Literal["auto", "multiple-negatives", "cosent", "contrastive", "softmax"]


@dataclass(frozen=True)
class FineTuneSettings(RunSettings):
    """Settings of ``fine_tune`` (stage two): labelled pairs and an encoder in, a fine-tuned encoder out."""

    files: tuple[str, ...] = setting(
        (),
        "labelled pairs, triplets or scored pairs: JSON Lines, CSV, TSV or Parquet; several are trained on in turn",
        Group.MAIN, record="changeable", metavar="FILES", positional=True,
    )  # fmt: skip
    model: str = setting("runs/tsdae/final", "encoder to start from: a folder or a hub name", Group.MAIN)
    output: Path = setting(Path("runs/finetuned"), "the run's folder", Group.MAIN, record="changeable")
    learning_rate: float | None = setting(
        2e-5, "peak learning rate; linear warm-up over 10 % of the steps, then linear decay to 0", Group.SCHEDULE
    )
    base_weight: float | None = setting(
        0.0, "share of the starting weights in the final weights: forgets less, learns less", Group.MODEL
    )
    loss: Objective = setting("auto", "objective (auto: by the columns of each file)", Group.MODEL)
    mine_negatives: Path | None = setting(
        None,
        "text file to mine a hard negative for each pair from, with the encoder before training (after stage one: "
        "with the base model that its run kept)",
        Group.MODEL,
    )

    @property
    def sources(self) -> tuple[Path, ...]:
        """The files."""
        return tuple(map(Path, self.files))

    def validate(self) -> list[str]:
        """Return every contradiction between the settings, as sentences."""
        missing = [] if self.files or self.resume else [NO_PAIRS]  # the record of a resumed run names them
        return [*missing, *super().validate()]
