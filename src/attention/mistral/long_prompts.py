"""Prompts too long for one process: pre-filled through the ring, continued where they lie or on one rank.

Spread over the ranks, decoding goes on with the cache that the pre-fill leaves. Gathered on one rank it needs no other:
only the last W positions of each layer with a window travel, once.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...errors import OctoberError
from ..decoder_config import DecoderConfig
from ..ring_attention import Layout, Ring, merge_over, shard, shard_positions
from ..transformer import Transformer
from .rolling_cache import RollingBufferCache
from .sharded_rolling_cache import ShardedRollingCache


@torch.inference_mode()
def ring_prefill(
    decoder: Transformer, token_ids: Int[Tensor, "batch prompt"], ring: Ring, *, layout: Layout = "zigzag"
) -> tuple[Float[Tensor, "batch hidden_size"], ShardedRollingCache]:
    """Pre-fill prompts of one length; all ranks call it, and each computes on its shard.

    Args:
        decoder: The same on every rank.
        token_ids: The whole prompts, on every rank.
        ring: The ranks.
        layout: How the prompts are dealt out.

    Returns:
        The states after the last tokens, on every rank, and what the rank keeps. Every rank feeds the same further
        tokens to `decoder(…, cache=…)`; or `gather_rolling_cache` brings all to one of them.

    Raises:
        OctoberError: The prompts are empty.
        RingError: A rank did not answer in time.
    """
    length, place = token_ids.shape[1], (ring.rank, ring.world_size, layout)
    cache = ShardedRollingCache(ring, length, layout=layout)
    positions = shard_positions(length, *place)
    of_rows = positions[None].expand(token_ids.shape[0], -1).to(token_ids.device)
    hidden = decoder(shard(token_ids, *place), positions=of_rows, cache=cache)
    state, log_weight = (
        hidden.new_zeros(hidden.shape[0], hidden.shape[2]),
        hidden.new_full(hidden.shape[:1], -torch.inf),
    )
    for index in (positions == length - 1).nonzero()[:, 0].tolist():
        state, log_weight = hidden[:, index], torch.zeros_like(log_weight)
    merged, _ = merge_over(ring, state, log_weight)  # one rank's, with all the weight
    return merged.to(hidden.dtype), cache


@torch.inference_mode()
def gather_rolling_cache(
    cache: ShardedRollingCache, config: DecoderConfig, *, rank: int = 0, capacity: int | None = None
) -> RollingBufferCache | None:
    """Bring what the ranks keep to one of them; all ranks call it.

    Args:
        cache: After the pre-fill, or later.
        config: Of the decoder.
        rank: Where the texts go on.
        capacity: Tokens of the texts, those to come included, if known; as in `RollingBufferCache`.

    Returns:
        On that rank a cache for all that follows; None on the others.

    Raises:
        OctoberError: No such rank.
        RingError: A rank did not answer in time.
    """
    ring = cache.ring
    if not 0 <= rank < ring.world_size:
        raise OctoberError(f"rank={rank}: must be 0 to {ring.world_size - 1} in a ring of {ring.world_size}")
    gathered: RollingBufferCache | None = None
    for layer, kept in enumerate(cache.layers()):
        mine = kept.of_positions(cache.held_by(ring.rank, kept.window).tolist())
        if ring.rank != rank:
            sends = [(tensor.contiguous(), rank) for tensor in mine]
            ring.transport.exchange(sends, [], hop=0, what="kept keys and values").wait()
            continue
        if gathered is None:
            shape, like = (mine[0].shape[0], capacity or cache.length), mine[0]
            gathered = RollingBufferCache(config, *shape, dtype=like.dtype, device=like.device)
        for positions, keys, values in _arriving(cache, kept.window, mine):
            gathered.load(layer, positions, keys, values)
    return gathered


def _arriving(
    cache: ShardedRollingCache, window: int | None, mine: tuple[Tensor, Tensor]
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return every rank's positions, keys and values of one layer."""
    ring, like = cache.ring, mine[0]
    found, receives = [], []
    for peer in range(ring.world_size):
        positions = cache.held_by(peer, window)
        pair = mine
        if peer != ring.rank:
            shape = (*like.shape[:2], len(positions), like.shape[3])
            pair = like.new_empty(shape), like.new_empty(shape)
            receives += [(tensor, peer) for tensor in pair]
        found.append((positions.to(like.device), *pair))
    ring.transport.exchange([], receives, hop=0, what="kept keys and values").wait()
    return found
