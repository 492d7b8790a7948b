"""The output layer and the cross-entropy as one operation, computed in chunks.

The logits of a batch are by far the largest tensor of a step (tokens x vocabulary), and the usual computation holds
them three times: logits, log-probabilities, gradient. Here the logits of each chunk are turned into their gradient in
place, in the forward pass, so that only one chunk is in memory; the number of matrix multiplications is the same. The
idea is Liger's fused linear cross-entropy (arXiv 2410.10989).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

LOGITS_PER_CHUNK = 2**25  # on two cores 2**24 to 2**26 are equally fast, smaller chunks slower


class TiedWeightGradient:
    """The gradient of an output weight, to which embedding lookups in the same weight add their rows in place.

    Autograd alone gives each lookup of token embeddings a gradient as large as the vocabulary and sums them: a fifth
    of a step at small batches. The output layer must come first in the backward pass.

    Attributes:
        weight: The weight of the output layer and of the token embeddings, (vocabulary, hidden).
        gradient: Its gradient, once the output layer has computed it.
    """

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight
        self.gradient: Tensor | None = None
        self._hook: Any = None

    @contextmanager
    def accumulate_lookups(self, module: nn.Module) -> Iterator[None]:
        """Within the block, lookups in the module's embeddings with this weight send their gradients here."""
        embeddings = [m for m in module.modules() if isinstance(m, nn.Embedding) and m.weight is self.weight]
        unchanged = all(type(m).forward is nn.Embedding.forward for m in embeddings)  # Gemma scales its embeddings
        for embedding in embeddings if self.weight.requires_grad and unchanged else []:
            embedding.forward = partial(_Lookup.apply, self.weight, self, embedding.padding_idx)  # type: ignore[method-assign]
        try:
            yield
        finally:
            for embedding in embeddings:
                vars(embedding).pop("forward", None)

    def add_rows(self, token_ids: Tensor, rows: Tensor) -> None:
        """Add the gradient of a lookup, (tokens, hidden), at its token ids, (tokens,)."""
        if self.gradient is None:
            raise RuntimeError("an embedding lookup came before the output layer in the backward pass")
        if self._hook is None:
            self._hook = self.weight.register_hook(self._check_same_tensor)
        if token_ids.device.type == "cpu":
            self.gradient.index_add_(0, token_ids, rows.to(self.gradient.dtype))
        else:  # slower than index_add_, but deterministic
            self.gradient.index_put_((token_ids,), rows.to(self.gradient.dtype), accumulate=True)

    def _check_same_tensor(self, gradient: Tensor) -> None:
        """Raise if autograd summed this gradient with another, in a new tensor, before all rows were added."""
        self._hook.remove()
        if self.gradient is not None and gradient.data_ptr() != self.gradient.data_ptr():
            raise RuntimeError(
                "another loss in the same backward pass reads the token embeddings: pass it to TSDAELoss as "
                "`pair_loss`, or call backward() for each loss"
            )


class _Lookup(torch.autograd.Function):
    """An embedding lookup that adds its gradient to the weight's in place."""

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, weight_gradient: TiedWeightGradient, padding_id: int | None, token_ids: Tensor
    ) -> Tensor:
        ctx.save_for_backward(token_ids)
        ctx.weight_gradient, ctx.padding_id = weight_gradient, padding_id
        return nn.functional.embedding(token_ids, weight)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[None, ...]:
        (token_ids,) = ctx.saved_tensors
        trained = slice(None) if ctx.padding_id is None else token_ids != ctx.padding_id
        ctx.weight_gradient.add_rows(token_ids[trained].flatten(), grad_outputs[0][trained].flatten(0, -2))
        return None, None, None, None


