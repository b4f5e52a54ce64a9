"""Ring Attention: exact attention over a sequence that is spread over the ranks of a process group.

Every rank keeps its queries. Keys and values travel round the ring in pieces; a rank attends to the piece at hand while
it sends it on and receives the next (`traffic.py`), and merges what it gets by log-sum-exp (`merging.py`). In the
backward pass keys and values travel once more and their gradients follow them home. What each rank computes is cut into
tiles without a mask (`tiles.py`), so that causal masks, sliding windows and documents cost only their share of pairs.
"""

from functools import lru_cache
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...errors import OctoberError
from . import agreement
from .inputs import check_tensors, unit_stride
from .kernels import QueryRows
from .layouts import Layout, shard_length
from .merging import Rows, add_gradients_, zero_gradients
from .plan import Documents, Journey, Work, default_pieces, journey, shortest_piece
from .tiles import Mask
from .traffic import GradientTraffic, KeyValueTraffic
from .transport import Transport


class Ring:
    """A ring of processes and how they talk; make one a group and keep it.

    Args:
        group: The ranks of the ring, in order; the default group if None.
        time_limit: Seconds within which a message must arrive; then every rank ends with one line that names the peer.
        num_pieces: Pieces in which a rank's keys and values travel; by length and type if None. More take less memory.
        check_finite: Look for NaN and infinities in every input and name the rank they come from.
        bytes_per_second: Slows the link down, to study overlap.

    Attributes:
        transport: The links, with counts of bytes and, if asked for, a timeline.
    """

    def __init__(
        self,
        group: dist.ProcessGroup | None = None,
        *,
        time_limit: float = 300.0,
        num_pieces: int | None = None,
        check_finite: bool = False,
        bytes_per_second: float | None = None,
    ) -> None:
        if num_pieces is not None and num_pieces < 1:
            raise OctoberError(f"num_pieces={num_pieces}: must be at least 1")
        self.transport = Transport(group, time_limit=time_limit, bytes_per_second=bytes_per_second)
        self.num_pieces = num_pieces
        self.check_finite = check_finite
        self._documents: tuple[Tensor, int, Documents] | None = None

    @property
    def rank(self) -> int:
        """This process's place in the ring."""
        return self.transport.rank

    @property
    def world_size(self) -> int:
        """Processes in the ring."""
        return self.transport.world_size

    def documents(self, segment_ids: Int[Tensor, "batch tokens"]) -> Documents:
        """Return the segment ids of all ranks; told once for a tensor, whichever layers use it."""
        if self._documents is not None:
            last, version, documents = self._documents
            if last is segment_ids and version == segment_ids._version:
                return documents
        documents = Documents(agreement.gather(self.transport, Documents.encode(segment_ids)))
        if not segment_ids.is_inference():  # those do not count how often they were written to
            self._documents = (segment_ids, segment_ids._version, documents)
        return documents


def ring_of(group: "dist.ProcessGroup | Ring | None") -> Ring:
    """Return the ring of a group, made on first use."""
    if isinstance(group, Ring):
        return group
    if group is None and not (dist.is_available() and dist.is_initialized()):
        return Ring()
    return _ring_of(dist.distributed_c10d._get_default_group() if group is None else group)


@lru_cache(maxsize=16)
def _ring_of(group: dist.ProcessGroup) -> Ring:
    return Ring(group)


def ring_attention(
    query: Float[Tensor, "batch heads shard head_dim"],
    key: Float[Tensor, "batch kv_heads shard head_dim"],
    value: Float[Tensor, "batch kv_heads shard head_dim"],
    group: "dist.ProcessGroup | Ring | None" = None,
    *,
    causal: bool = True,
    layout: Layout = "zigzag",
    sliding_window: int | None = None,
    segment_ids: Int[Tensor, "batch shard"] | None = None,
    scale: float | None = None,
    sequence_length: int | None = None,
) -> Float[Tensor, "batch heads shard head_dim"]:
    """Attend over the whole sequence, each rank with its shard of queries, keys and values.

    All ranks call it together, and differentiate it together; what they must agree on is checked once for each new
    combination, before the first hop.

    Args:
        query: This rank's shard, as `shard(…, layout)` deals it out; query head i uses key/value head
            i // (heads / kv_heads).
        key: Likewise; its heads travel as they are, un-repeated.
        value: Likewise.
        group: A process group, or a `Ring` with its settings; the default group if None.
        causal: Attend to no later position.
        layout: `contiguous`, `striped` or `zigzag`; the last two balance causal work.
        sliding_window: Attend to positions at a distance of less than so many. Hops out of reach are not made, and
            keys that no other rank attends to are not sent.
        segment_ids: Attend within equal ids only; negative ids are padding. Rows that attend to nothing are 0.
        scale: Of the scores; 1 / sqrt(head_dim) if None.
        sequence_length: Of the whole sequence; needed where it does not divide evenly over the ranks.

    Returns:
        The rank's shard of the output, in the type of the queries; sums are kept in float32 between hops.

    Raises:
        OctoberError: An argument does not fit, or differs between the ranks.
        RingError: A rank died or did not answer within the time limit; the line names it and the hop.
    """
    ring = ring_of(group)
    check_tensors(query, key, value, segment_ids)
    query, key, value = map(unit_stride, (query, key, value))
    mask = Mask(causal, sliding_window)
    length = query.shape[2] * ring.world_size if sequence_length is None else sequence_length
    pieces = ring.num_pieces or default_pieces(length, ring.world_size, layout, mask, shortest_piece(key))
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    plan = journey(length, ring.world_size, layout, mask, pieces)
    differentiated = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (query, key, value))
    options = {"segment_ids": segment_ids is not None, "scale": scale, "needs gradient": differentiated}
    _agree(ring, plan, query, key, options)
    if ring.check_finite:
        agreement.check_finite({"query": query, "key": key, "value": value}, ring.transport)
    documents = None if segment_ids is None else ring.documents(segment_ids)
    work = Work(plan, ring.rank, documents)
    output: Tensor = _RingAttention.apply(query, key, value, ring, work, scale)  # type: ignore[no-untyped-call]
    return output


