"""The head's last layer and the cross-entropy as one operation, computed piece by piece.

The logits of a batch are by far the largest tensor of a step (tokens x vocabulary), and the plain way
holds them three times: logits, log-probabilities, gradient. Here each piece's logits become its
gradient in place, in the forward pass, so that one piece is all that is ever held; the matrix
multiplications are the same in number. The idea is Liger's fused linear cross-entropy (arXiv 2410.10989).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

PIECE = 2**25  # logits in one piece; on two cores 2**24 to 2**26 are equally fast, smaller ones slower


class SharedGradient:
    """The gradient of a head's weight, to which look-ups in the same weight add their rows in place.

    The plain way gives each look-up of token embeddings a gradient as large as the vocabulary and sums
    them: a fifth of a step at small batches. In a backward pass the head comes first.
    """

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight
        self.rows: Tensor | None = None
        self._guard: Any = None

    @contextmanager
    def of_embeddings(self, module: nn.Module) -> Iterator[None]:
        """Let the module's embeddings that hold this weight send their gradients here."""
        embeddings = [m for m in module.modules() if isinstance(m, nn.Embedding) and m.weight is self.weight]
        plain = all(type(m).forward is nn.Embedding.forward for m in embeddings)  # Gemma's scales what it looks up
        for embedding in embeddings if self.weight.requires_grad and plain else []:
            embedding.forward = partial(_LookUp.apply, self.weight, self, embedding.padding_idx)  # type: ignore[method-assign]
        try:
            yield
        finally:
            for embedding in embeddings:
                vars(embedding).pop("forward", None)

    def add(self, ids: Tensor, gradient: Tensor) -> None:
        """Add a look-up's rows."""
        if self.rows is None:
            raise RuntimeError("a look-up came before the head in the backward pass")
        if self._guard is None:
            self._guard = self.weight.register_hook(self._check)
        if ids.device.type == "cpu":
            self.rows.index_add_(0, ids, gradient.to(self.rows.dtype))
        else:  # slower, but the same bits each time
            self.rows.index_put_((ids,), gradient.to(self.rows.dtype), accumulate=True)

    def _check(self, gradient: Tensor) -> None:
        """Refuse a sum with a gradient from elsewhere, which autograd made while rows were still to come."""
        self._guard.remove()
        if self.rows is not None and gradient.data_ptr() != self.rows.data_ptr():
            raise RuntimeError(
                "another loss in the same backward pass reads the token embeddings: give it to TSDAELoss as "
                "`pair_loss`, or call backward() for each loss"
            )


class _LookUp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, shared: SharedGradient, padding: int | None, ids: Tensor) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.shared, ctx.padding = shared, padding
        return nn.functional.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[None, ...]:
        (ids,) = ctx.saved_tensors
        learns = slice(None) if ctx.padding is None else ids != ctx.padding
        ctx.shared.add(ids[learns].flatten(), outer[0][learns].flatten(0, -2))
        return None, None, None, None


def mean_cross_entropy(
    states: Tensor, output: nn.Linear, wanted: Tensor, shared: SharedGradient, count: float
) -> Tensor:
    """Return the cross-entropy in nats, summed over the tokens and divided by ``count``.

    Matrix products follow autocast; the logits' softmax is in float32 at least.

    Args:
        states: What the output layer gets, of shape (tokens, hidden).
        output: The layer, with weight (vocabulary, hidden).
        wanted: The ids of the right tokens, of shape (tokens,).
        shared: Where the weight's gradient is put for the look-ups.
        count: What to divide by: the number of tokens, with several processes their mean.
    """
    result: Tensor = _PiecewiseCrossEntropy.apply(  # type: ignore[no-untyped-call]
        states, output.weight, output.bias, wanted, shared, count
    )
    return result


class _PiecewiseCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0913  # autograd's signature
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        wanted: Tensor,
        shared: SharedGradient,
        count: float,
    ) -> Tensor:
        device = states.device.type
        product = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        full = torch.promote_types(product, torch.float32)  # float64 stays
        # In float16 the gradient is scaled down after the products, where it would vanish before.
        within, after = (1.0, 1 / count) if product is torch.float16 else (1 / count, 1.0)
        learns = any(ctx.needs_input_grad)
        d_states, d_weight, d_bias = (
            torch.empty_like(t, dtype=full) if need and t is not None else None
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
                    _add_product(d_weight, low.t(), low_states[part], first=start == 0)
                if d_bias is not None:
                    _add(d_bias, gradient.sum(0), first=start == 0)
        ctx.gradients, ctx.after, ctx.kind, ctx.shared = (d_states, d_weight, d_bias), after, states.dtype, shared
        return total / count

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None  # so that autograd takes them over and does not copy
        states, weight, bias = gradients
        factor = outer[0] * ctx.after
        # Asking an accelerator for the value would make it wait; on a CPU it saves a pass over the vocabulary.
        if factor.device.type != "cpu" or factor.item() != 1:
            for gradient in gradients:
                if gradient is not None:
                    gradient.mul_(factor)
        if weight is not None:
            ctx.shared.rows = weight.detach()
        return (states if states is None else states.to(ctx.kind), weight, bias, None, None, None)


def _logits(states: Tensor, weight: Tensor, bias: Tensor | None, buffer: Tensor) -> Tensor:
    """Return the logits in ``buffer``, in its own precision."""
    logits = buffer[: len(states)]
    if logits.dtype == weight.dtype:
        torch.mm(states, weight.t(), out=logits)
    else:
        logits.copy_(states @ weight.t())
    return logits if bias is None else logits.add_(bias)


def _add_product(total: Tensor, a: Tensor, b: Tensor, first: bool) -> None:
    if total.dtype == a.dtype:
        torch.addmm(total, a, b, beta=0 if first else 1, out=total)
    else:
        _add(total, a @ b, first)


def _add(total: Tensor, part: Tensor, first: bool) -> None:
    total.copy_(part) if first else total.add_(part)
