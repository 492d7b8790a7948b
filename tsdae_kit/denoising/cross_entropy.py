"""The head's last layer and the cross-entropy as one operation, computed piece by piece.

The logits of a batch are by far the largest tensor of a step (tokens x vocabulary), and the plain way
holds them three times: logits, log-probabilities, gradient. Here each piece's logits become its
gradient in place, in the forward pass, so that one piece is all that is ever held; the matrix
multiplications are the same in number. The idea is Liger's fused linear cross-entropy (arXiv 2410.10989).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

PIECE = 2**25  # logits in one piece; on two cores 2**24 to 2**26 are equally fast, smaller ones slower


def mean_cross_entropy(states: Tensor, output: nn.Linear, wanted: Tensor, count: float | None = None) -> Tensor:
    """Return the cross-entropy in nats, summed over the tokens and divided by ``count`` (else by their number).

    Matrix products follow autocast; the logits' softmax is in float32 at least.

    Args:
        states: What the output layer gets, of shape (tokens, hidden).
        output: The layer, with weight (vocabulary, hidden).
        wanted: The ids of the right tokens, of shape (tokens,).
        count: What to divide by, where it is not the number of tokens here (several processes).
    """
    result: Tensor = _PiecewiseCrossEntropy.apply(states, output.weight, output.bias, wanted, count or len(wanted))
    return result


class _PiecewiseCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, wanted: Tensor, count: float) -> Tensor:
        device = states.device.type
        product = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        full = torch.promote_types(product, torch.float32)  # float64 stays
        # In float16 the gradient is scaled down after the products, where it would vanish before.
        within, after = (1.0, 1 / count) if product is torch.float16 else (1 / count, 1.0)
        learns = any(ctx.needs_input_grad)
        d_states, d_weight, d_bias = (
            torch.zeros_like(t, dtype=full) if need and t is not None else None
            for t, need in zip((states, weight, bias), ctx.needs_input_grad, strict=False)
        )
        total = torch.zeros((), dtype=full, device=device)
        with torch.autocast(device, enabled=False):
            low_states, low_weight = states.to(product), weight.to(product)
            rows = max(1, PIECE // len(weight))
            buffer = torch.empty(min(rows, len(wanted)), len(weight), dtype=full, device=states.device)
            for start in range(0, len(wanted), rows):
                part = slice(start, start + rows)
                logits = _logits(low_states[part], low_weight, bias, buffer)
                normaliser = logits.logsumexp(1, keepdim=True)
                right = wanted[part, None]
                total += (normaliser - logits.gather(1, right)).sum()
                if not learns:
                    continue
                # softmax - one-hot, in place of the logits
                gradient = logits.sub_(normaliser.add_(-math.log(within))).exp_()
                gradient.scatter_add_(1, right, torch.full_like(normaliser, -within))
                low = gradient.to(product)
                if d_states is not None:
                    d_states[part] = low @ low_weight
                if d_weight is not None:
                    _add_product(d_weight, low.t(), low_states[part])
                if d_bias is not None:
                    d_bias += gradient.sum(0)
        ctx.gradients, ctx.after, ctx.kind = (d_states, d_weight, d_bias), after, states.dtype
        return total / count

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        factor = outer[0] * ctx.after
        # Asking an accelerator for the value would make it wait; on a CPU it saves a pass over the vocabulary.
        same = factor.device.type == "cpu" and factor.item() == 1
        states, weight, bias = (t if t is None or same else t * factor for t in ctx.gradients)
        ctx.gradients = None  # autograd may then add to them in place
        return (states if states is None else states.to(ctx.kind), weight, bias, None, None)


def _logits(states: Tensor, weight: Tensor, bias: Tensor | None, buffer: Tensor) -> Tensor:
    """Return the logits in ``buffer``, in its own precision."""
    logits = buffer[: len(states)]
    if logits.dtype == weight.dtype:
        torch.mm(states, weight.t(), out=logits)
    else:
        logits.copy_(states @ weight.t())
    return logits if bias is None else logits.add_(bias)


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    if total.dtype == a.dtype:
        total.addmm_(a, b)
    else:
        total += a @ b