def _agree(ring: Ring, plan: Journey, query: Tensor, key: Tensor, options: dict[str, Any]) -> None:
    """Check that all ranks were asked for the same, and that each has its share of the tokens."""
    tokens, share = query.shape[2], shard_length(plan.sequence_length, ring.rank, ring.world_size, plan.layout)
    signature = {
        "batch": query.shape[0],
        "heads": query.shape[1],
        "key/value heads": key.shape[1],
        "head_dim": query.shape[3],
        "dtype": str(query.dtype),
        "world size": ring.world_size,
        "sequence_length": plan.sequence_length,
        "layout": plan.layout,
        "causal": plan.mask.causal,
        "sliding_window": plan.mask.sliding_window,
        "num_pieces": plan.num_pieces,
        "tokens": "as dealt out" if tokens == share else f"{tokens} in place of {share}",
        **options,
    }
    agreement.agree(ring.transport, signature)
    if tokens != share:
        raise OctoberError(
            f"query has {tokens} tokens; layout {plan.layout} deals out {share} of {plan.sequence_length} to each of "
            f"{ring.world_size} ranks: give sequence_length"
        )


class RingAttention:
    """`ring_attention` with its ring and layout chosen: what the decoder takes as its `attention`.

    Args:
        group: A process group or a `Ring`.
        layout: How the sequence is dealt out.
        sequence_length: As for `ring_attention`.
    """

    def __init__(
        self,
        group: "dist.ProcessGroup | Ring | None" = None,
        *,
        layout: Layout = "zigzag",
        sequence_length: int | None = None,
    ) -> None:
        self.group = group
        self.layout: Layout = layout
        self.sequence_length = sequence_length

    def __call__(
        self,
        query: Float[Tensor, "batch heads shard head_dim"],
        key: Float[Tensor, "batch kv_heads shard head_dim"],
        value: Float[Tensor, "batch kv_heads shard head_dim"],
        *,
        sliding_window: int | None = None,
        segment_ids: Int[Tensor, "batch shard"] | None = None,
        scale: float | None = None,
    ) -> Float[Tensor, "batch heads shard head_dim"]:
        """Attend causally over all shards."""
        return ring_attention(
            query,
            key,
            value,
            self.group,
            layout=self.layout,
            sliding_window=sliding_window,
            segment_ids=segment_ids,
            scale=scale,
            sequence_length=self.sequence_length,
        )


class _RingAttention(torch.autograd.Function):
    """One rank's part, forward and backward."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, ring: Ring, work: Work, scale: float) -> Tensor:
        rows = Rows(query)
        traffic = KeyValueTraffic(work.journey, ring.transport, key, value)
        for current, message in traffic.rounds():
            hop = 0 if current is None else current.hop
            with ring.transport.record("compute", hop):
                if current is None:
                    rows.add(work.own_tiles(), query, key, value, scale)
                elif message is not None:
                    rows.add(work.tiles(current.source, current.piece), query, message[0], message[1], scale)
        output = rows.output.to(query.dtype)
        ctx.save_for_backward(query, key, value, output, rows.log_sum_exp)
        ctx.ring, ctx.work, ctx.scale = ring, work, scale
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, output, log_sum_exp = ctx.saved_tensors
        ring, work = ctx.ring, ctx.work
        if ring.check_finite:
            agreement.check_finite({"gradient of the output": grad_output}, ring.transport)
        totals = zero_gradients(query, key, value)
        homeward = GradientTraffic(work.journey, ring.transport, totals[1], totals[2])
        rows = QueryRows(query, output, unit_stride(grad_output), log_sum_exp)
        tiles = work.own_tiles()
        first = -(-len(tiles) // 3)  # hide the first keys on their way here; the others hide the last gradients home
        for current, message in KeyValueTraffic(work.journey, ring.transport, key, value).rounds():
            if current is None:
                with ring.transport.record("compute", 0):
                    add_gradients_(totals, tiles[:first], rows, key, value, ctx.scale)
                continue
            exchange, arriving = homeward.open(current)
            share = None
            if message is not None:
                share = homeward.zeros(current)
                with ring.transport.record("compute", current.hop):
                    mine = (totals[0], share[0], share[1])
                    arrived = work.tiles(current.source, current.piece)
                    add_gradients_(mine, arrived, rows, message[0], message[1], ctx.scale)
            homeward.close(current, exchange, arriving, share)
            if current.hop == ring.world_size - 1:
                homeward.finish(current.piece)
        with ring.transport.record("compute", 0):
            add_gradients_(totals, tiles[first:], rows, key, value, ctx.scale)
        homeward.wait()
        return *(total.to(query.dtype) for total in totals), None, None, None
