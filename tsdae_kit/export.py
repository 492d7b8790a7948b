"""Command export: writes an encoder as one ONNX or OpenVINO file. ``python -m tsdae_kit.export runs/tsdae/final``."""

from __future__ import annotations

from pathlib import Path

from tsdae_kit.config.command_line import make_main
from tsdae_kit.config.conversion import make_settings
from tsdae_kit.config.keywords import keywords_of
from tsdae_kit.config.settings.finished_models import ExportSettings
from tsdae_kit.console import show_messages
from tsdae_kit.distributed import on_rank_0
from tsdae_kit.extras import require_extra

_PACKAGES = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("onnx", "onnxscript", "openvino")}


@keywords_of(ExportSettings)
def export_model(**settings: object) -> Path:
    """Write an encoder as one ONNX or OpenVINO file, with its tokenizer; return the folder.

    Args:
        **settings: The fields of :class:`tsdae_kit.config.settings.ExportSettings`.

    Raises:
        KitError: If a package or the model is missing, the folder is there already, or the model cannot be exported.
    """
    resolved = make_settings(ExportSettings, settings)
    require_extra(resolved.format, f"--format {resolved.format}", *_PACKAGES[resolved.format])

    def run() -> Path:
        from tsdae_kit.models.onnx_export import export_encoder  # torch: --help must not wait for it

        return export_encoder(resolved)

    with show_messages():
        return on_rank_0(run, "export")


main = make_main(
    "export",
    export_model,
    ExportSettings,
    "Export an encoder to ONNX or OpenVINO, from token ids to the sentence embedding.",
)


if __name__ == "__main__":
    main()
