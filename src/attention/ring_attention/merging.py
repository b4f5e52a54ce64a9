"""Runs tiles one after another and merges what they give; exact, and independent of the order.

    l = log(exp l1 + exp l2)        O = exp(l1 - l) O1 + exp(l2 - l) O2 = O1 + sigmoid(l2 - l1) (O2 - O1)

Sums are kept in float32 (float64 for float64) whatever the inputs' type. A row that attends to nothing keeps O = 0 and
l = -inf; no tile ever holds such a row, so -inf never meets -inf.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from .kernels import QueryRows, accumulator_dtype, kernel_tiles, tile_backward, tile_forward
from .tiles import Tile

_CONVERTED_ROWS = 512  # at a time, so that no wide copy of all rows is made


class Rows:
    """Output and log-sum-exp of a set of query rows, as far as their keys have been seen.

    Attributes:
        output: [batch, heads, rows, head_dim], in the accumulators' type.
        log_sum_exp: [batch, heads, rows]; -inf where no key has been seen.
    """

    def __init__(self, query: Float[Tensor, "batch heads rows head_dim"]) -> None:
        dtype = accumulator_dtype(query.dtype)
        self.output = torch.zeros(query.shape, dtype=dtype, device=query.device)
        self.log_sum_exp = torch.full(query.shape[:-1], -torch.inf, dtype=dtype, device=query.device)

    def every(self, first: int, step: int) -> "Rows":
        """Return a view of every step-th row from the first on; what is added to it is added here."""
        part = Rows.__new__(Rows)
        part.output = self.output[:, :, first::step]
        part.log_sum_exp = self.log_sum_exp[:, :, first::step]
        return part

    def add(
        self,
        tiles: Sequence[Tile],
        query: Float[Tensor, "batch heads rows head_dim"],
        key: Float[Tensor, "batch kv_heads keys head_dim"],
        value: Float[Tensor, "batch kv_heads keys head_dim"],
        scale: float,
    ) -> None:
        """Attend to more keys: run each tile and merge it in."""
        for tile in kernel_tiles(tiles, query):
            rows = _at(self.output, tile, tile.rows), _at(self.log_sum_exp, tile, tile.rows)
            # The tile's own output has no name, so that it is freed before the next tile's is made.
            merge_(*rows, *tile_forward(tile, _at(query, tile, tile.rows), *_keys(key, value, tile), scale))


def merge_(
    output: Float[Tensor, "*rows head_dim"],
    log_sum_exp: Float[Tensor, "*rows"],
    other_output: Float[Tensor, "*rows head_dim"],
    other_log_sum_exp: Float[Tensor, "*rows"],
) -> None:
    """Merge other keys' (output, log-sum-exp) into the first pair, in place; either may be -inf, not both.

    The weights exp(l1 - l) and exp(l2 - l) add up to 1, so that one interpolation merges the outputs.
    """
    weight = torch.sigmoid(other_log_sum_exp - log_sum_exp)[..., None]
    torch.logaddexp(log_sum_exp, other_log_sum_exp, out=log_sum_exp)
    if other_output.dtype == output.dtype:
        output.lerp_(other_output, weight)
        return
    parts = (torch.split(tensor, _CONVERTED_ROWS, dim=-2) for tensor in (output, other_output, weight))
    for rows, other_rows, share in zip(*parts, strict=True):
        rows.lerp_(other_rows.to(rows.dtype), share)


def zero_gradients(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return zeros in the shapes of the three, in the accumulators' type."""
    dtype = accumulator_dtype(query.dtype)
    q, k, v = (torch.zeros(tensor.shape, dtype=dtype, device=tensor.device) for tensor in (query, key, value))
    return q, k, v


def add_gradients_(
    gradients: tuple[Tensor, Tensor, Tensor],
    tiles: Sequence[Tile],
    rows: QueryRows,
    key: Float[Tensor, "batch kv_heads keys head_dim"],
    value: Float[Tensor, "batch kv_heads keys head_dim"],
    scale: float,
) -> None:
    """Add the tiles' shares to the gradients of queries, keys and values, in place."""
    for tile in kernel_tiles(tiles, rows.query):
        of_tile = QueryRows(*(_at(tensor, tile, tile.rows) for tensor in rows))
        found = tile_backward(tile, of_tile, *_keys(key, value, tile), scale)
        for total, part, where in zip(gradients, found, (tile.rows, tile.columns, tile.columns), strict=True):
            _at(total, tile, where).add_(part)
        del found, part  # freed before the next tile's are made


def _keys(key: Tensor, value: Tensor, tile: Tile) -> tuple[Tensor, Tensor]:
    return _at(key, tile, tile.columns), _at(value, tile, tile.columns)


def _at(tensor: Tensor, tile: Tile, tokens: slice) -> Tensor:
    """Return a view of the tile's tokens (dimension 2) in its sequence, or in all of the batch."""
    batch = slice(None) if tile.sequence is None else slice(tile.sequence, tile.sequence + 1)
    return tensor[batch, :, tokens]
