"""Command export: writes an encoder as one ONNX or OpenVINO file. ``python -m tsdae_kit.export runs/tsdae/final``."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tsdae_kit.config.command_line import make_main, make_settings
from tsdae_kit.config.settings import ExportSettings
from tsdae_kit.console import show_messages
from tsdae_kit.distributed import on_rank_0
from tsdae_kit.errors import KitError

_PACKAGES = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("onnx", "onnxscript", "openvino")}


def export_model(**given: Any) -> Path:
    """Write an encoder as one ONNX or OpenVINO file, with its tokenizer; return the folder.

    Args:
        **given: Fields of :class:`tsdae_kit.config.settings.ExportSettings`, for example
            ``model="runs/tsdae/final", format="onnx", output="runs/exported"``.

    Raises:
        KitError: If a package or the model is missing, the folder is there already, or the model cannot be exported.
    """
    settings = make_settings(ExportSettings, given)
    if missing := [name for name in _PACKAGES[settings.format] if not find_spec(name)]:
        raise KitError(f"{' and '.join(missing)} missing. Install: pip install 'tsdae_kit[{settings.format}]'.")
    from tsdae_kit.models.onnx_export import export_encoder  # torch: after parsing

    with show_messages():
        return on_rank_0(lambda: export_encoder(settings), "export")


main = make_main(
    "export",
    export_model,
    ExportSettings,
    "Export an encoder to ONNX or OpenVINO, from token ids to the sentence embedding.",
)


if __name__ == "__main__":
    main()
