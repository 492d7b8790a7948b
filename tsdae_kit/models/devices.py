"""The device a model computes on, and the precision of its matrix products."""

from __future__ import annotations

import torch

from tsdae_kit.errors import KitError, first_line

_HALF_PRECISION = {"bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(wanted: str | None) -> torch.device:
    """Return the device asked for, or the best there is.

    Raises:
        KitError: If the device asked for is not there: a run never moves to the CPU by itself.
    """
    if wanted is None:
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())  # of several processes, each has its own
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        there = torch.zeros(1, device=wanted)
        there.cpu()  # what comes back from no real device, as "meta", is refused here
        return there.device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = first_line(error).partition(". ")[0]
        raise KitError(
            f"The device {wanted!r} cannot be used ({reason}). Leave --device out for the best there is."
        ) from error


def supports_bf16(device: torch.device) -> bool:
    """Return whether the device multiplies matrices in bfloat16 itself (emulated, it would be slower)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and any(
        getattr(torch.cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Return the autocast of ``fp32`` (none), ``bf16`` or ``fp16``."""
    return torch.autocast(device.type, _HALF_PRECISION.get(precision), enabled=precision in _HALF_PRECISION)
