"""Slow, obvious attention: the whole matrix of scores, in float64."""

import torch
from torch import Tensor


def allowed_pairs(
    length: int, *, causal: bool = True, window: int | None = None, segment_ids: Tensor | None = None
) -> Tensor:
    """Return [batch or 1, length, length]: whether query i may attend to key j."""
    i, j = torch.arange(length)[:, None], torch.arange(length)[None]
    allowed = torch.ones(1, length, length, dtype=torch.bool)
    if causal:
        allowed = allowed & (j <= i)
    if window is not None:
        allowed = allowed & ((i - j).abs() < window)
    if segment_ids is not None:
        same = (segment_ids[:, :, None] == segment_ids[:, None]) & (segment_ids >= 0)[:, :, None]
        allowed = allowed & same
    return allowed


def dense_attention(query: Tensor, key: Tensor, value: Tensor, *, scale: float | None = None, **mask: object) -> Tensor:
    """Return softmax(scale Q K') V in float64; rows that attend to nothing are 0."""
    q, k, v = query.double(), key.double(), value.double()
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
    scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    allowed = allowed_pairs(q.shape[2], **mask)[:, None]  # type: ignore[arg-type]
    weights = torch.softmax(scores.masked_fill(~allowed, -torch.inf), dim=-1)
    return torch.where(allowed.any(-1, keepdim=True), weights, 0.0).nan_to_num(0.0) @ v


def dense_gradients(
    query: Tensor, key: Tensor, value: Tensor, grad_output: Tensor, **options: object
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the output and the gradients of queries, keys and values, in float64."""
    inputs = [tensor.detach().double().requires_grad_() for tensor in (query, key, value)]
    output = dense_attention(*inputs, **options)  # type: ignore[arg-type]
    gradients = torch.autograd.grad(output, inputs, grad_output.double())
    return output.detach(), *gradients
