"""Sums over the ranks of a ring, on the ring's own links: bounded in time, counted, the same bits on every rank.

    part j of N     travels from rank j on and gathers each rank's share: after N - 1 hops it is whole (reduce-scatter)
                    travels on unchanged for N - 1 hops more, so that all have it (all-gather)

Every rank sends 2 (N - 1) / N of the tensor, whatever the number of ranks. A part is added up in the order of the ring,
once, so ranks that hold equal weights step alike and hold equal weights ever after.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from . import agreement
from .kernels import accumulator_dtype
from .ring import Ring
from .transport import Transport

_BUCKET_BYTES = 1 << 25


def sum_over_ranks_(flat: Tensor, ring: Ring, *, what: str = "sum") -> Tensor:
    """Replace a contiguous vector by its sum over all ranks, and return it; all ranks call it together.

    Args:
        flat: One dimension, contiguous, of one length and type on every rank.
        ring: The ranks, and how long they wait for each other.
        what: What travels, for messages and timelines.

    Raises:
        OctoberError: Lengths or types differ between the ranks.
        RingError: A rank did not answer within the ring's time limit.
    """
    if ring.world_size == 1:
        return flat
    agreement.agree(ring.transport, {"summed": what, "numbers": flat.numel(), "dtype": str(flat.dtype)})
    parts = list(flat.tensor_split(ring.world_size))
    for hop in range(ring.world_size - 1):
        own, previous = parts[(ring.rank - hop) % len(parts)], parts[(ring.rank - hop - 1) % len(parts)]
        arriving = torch.empty_like(previous)
        _pass_on(ring.transport, own, arriving, hop, what)
        previous.add_(arriving)
    for hop in range(ring.world_size - 1):
        own, previous = parts[(ring.rank - hop + 1) % len(parts)], parts[(ring.rank - hop) % len(parts)]
        _pass_on(ring.transport, own, previous, ring.world_size - 1 + hop, what)
    return flat


def sum_gradients(parameters: Iterable[nn.Parameter], ring: Ring) -> None:
    """Replace each parameter's gradient by its sum over all ranks, in float32 at least; all ranks call it together.

    A rank without a gradient for a parameter adds 0. Frozen parameters are left out.

    Raises:
        OctoberError: The ranks' parameters differ in number or type.
        RingError: A rank did not answer within the ring's time limit.
    """
    if ring.world_size == 1:
        return
    for bucket in _buckets(parameter for parameter in parameters if parameter.requires_grad):
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        flat = sum_over_ranks_(flat.to(accumulator_dtype(flat.dtype)), ring, what="gradients")
        totals = torch.split(flat, [gradient.numel() for gradient in gradients])
        for parameter, gradient, total in zip(bucket, gradients, totals, strict=True):
            gradient.copy_(total.view_as(gradient))
            parameter.grad = gradient


def _pass_on(transport: Transport, own: Tensor, arriving: Tensor, hop: int, what: str) -> None:
    after, before = (transport.rank + 1) % transport.world_size, (transport.rank - 1) % transport.world_size
    transport.exchange([(own, after)], [(arriving, before)], hop=hop, what=what).wait()


def _buckets(parameters: Iterable[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Yield neighbours of one type that together take a few tens of megabytes, or one that is larger."""
    bucket: list[nn.Parameter] = []
    size = 0
    for parameter in parameters:
        if bucket and (size + parameter.nbytes > _BUCKET_BYTES or parameter.dtype != bucket[0].dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(parameter)
        size += parameter.nbytes
    if bucket:
        yield bucket
