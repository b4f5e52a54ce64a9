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
            segment_ids: Tokens see only tokens with the same number (packed documents); those with a negative one
                are padding, see nothing and get 0.
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
    placed = PlacedQueries([0], query.shape[2], query.shape[2], query.device, segment_ids)
    return placed.attend(query, key, value, sliding_window=sliding_window, scale=scale)


class PlacedQueries:
    """Queries in the middle of a sequence, whose keys stand at positions 0, 1, 2, ...; serves all layers in turn.

    Args:
        starts: Position of each row's first query, or one for all rows; the others follow it one by one.
        num_queries: Queries of a row.
        num_keys: Keys of a row; those at positions after its query are not seen.
        device: Where queries and keys are.
        segment_ids: As in `Attention`, of the keys; queries have those of the keys at their positions.
    """

    def __init__(
        self,
        starts: Sequence[int],
        num_queries: int,
        num_keys: int,
        device: torch.device,
        segment_ids: Int[torch.Tensor, "batch stored"] | None = None,
    ) -> None:
        self._first, self._last = min(starts), max(starts)
        self._starts = torch.tensor(starts, device=device)[:, None]
        self._num_queries = num_queries
        self._num_keys = num_keys
        self._segment_ids = segment_ids
        self._only_block: dict[int | None, _Block] = {}

    def attend(
        self,
        query: Float[torch.Tensor, "batch heads new head_dim"],
        key: Float[torch.Tensor, "batch kv_heads stored head_dim"],
        value: Float[torch.Tensor, "batch kv_heads stored head_dim"],
        *,
        sliding_window: int | None,
        scale: float,
    ) -> Float[torch.Tensor, "batch heads new head_dim"]:
        """Return each query's mixture of the values that it sees; arguments as in `Attention`."""
        outputs = [
            _grouped(query[:, :, block.queries], key[:, :, block.keys], value[:, :, block.keys], block.visible, scale)
            for block in self._blocks(sliding_window)
        ]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=2)

    def _blocks(self, sliding_window: int | None) -> Iterator["_Block"]:
        """Yield the queries in blocks; where there is one block, its mask is kept for the next layer."""
        if self._num_queries > _QUERIES_AT_ONCE:
            for first in range(0, self._num_queries, _QUERIES_AT_ONCE):
                yield self._block(first, min(first + _QUERIES_AT_ONCE, self._num_queries), sliding_window)
        else:
            if sliding_window not in self._only_block:
                self._only_block[sliding_window] = self._block(0, self._num_queries, sliding_window)
            yield self._only_block[sliding_window]

    def _block(self, first: int, end: int, sliding_window: int | None) -> "_Block":
        first_key = 0 if sliding_window is None else max(0, self._first + first - sliding_window + 1)
        keys = slice(first_key, min(self._last + end, self._num_keys))
        sees_all = end - first == 1 and self._first == self._last and self._segment_ids is None
        visible = None if sees_all else self._visible(first, end, keys, sliding_window)
        return _Block(slice(first, end), keys, visible)

    def _visible(
        self, first: int, end: int, keys: slice, sliding_window: int | None
    ) -> Bool[torch.Tensor, "rows 1 queries keys"]:
        """Return which keys of a slice each query sees."""
        positions = self._starts + torch.arange(first, end, device=self._starts.device)
        places = torch.arange(keys.start, keys.stop, device=self._starts.device)
        seen = places <= positions[:, :, None]
        if sliding_window is not None:
            seen &= places > positions[:, :, None] - sliding_window
        if self._segment_ids is not None:
            own = self._segment_ids.gather(1, positions.expand(len(self._segment_ids), -1))
            seen = seen & (self._segment_ids[:, None, keys] == own[:, :, None]) & (own[:, :, None] >= 0)
        return seen[:, None]


class _Block(NamedTuple):
    """Queries that are computed together, the keys within their reach, and which they see; None where all."""

    queries: slice
    keys: slice
    visible: Bool[torch.Tensor, "rows 1 queries keys"] | None


def _grouped(
    query: Float[torch.Tensor, "batch heads queries head_dim"],
    key: Float[torch.Tensor, "batch kv_heads keys head_dim"],
    value: Float[torch.Tensor, "batch kv_heads keys head_dim"],
    visible: Bool[torch.Tensor, "rows 1 queries keys"] | None,
    scale: float,
) -> Float[torch.Tensor, "batch heads queries head_dim"]:
    """Attend under a mask; a single query's heads of a group become queries of one head, so that keys are read once."""
    batch, heads, queries, head_dim = query.shape
    kv_heads = key.shape[1]
    if queries == 1:
        query = query.reshape(batch, kv_heads, heads // kv_heads, head_dim)
    grouped = query.shape[1] != kv_heads
    output = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=visible, scale=scale, enable_gqa=grouped
    )
    return output.reshape(batch, heads, queries, head_dim)
