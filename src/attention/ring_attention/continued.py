"""Attention of a text's last tokens to all of it, in tiles without a mask; for inference, where keys are kept.

         keys ->
queries  . # # # # c - -        W = 5, three queries after five earlier tokens:
   |     . . # # # c c -        triangles and rectangles are those of `tiles`, the rest is not computed
   v     . . . # # c c c
"""

from jaxtyping import Float
from torch import Tensor

from .inputs import unit_stride
from .layouts import Run
from .merging import Rows
from .tiles import Mask


def continued_attention(
    query: Float[Tensor, "batch heads queries head_dim"],
    key: Float[Tensor, "batch kv_heads keys head_dim"],
    value: Float[Tensor, "batch kv_heads keys head_dim"],
    *,
    sliding_window: int | None = None,
    scale: float,
) -> Float[Tensor, "batch heads queries head_dim"]:
    """Attend causally; keeps nothing for a backward pass.

    Args:
        query: Of the last tokens; query head i uses key/value head i // (heads / kv_heads).
        key: Of all tokens, at least as many.
        value: Likewise.
        sliding_window: Keys that a query sees, itself included; None for all.
        scale: Of the scores.

    Raises:
        OctoberError: `sliding_window` below 1.
    """
    query, key, value = map(unit_stride, (query, key, value))
    new, stored = query.shape[2], key.shape[2]
    rows = Rows(query)
    tiles = Mask(True, sliding_window).tiles([Run(stored - new, 1, new)], [Run(0, 1, stored)])
    rows.add(tiles, query, key, value, scale)
    return rows.output.to(query.dtype)
