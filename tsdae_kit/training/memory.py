"""Measures the memory of a training step on a small batch, and computes the largest batch that fits.

Two steps, with two and with four copies of the longest sentence, are computed forward and backward, while the bytes of
every live tensor are counted; the difference is the memory of a sentence. The chunks of logits are kept small
meanwhile, and counted at their full size. This works on every device: neither an operating system nor a CPU's
allocator can tell what a process would need.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from tsdae_kit import distributed
from tsdae_kit.models.devices import autocast
from tsdae_kit.models.encoders import count_parameters
from tsdae_kit.tsdae import fused_cross_entropy

_TOKENS_PER_CHUNK = 8  # the measurement is the same as with one, and takes a third of the time
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # in malloc.h
_CGROUPS = (  # limit, usage, and what of it is given back on demand
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes",
     "/sys/fs/cgroup/memory/memory.stat"),
)  # fmt: skip


@dataclass(frozen=True)
class StepMemory:
    """Peak memory of a step in addition to the weights, in bytes.

    Attributes:
        fixed: Gradients, the optimizer's moments, a chunk of logits.
        sentence: For each sentence of the batch, if all are as long as the longest.
        tokens: The number of tokens of the longest.
    """

    fixed: int
    sentence: int
    tokens: int

    def of(self, batch_size: int) -> int:
        """Return the memory of a step with this batch size."""
        return self.fixed + batch_size * self.sentence

    def largest(self, free: float, most: int) -> int:
        """Return the largest power of two up to ``most`` that fits; 0 if none does."""
        fitting = [2**power for power in range(most.bit_length()) if self.of(2**power) <= free]
        return max(fitting, default=0)


class _Peak(TorchDispatchMode):
    """Counts the bytes of all live tensors, and their maximum."""

    def __init__(self, known: Iterator[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.most = 0
        self._live = {tensor.untyped_storage()._cdata for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tree_map_only(Tensor, self._count, result)
        return result

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._live:
            self._live.add(key)
            self.now += size
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._live.discard(key)
        self.now -= size


def measure_step(
    loss: nn.Module, encoder: SentenceTransformer, columns: Sequence[str], precision: str, max_length: int | None
) -> StepMemory:
    """Return the memory of a training step; weights, modes and random state stay as they are.

    Args:
        loss: The trained module, on its device.
        encoder: The sentence encoder in it.
        columns: The longest row: a text for each column.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        max_length: The number of tokens at which sentences are cut, if not the encoder's own.
    """
    decoder: Any = getattr(loss, "decoder", None)
    vocabulary_size = decoder.output.out_features if decoder is not None else 1
    device, before = encoder.device, encoder.max_seq_length
    peaks = []
    mode = loss.training
    loss.train()
    encoder.max_seq_length = max_length or before
    try:
        with torch.random.fork_rng(), _small_chunks(vocabulary_size):
            for copies in (2, 4):
                features: list[Any] = [encoder.preprocess([text] * copies) for text in columns]
                tokens = max(f["input_ids"].shape[1] for f in features)
                features = [{k: v.to(device) if isinstance(v, Tensor) else v for k, v in f.items()} for f in features]
                peak = _Peak(iter([*loss.parameters(), *loss.buffers()]))
                with peak, autocast(device, precision):
                    value = loss(features, None)
                    value.backward()
                del value, features
                loss.zero_grad(set_to_none=True)
                peaks.append(peak.most)
    finally:
        encoder.max_seq_length = before
        loss.train(mode)
    sentence = max(1, (peaks[1] - peaks[0]) // 2)
    moments = 2 * 4 * count_parameters(loss, encoder, trainable=True)
    chunk = fused_cross_entropy.LOGITS_PER_CHUNK * (4 if precision == "fp32" else 6)  # half precision: and their copy
    return StepMemory(max(0, peaks[0] - 2 * sentence) + moments + chunk, sentence, tokens)


@contextmanager
def _small_chunks(vocabulary_size: int) -> Iterator[None]:
    size = fused_cross_entropy.LOGITS_PER_CHUNK
    fused_cross_entropy.LOGITS_PER_CHUNK = _TOKENS_PER_CHUNK * vocabulary_size
    try:
        yield
    finally:
        fused_cross_entropy.LOGITS_PER_CHUNK = size


def free_memory(device: torch.device) -> int:
    """Return the bytes that this process can still allocate on a device, shared with the others of this run."""
    if device.type == "cuda":
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + held)
    free: int = psutil.virtual_memory().available
    for limit, usage, detail in _CGROUPS:
        with suppress(OSError, ValueError):  # no such file; "max"
            cached = dict(line.split() for line in Path(detail).read_text().splitlines()).get("inactive_file", 0)
            free = min(free, int(Path(limit).read_text()) - int(Path(usage).read_text()) + int(cached))
    return free // distributed.local_world_size()


def keep_freed_memory() -> None:
    """Let this process keep large blocks that it frees, where the C library is glibc.

    By default glibc returns them, and the system clears them page by page for the next step: some 8 % of a step on two
    CPU cores. (Torch itself keeps the memory of an accelerator.)
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_MMAP_THRESHOLD, 2**30)
