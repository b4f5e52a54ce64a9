"""What a decoder asks of its attention, and the plain one, on torch's fused kernel.

A query at position p sees the keys at positions j with p - W < j <= p, W the sliding window (infinite where there is
none), and of its own segment only:

    o_p = Σ_j softmax_j(scale q_p·k_j) v_j

Only where a window or segments ask for a mask is there one, for a block of queries and the keys within their reach;
keys before the reach of a block's first query and after its last one are not even read:

             keys ->
    queries  - x x x - - - -
       |     - - x x x - - -      W = 3
       v     - - - x x x - -
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch.nn import functional

_QUERIES_AT_ONCE = 1024  # of a masked block; bounds the mask, and the keys outside the window that are computed


class Attention(Protocol):
    """Causal attention of queries to keys and values of the same tokens, in the order of the sequence.

    Query head i reads key and value head i // (heads / kv_heads).
    """

    def __call__(
        self,
        query: Float[torch.Tensor, "batch heads sequence head_dim"],
        key: Float[torch.Tensor, "batch kv_heads sequence head_dim"],
        value: Float[torch.Tensor, "batch kv_heads sequence head_dim"],
        *,
        sliding_window: int | None,
        segment_ids: Int[torch.Tensor, "batch sequence"] | None,
        scale: float,
    ) -> Float[torch.Tensor, "batch heads sequence head_dim"]:
        """Return each query's mixture of the values that it sees.

        Args:
            query: Queries, rotated.
            key: Keys, rotated.
            value: Values.
            sliding_window: Keys that a query sees, itself included; None sees all up to itself.
            segment_ids: Tokens see only tokens with the same number (packed documents).
            scale: Factor on the scores.
        """


def full_attention(
    query: Float[torch.Tensor, "batch heads sequence head_dim"],
    key: Float[torch.Tensor, "batch kv_heads sequence head_dim"],
    value: Float[torch.Tensor, "batch kv_heads sequence head_dim"],
    *,
    sliding_window: int | None = None,
    segment_ids: Int[torch.Tensor, "batch sequence"] | None = None,
    scale: float,
) -> Float[torch.Tensor, "batch heads sequence head_dim"]:
    """Attend within this process; see `Attention`."""
    reaching = sliding_window is None or sliding_window >= query.shape[2]
    if reaching and segment_ids is None:
        grouped = query.shape[1] != key.shape[1]
        return functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scale, enable_gqa=grouped
        )
    return attention_from([0], query, key, value, sliding_window=sliding_window, segment_ids=segment_ids, scale=scale)


def attention_from(
    starts: Sequence[int],
    query: Float[torch.Tensor, "batch heads new head_dim"],
    key: Float[torch.Tensor, "batch kv_heads stored head_dim"],
    value: Float[torch.Tensor, "batch kv_heads stored head_dim"],
    *,
    sliding_window: int | None,
    segment_ids: Int[torch.Tensor, "batch stored"] | None = None,
    scale: float,
) -> Float[torch.Tensor, "batch heads new head_dim"]:
    """Attend from queries in the middle of a sequence to keys at positions 0, 1, 2, ...

    Args:
        starts: Position of each row's first query, or one for all rows; the others follow it one by one.
        query: Queries, rotated.
        key: Keys, rotated; those at positions after a row's last query are not seen.
        value: Values.
        sliding_window: As in `Attention`.
        segment_ids: As in `Attention`, of the keys; queries have those of the keys at their positions.
        scale: Factor on the scores.
    """
    outputs = []
    for block in _blocks(starts, query.shape[2], sliding_window):
        keys = slice(block.first_key, block.last_key + 1)
        mask = _visible(starts, block, sliding_window, segment_ids, query.device)
        rows = query[:, :, block.first_query : block.last_query + 1]
        outputs.append(_grouped(rows, key[:, :, keys], value[:, :, keys], mask, scale))
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=2)


class _Block(NamedTuple):
    """Queries that are computed together, counted from the first new one, and the keys within their reach."""

    first_query: int
    last_query: int
    first_key: int
    last_key: int


def _blocks(starts: Sequence[int], num_queries: int, sliding_window: int | None) -> Iterator[_Block]:
    for first in range(0, num_queries, _QUERIES_AT_ONCE):
        last = min(first + _QUERIES_AT_ONCE, num_queries) - 1
        first_key = 0 if sliding_window is None else max(0, min(starts) + first - sliding_window + 1)
        yield _Block(first, last, first_key, max(starts) + last)


def _visible(
    starts: Sequence[int],
    block: _Block,
    sliding_window: int | None,
    segment_ids: Int[torch.Tensor, "batch stored"] | None,
    device: torch.device,
) -> Bool[torch.Tensor, "rows 1 queries keys"] | None:
    """Return which keys the queries of a block see; None where they see all of them."""
    only_query = block.first_query == block.last_query and min(starts) == max(starts)
    if only_query and segment_ids is None:  # the block's keys begin and end where this query's reach does
        return None
    first_position = torch.tensor(starts, device=device)[:, None]
    position = first_position + torch.arange(block.first_query, block.last_query + 1, device=device)
    keys = torch.arange(block.first_key, block.last_key + 1, device=device)
    seen = keys <= position[:, :, None]
    if sliding_window is not None:
        seen &= keys > position[:, :, None] - sliding_window
    if segment_ids is not None:
        own = segment_ids.gather(1, position.expand(len(segment_ids), -1))
        seen = seen & (segment_ids[:, None, block.first_key : block.last_key + 1] == own[:, :, None])
    return seen[:, None]


def _grouped(
    query: Float[torch.Tensor, "batch heads queries head_dim"],
    key: Float[torch.Tensor, "batch kv_heads keys head_dim"],
    value: Float[torch.Tensor, "batch kv_heads keys head_dim"],
    mask: Bool[torch.Tensor, "rows 1 queries keys"] | None,
    scale: float,
) -> Float[torch.Tensor, "batch heads queries head_dim"]:
    """Attend under a mask; the heads of a group become more queries of one head, so that keys are read once."""
    batch, heads, queries, head_dim = query.shape
    kv_heads = key.shape[1]
    if queries == 1:
        query = query.reshape(batch, kv_heads, heads // kv_heads, head_dim)
    grouped = query.shape[1] != kv_heads
    output = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale, enable_gqa=grouped)
    return output.reshape(batch, heads, queries, head_dim)