def linear_cross_entropy(
    hidden_states: Tensor, output: nn.Linear, targets: Tensor, weight_gradient: TiedWeightGradient, divisor: float
) -> Tensor:
    """Return the cross-entropy in nats, summed over the tokens and divided by ``divisor``.

    Matrix products follow autocast; the softmax is in float32 at least.

    Args:
        hidden_states: The output layer's input, (tokens, hidden).
        output: The output layer, with weight (vocabulary, hidden).
        targets: The ids of the correct tokens, (tokens,).
        weight_gradient: Receives the weight's gradient, for the embedding lookups.
        divisor: The number of tokens; with several processes, the mean of their numbers.
    """
    result: Tensor = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden_states, output.weight, output.bias, targets, weight_gradient, divisor
    )
    return result


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(  # noqa: PLR0913  # autograd's signature
        ctx: Any,
        hidden_states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        weight_gradient: TiedWeightGradient,
        divisor: float,
    ) -> Tensor:
        device = hidden_states.device.type
        product_dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        full_dtype = torch.promote_types(product_dtype, torch.float32)  # float64 stays
        # In float16 the gradient is divided after the products; divided before, it would underflow.
        scale, late_scale = (1.0, 1 / divisor) if product_dtype is torch.float16 else (1 / divisor, 1.0)
        needs_gradient = any(ctx.needs_input_grad)
        d_hidden, d_weight, d_bias = (
            torch.empty_like(tensor, dtype=full_dtype) if needed and tensor is not None else None
            for tensor, needed in zip((hidden_states, weight, bias), ctx.needs_input_grad, strict=False)
        )
        total = torch.zeros((), dtype=full_dtype, device=device)
        with torch.autocast(device, enabled=False):
            low_hidden, low_weight = hidden_states.to(product_dtype), weight.to(product_dtype)
            rows = max(1, LOGITS_PER_CHUNK // len(weight))
            buffer = torch.empty(min(rows, len(targets)), len(weight), dtype=full_dtype, device=hidden_states.device)
            for start in range(0, len(targets), rows):
                chunk = slice(start, start + rows)
                logits = _compute_logits(low_hidden[chunk], low_weight, bias, buffer)
                log_normalizer, correct = logits.logsumexp(1, keepdim=True), targets[chunk, None]
                total += (log_normalizer - logits.gather(1, correct)).sum()
                if not needs_gradient:
                    continue
                gradient = _logits_to_gradient(logits, log_normalizer, correct, scale)
                low_gradient = gradient.to(product_dtype)
                if d_hidden is not None:
                    d_hidden[chunk] = low_gradient @ low_weight
                if d_weight is not None:
                    _add_product(d_weight, low_gradient.t(), low_hidden[chunk], first=start == 0)
                if d_bias is not None:
                    _add(d_bias, gradient.sum(0), first=start == 0)
        ctx.gradients, ctx.late_scale = (d_hidden, d_weight, d_bias), late_scale
        ctx.hidden_dtype, ctx.weight_gradient = hidden_states.dtype, weight_gradient
        return total / divisor

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None  # without a reference here, autograd takes them uncopied
        d_hidden, d_weight, d_bias = gradients
        factor = grad_outputs[0] * ctx.late_scale
        # Reading the value would make an accelerator wait; on a CPU it saves a pass over the vocabulary.
        if factor.device.type != "cpu" or factor.item() != 1:
            for gradient in gradients:
                if gradient is not None:
                    gradient.mul_(factor)
        if d_weight is not None:
            ctx.weight_gradient.gradient = d_weight.detach()
        return (d_hidden if d_hidden is None else d_hidden.to(ctx.hidden_dtype), d_weight, d_bias, None, None, None)


def _compute_logits(hidden_states: Tensor, weight: Tensor, bias: Tensor | None, buffer: Tensor) -> Tensor:
    """Return the logits in ``buffer``, in the buffer's precision."""
    logits = buffer[: len(hidden_states)]
    if logits.dtype == weight.dtype:
        torch.mm(hidden_states, weight.t(), out=logits)
    else:
        logits.copy_(hidden_states @ weight.t())
    return logits if bias is None else logits.add_(bias)


def _logits_to_gradient(logits: Tensor, log_normalizer: Tensor, correct: Tensor, scale: float) -> Tensor:
    """Return ``scale * (softmax - one-hot)`` in place of the logits."""
    gradient = logits.sub_(log_normalizer.add_(-math.log(scale))).exp_()
    return gradient.scatter_add_(1, correct, torch.full_like(log_normalizer, -scale))


def _add_product(total: Tensor, a: Tensor, b: Tensor, first: bool) -> None:
    if total.dtype == a.dtype:
        torch.addmm(total, a, b, beta=0 if first else 1, out=total)
    else:
        _add(total, a @ b, first)


def _add(total: Tensor, addend: Tensor, first: bool) -> None:
    total.copy_(addend) if first else total.add_(addend)
