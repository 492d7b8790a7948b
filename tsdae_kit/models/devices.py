"""The device that a model computes on, and the precision of its matrix products."""

from __future__ import annotations

import torch

from tsdae_kit.errors import KitError, first_line

_HALF_PRECISION = {"bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str | None) -> torch.device:
    """Return the device with this name, or without a name the best available.

    Raises:
        KitError: If the named device is not available: a run never falls back to the CPU.
    """
    if name is None:
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())  # each of several processes has its own
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        tensor = torch.zeros(1, device=name)
        tensor.cpu()  # fails for devices without memory, such as "meta"
        return tensor.device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = first_line(error).partition(". ")[0]
        raise KitError(
            f"The device {name!r} cannot be used ({reason}). Leave --device out for the best available."
        ) from error


def supports_bf16(device: torch.device) -> bool:
    """Return whether the device has bfloat16 matrix products in hardware (emulated ones would be slower)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and any(
        getattr(torch.cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the autocast context for ``fp32`` (disabled), ``bf16`` or ``fp16``."""
    return torch.autocast(device.type, _HALF_PRECISION.get(precision), enabled=precision in _HALF_PRECISION)
