"""A training step on sequences that are spread over a ring: what one process computes, with none of it whole anywhere.

    hidden_r = decoder(tokens_r)                      ring attention; blockwise feed-forward; layers computed again
    L = Σ_r Σ_i loss(hidden_ri, label_ri) / n         n counts the labels of all ranks; logits a chunk at a time
    dL/dθ = Σ_r dL/dθ through rank r                  one sum over the ranks, since dk and dv have travelled home

Rank r keeps S/N states a layer, and of the S x V logits only a chunk at a time (sections 2 and 3).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...errors import OctoberError
from ..causal_attention import Attention
from ..cross_entropy import summed_cross_entropy
from ..transformer import Transformer
from .blockwise import BlockwiseFeedForward
from .ring import Ring, RingAttention
from .sum_over_ranks import sum_gradients, sum_over_ranks_
from .training_batch import IGNORED, TrainingShard


def ring_training_step(
    decoder: Transformer,
    optimizer: torch.optim.Optimizer,
    shard: TrainingShard,
    ring: Ring,
    *,
    replicas: Ring | None = None,
    max_gradient_norm: float | None = None,
    attention: Attention | None = None,
    feed_forward_block: int = 1024,
    logits_chunk: int = 1024,
    checkpoint: bool = True,
) -> float:
    """Take one step of the optimiser and return the loss before it, nats per label: equal on all ranks.

    Args:
        decoder: Equal weights on every rank; they stay equal, bit for bit.
        optimizer: Of the decoder's parameters.
        shard: This rank's part of the batch.
        ring: The ring that holds the batch.
        replicas: As in `ring_loss`.
        max_gradient_norm: Longer gradients are scaled down to it.
        attention: As in `ring_hidden_states`.
        feed_forward_block: As in `ring_hidden_states`.
        logits_chunk: As in `ring_loss`.
        checkpoint: As in `ring_hidden_states`.

    Raises:
        OctoberError: As `ring_loss`.
        RingError: As `ring_loss`.
    """
    optimizer.zero_grad()
    loss = ring_loss(
        decoder,
        shard,
        ring,
        replicas=replicas,
        attention=attention,
        feed_forward_block=feed_forward_block,
        logits_chunk=logits_chunk,
        checkpoint=checkpoint,
    )
    torch.autograd.backward(loss)
    sum_gradients(decoder.parameters(), replicas or ring)
    if max_gradient_norm is not None:
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), max_gradient_norm)
    optimizer.step()
    return loss.item()


def ring_loss(
    decoder: Transformer,
    shard: TrainingShard,
    ring: Ring,
    *,
    replicas: Ring | None = None,
    attention: Attention | None = None,
    feed_forward_block: int = 1024,
    logits_chunk: int = 1024,
    checkpoint: bool = True,
) -> Float[Tensor, ""]:
    """Return the mean cross-entropy (nats) over the labels of all ranks.

    The value is that of all ranks, the gradient that of this rank's labels and states: `sum_gradients` after
    `backward` makes it whole.

    Args:
        decoder: The model; its attention, feed-forward and checkpointing are set for this call only.
        shard: This rank's part of the batch.
        ring: The ring that holds the batch.
        replicas: All ranks that train these weights, where several rings do so, each on its own batch; the ring if
            None. The mean is then over the labels of all rings, and `sum_gradients` takes it in place of the ring.
        attention: As in `ring_hidden_states`.
        feed_forward_block: As in `ring_hidden_states`.
        logits_chunk: Tokens whose logits are in memory at once.
        checkpoint: As in `ring_hidden_states`.

    Raises:
        OctoberError: No label counts on any rank, or the ranks differ in what they were asked for.
        RingError: A rank died or did not answer within the time limit.
    """
    hidden = ring_hidden_states(
        decoder,
        shard,
        ring,
        attention=attention,
        feed_forward_block=feed_forward_block,
        checkpoint=checkpoint,
    )
    weight = decoder.head.weight
    total, count = summed_cross_entropy(hidden, weight, shard.labels, chunk_size=logits_chunk, ignore_index=IGNORED)
    loss: Tensor = _MeanOverRanks.apply(total, count, replicas or ring)  # type: ignore[no-untyped-call]
    return loss


def ring_hidden_states(
    decoder: Transformer,
    shard: TrainingShard,
    ring: Ring,
    *,
    attention: Attention | None = None,
    feed_forward_block: int = 1024,
    checkpoint: bool = True,
) -> Float[Tensor, "batch shard hidden_size"]:
    """Return the states after the final norm of this rank's tokens; each has seen the whole sequence before it.

    Args:
        decoder: The model; its attention, feed-forward and checkpointing are set for this call only.
        shard: This rank's part of the batch.
        ring: The ring that holds the batch.
        attention: What attends in place of the ring, where the ring is of one process and its shard is all there is.
        feed_forward_block: Tokens whose feed-forward states are in memory at once.
        checkpoint: Whether each layer is computed again in the backward pass; without, a step is shorter by a forward
            pass and keeps every layer's activations.

    Raises:
        OctoberError: `attention` for a ring of several processes.
    """
    if attention is not None and ring.world_size > 1:
        raise OctoberError(f"attention: sees one shard only; a ring of {ring.world_size} processes has its own")
    attention = attention or RingAttention(ring, layout=shard.layout, sequence_length=shard.sequence_length)
    with _set_for_now(
        decoder, attention=attention, feed_forward=BlockwiseFeedForward(feed_forward_block), checkpoint=checkpoint
    ):
        states: Tensor = decoder(shard.token_ids, positions=shard.positions, segment_ids=shard.segment_ids)
    return states


@contextmanager
def _set_for_now(decoder: Transformer, **values: Any) -> Iterator[None]:
    """Give the decoder these attributes inside the block; a backward pass after it keeps to them."""
    before = {name: getattr(decoder, name) for name in values}
    for name, value in values.items():
        setattr(decoder, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(decoder, name, value)


class _MeanOverRanks(torch.autograd.Function):
    """All ranks' totals over all ranks' counts; what a rank's own total adds to it comes back as its gradient."""

    @staticmethod
    def forward(ctx: Any, total: Tensor, count: Tensor, everyone: Ring) -> Tensor:
        pair = torch.stack([total.double(), count.double()])
        whole, labels = sum_over_ranks_(pair, everyone, what="loss")
        if not labels > 0:
            raise OctoberError("labels: none counts on any rank, so there is no mean loss")
        ctx.labels = labels
        mean: Tensor = (whole / labels).to(total.dtype)
        return mean

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        scaled: Tensor = gradient / ctx.labels.to(gradient.dtype)
        return scaled, None, None
