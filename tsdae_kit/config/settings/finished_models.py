"""Settings of the commands for finished models and runs: ``report``, ``inspect`` and ``export``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tsdae_kit.config.fields import Group, flag, setting
from tsdae_kit.config.settings.reading import DEVICE_HELP, NOISE_HELP, TRUST_HELP, repeated


@dataclass(frozen=True)
class ReportSettings:
    """Settings of ``write_report``: folders of runs in, a page out."""

    runs: tuple[str, ...] = setting(
        (), "folders of runs; several are compared", Group.MAIN, metavar="RUN", positional=True
    )
    scores: Path | None = setting(
        None, "scores that evaluate wrote, to show too (default: scores.json in a run's folder)", Group.MAIN
    )
    output: Path = setting(
        Path("comparison.html"), "page that compares several runs; the page of one run is in its folder", Group.MAIN
    )

    def validate(self) -> list[str]:
        """Return every contradiction between the settings, as sentences."""
        if not self.runs:
            return ["no run given: name the folder of one or more"]
        is_folder = [f"--output {self.output} is a folder: name a file"] if self.output.is_dir() else []
        return [*repeated(self.runs), *is_folder]


@dataclass(frozen=True)
class InspectSettings:
    """Settings of ``inspect_run``: a run and sentences in, reconstructions and nearest neighbours out."""

    run: Path = setting(Path("runs/tsdae"), "the run's folder", Group.MAIN, positional=True)
    text: tuple[str, ...] = setting((), "sentences to inspect (default: some held-out ones)", Group.MAIN)
    data: Path | None = setting(None, "the prepared corpus, if it was moved since the run began", Group.MAIN)
    nearest: int = setting(5, "neighbours to show of each sentence", Group.MAIN)
    searched: int = setting(
        1000, "training sentences to search for neighbours, evenly spaced over the corpus", Group.ADVANCED
    )
    noise: str | None = setting(None, NOISE_HELP, Group.ADVANCED, metavar="MODULE.FUNCTION")
    device: str | None = setting(None, DEVICE_HELP, Group.HARDWARE)
    trust_remote_code: bool = setting(False, TRUST_HELP, Group.ADVANCED)

    def validate(self) -> list[str]:
        """Return every contradiction between the settings, as sentences."""
        return [
            f"{flag(name)} {value} is below {least}"
            for name, value, least in (("nearest", self.nearest, 0), ("searched", self.searched, 1))
            if value < least
        ]


@dataclass(frozen=True)
class ExportSettings:
    """Settings of ``export_model``: an encoder in, one file for another runtime out."""

    model: str = setting("runs/tsdae/final", "encoder: a folder or a hub name", Group.MAIN, positional=True)
    format: Literal["onnx", "openvino"] = setting("onnx", "for ONNX Runtime, or for OpenVINO", Group.MAIN)
    output: Path = setting(Path("runs/exported"), "folder to write", Group.MAIN)
    trust_remote_code: bool = setting(False, TRUST_HELP, Group.ADVANCED)

    def validate(self) -> list[str]:
        """Return every contradiction between the settings, as sentences."""
        return []
