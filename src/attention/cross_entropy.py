"""Cross-entropy over a large vocabulary whose logits are never all in memory.

With hidden states H [n, d], the head's weight W [v, d] and labels y, for a chunk of c rows at a time

    Z = H W'      loss = Σ_i log Σ_j exp Z_ij - Z_iy      dZ = softmax(Z) - onehot(y)      dH = dZ W      dW += dZ' H

The gradients are computed in the forward pass, while the chunk's logits are there, and only scaled in the backward
pass: c v numbers at a time instead of n v, and no product is computed twice.
"""

from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch.autograd.function import once_differentiable

from ..errors import OctoberError

Reduction = Literal["sum", "mean"]


def chunked_cross_entropy(
    hidden: Float[torch.Tensor, "*places hidden_size"],
    weight: Float[torch.Tensor, "vocab_size hidden_size"],
    labels: Int[torch.Tensor, "*places"],
    *,
    chunk_size: int = 1024,
    reduction: Reduction = "mean",
    ignore_index: int = -100,
) -> Float[torch.Tensor, ""]:
    """Return the cross-entropy (nats) of labels under the logits `hidden @ weight.T`.

    Args:
        hidden: Hidden states after the final norm.
        weight: Of the output head.
        labels: The token that each state should predict.
        chunk_size: States whose logits are in memory at once.
        reduction: `sum`, or `mean` over the labels that count; the mean of none is NaN, as in torch.
        ignore_index: A label that does not count.

    Raises:
        OctoberError: Shapes that do not fit, a label outside the vocabulary, or an unknown reduction.
    """
    if reduction not in ("sum", "mean"):
        raise OctoberError(f"reduction={reduction}: must be sum or mean")
    total, count = summed_cross_entropy(hidden, weight, labels, chunk_size=chunk_size, ignore_index=ignore_index)
    return total if reduction == "sum" else total / count


def summed_cross_entropy(
    hidden: Float[torch.Tensor, "*places hidden_size"],
    weight: Float[torch.Tensor, "vocab_size hidden_size"],
    labels: Int[torch.Tensor, "*places"],
    *,
    chunk_size: int = 1024,
    ignore_index: int = -100,
) -> tuple[Float[torch.Tensor, ""], Int[torch.Tensor, ""]]:
    """Return the sum over the labels that count, and their number.

    Processes that hold parts of a sequence sum both over all of them before they divide; arguments as in
    `chunked_cross_entropy`.
    """
    _check(hidden, weight, labels, chunk_size, ignore_index)
    rows = hidden.reshape(-1, hidden.shape[-1])
    arguments = (rows, weight, labels.reshape(-1), chunk_size, ignore_index, torch.is_grad_enabled())
    total: torch.Tensor = _SummedCrossEntropy.apply(*arguments)  # type: ignore[no-untyped-call]
    return total, (labels != ignore_index).sum()


class _SummedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        labels: torch.Tensor,
        chunk_size: int,
        ignore_index: int,
        differentiated: bool,
    ) -> torch.Tensor:
        wide = torch.promote_types(hidden.dtype, torch.float32)
        wants_hidden, wants_weight = (differentiated and wanted for wanted in ctx.needs_input_grad[:2])
        hidden_gradient = torch.empty_like(hidden) if wants_hidden else None
        weight_gradient = torch.zeros_like(weight, dtype=wide) if wants_weight else None
        total = torch.zeros((), dtype=wide, device=hidden.device)
        for first in range(0, len(hidden), chunk_size):
            rows = slice(first, first + chunk_size)
            logits = (hidden[rows] @ weight.T).to(wide)
            total += _sum_and_gradient_(logits, labels[rows], ignore_index)
            gradient = logits.to(hidden.dtype)
            if hidden_gradient is not None:
                torch.mm(gradient, weight, out=hidden_gradient[rows])
            if weight_gradient is not None:
                _add_product_(weight_gradient, gradient, hidden[rows])
        ctx.dtype = weight.dtype
        ctx.save_for_backward(hidden_gradient, weight_gradient)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden_gradient, weight_gradient = ctx.saved_tensors
        if hidden_gradient is not None:
            hidden_gradient = hidden_gradient * scale.to(hidden_gradient.dtype)
        if weight_gradient is not None:
            weight_gradient = (weight_gradient * scale).to(ctx.dtype)
        return hidden_gradient, weight_gradient, None, None, None, None


def _sum_and_gradient_(
    logits: Float[torch.Tensor, "chunk vocab_size"], labels: Int[torch.Tensor, " chunk"], ignore_index: int
) -> Float[torch.Tensor, ""]:
    """Turn a chunk's logits in place into the gradient of its summed loss, and return that sum."""
    counted = labels != ignore_index
    targets = labels.where(counted, 0)[:, None]
    largest = logits.amax(dim=1, keepdim=True)
    logits.sub_(largest)
    shifted = logits.gather(1, targets)
    sums = logits.exp_().sum(dim=1, keepdim=True)
    losses = (sums.log() - shifted)[:, 0].where(counted, 0.0)
    logits.div_(sums).scatter_add_(1, targets, torch.full_like(shifted, -1.0))
    logits.masked_fill_(~counted[:, None], 0.0)
    return losses.sum()


def _add_product_(
    weight_gradient: Float[torch.Tensor, "vocab_size hidden_size"],
    gradient: Float[torch.Tensor, "chunk vocab_size"],
    hidden: Float[torch.Tensor, "chunk hidden_size"],
) -> None:
    """Add gradient' hidden, in the precision of the sum."""
    if gradient.dtype == weight_gradient.dtype:
        weight_gradient.addmm_(gradient.T, hidden)
    else:
        weight_gradient += gradient.T @ hidden


def _check(
    hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor, chunk_size: int, ignore_index: int
) -> None:
    if chunk_size < 1:
        raise OctoberError(f"chunk_size={chunk_size}: must be at least 1")
    if hidden.shape[-1:] != weight.shape[1:] or hidden.shape[:-1] != labels.shape:
        raise OctoberError(
            f"hidden {tuple(hidden.shape)}, weight {tuple(weight.shape)} and labels {tuple(labels.shape)} do not fit: "
            "must be [..., hidden], [vocabulary, hidden] and [...]"
        )
    outside = (labels != ignore_index) & ((labels < 0) | (labels >= len(weight)))
    if outside.any():
        raise OctoberError(f"label {int(labels[outside][0])}: must be from 0 to {len(weight) - 1}, or {ignore_index}")
