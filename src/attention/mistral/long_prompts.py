"""Prompts too long for one process: pre-filled through the ring, continued where they lie or on one rank.

Spread over the ranks, decoding goes on with the cache that the pre-fill leaves. Gathered on one rank it needs no other:
only the last W positions of each layer with a window travel, once.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...errors import OctoberError
from ...language_models.base import check_context
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
        OctoberError: The prompts are empty, or longer than the decoder's context.
        RingError: A rank did not answer in time.
    """
    length, place = token_ids.shape[1], (ring.rank, ring.world_size, layout)
    check_context([length], decoder.config.max_positions, "prompt")
    cache = ShardedRollingCache(ring, length, layout=layout)
    positions = shard_positions(length, *place)
    of_rows = positions[None].expand(token_ids.shape[0], -1).to(token_ids.device)
    hidden = decoder(shard(token_ids, *place), positions=of_rows, cache=cache)
    state = hidden.new_zeros(hidden.shape[0], hidden.shape[2])
    log_weight = hidden.new_full(hidden.shape[:1], -torch.inf)
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
    layers, ranks = cache.layers(), range(ring.world_size)
    held = {window: [cache.held_by(peer, window) for peer in ranks] for window in {kept.window for kept in layers}}
    gathered = None
    for layer, kept in enumerate(layers):
        positions = held[kept.window]
        mine = kept.since(0 if kept.window is None else cache.length - kept.window)
        if ring.rank != rank:
            sends = [(tensor, rank) for tensor in mine]
            ring.transport.exchange(sends, [], hop=0, what="kept keys and values").wait()
            continue
        if gathered is None:
            shape, like = (mine[0].shape[0], cache.length if capacity is None else capacity), mine[0]
            gathered = RollingBufferCache(config, *shape, dtype=like.dtype, device=like.device)
        for places, pair in zip(positions, _from_all(ring, [len(each) for each in positions], mine), strict=True):
            gathered.load(layer, places.to(pair[0].device), *pair)
    return gathered


def _from_all(ring: Ring, counts: Sequence[int], mine: tuple[Tensor, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Return every rank's keys and values of one layer, of so many tokens each, where this rank's are given."""
    batch, kv_heads, _, head_dim = mine[0].shape
    parts, receives = [], []
    for peer, count in enumerate(counts):
        shape = (batch, kv_heads, count, head_dim)
        parts.append(mine if peer == ring.rank else (mine[0].new_empty(shape), mine[1].new_empty(shape)))
        receives += [(tensor, peer) for tensor in parts[-1] if peer != ring.rank]
    ring.transport.exchange([], receives, hop=0, what="kept keys and values").wait()
    return parts
