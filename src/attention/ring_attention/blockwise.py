"""Blockwise attention and feed-forward in one process: exact, without the S x S matrix (section 2, algorithm 1).

Attention goes block by block over keys and values and merges (output, log-sum-exp) pairs; the backward pass recomputes
each block's weights from the log-sum-exp. The feed-forward network goes block by block over the sequence and is
computed again in the backward pass, so that its 4 h wide states exist for one block only.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from ...errors import OctoberError
from .documents import document_tiles, stretches
from .inputs import check_tensors, unit_stride
from .kernels import QueryRows
from .layouts import Run
from .merging import Rows, add_gradients_, zero_gradients
from .tiles import Mask, Tile


def blockwise_attention(
    query: Float[Tensor, "batch heads queries head_dim"],
    key: Float[Tensor, "batch kv_heads queries head_dim"],
    value: Float[Tensor, "batch kv_heads queries head_dim"],
    *,
    causal: bool = True,
    sliding_window: int | None = None,
    segment_ids: Int[Tensor, "batch queries"] | None = None,
    scale: float | None = None,
    block_size: int | None = None,
) -> Float[Tensor, "batch heads queries head_dim"]:
    """Attend block by block.

    Args:
        query: Query head i uses key/value head i // (heads / kv_heads).
        key: Of the same tokens as the queries.
        value: Likewise.
        causal: Attend to no later token.
        sliding_window: Attend to tokens at a distance of less than so many positions.
        segment_ids: Attend within equal ids only; negative ids are padding. A row that attends to nothing is 0.
        scale: Of the scores; 1 / sqrt(head_dim) if None.
        block_size: Keys a block; None takes them in one, which the fused kernel itself goes through in blocks.

    Raises:
        OctoberError: Shapes, types or options that do not fit.
    """
    check_tensors(query, key, value, segment_ids)
    query, key, value = map(unit_stride, (query, key, value))
    mask = Mask(causal, sliding_window)
    length = key.shape[2]
    if block_size is not None and block_size < 1:
        raise OctoberError(f"block_size={block_size}: must be at least 1")
    step = block_size or max(1, length)
    whole = Run(0, 1, length)
    tiles: list[Tile] = []
    for first in range(0, length, step):
        block = whole.part(first, min(first + step, length))
        if segment_ids is None:
            tiles += mask.tiles([whole], [block])
        else:
            tiles += document_tiles(mask, stretches(segment_ids, [whole]), stretches(segment_ids, [block]))
    output: Tensor = _Tiled.apply(query, key, value, tiles, _scale(scale, query))  # type: ignore[no-untyped-call]
    return output


class BlockwiseAttention:
    """`blockwise_attention` with its block size chosen: what the decoder takes as its `attention`."""

    def __init__(self, block_size: int | None = None) -> None:
        self.block_size = block_size

    def __call__(
        self,
        query: Float[Tensor, "batch heads queries head_dim"],
        key: Float[Tensor, "batch kv_heads queries head_dim"],
        value: Float[Tensor, "batch kv_heads queries head_dim"],
        *,
        sliding_window: int | None = None,
        segment_ids: Int[Tensor, "batch queries"] | None = None,
        scale: float | None = None,
    ) -> Float[Tensor, "batch heads queries head_dim"]:
        """Attend causally."""
        return blockwise_attention(
            query,
            key,
            value,
            sliding_window=sliding_window,
            segment_ids=segment_ids,
            scale=scale,
            block_size=self.block_size,
        )


class BlockwiseFeedForward:
    """Runs a feed-forward module block by block over the sequence, and again, block by block, in the backward pass.

    Args:
        block_size: Tokens a block.
    """

    def __init__(self, block_size: int) -> None:
        if block_size < 1:
            raise OctoberError(f"block_size={block_size}: must be at least 1")
        self.block_size = block_size

    def __call__(
        self, module: Callable[[Tensor], Tensor], states: Float[Tensor, "batch tokens hidden"]
    ) -> Float[Tensor, "batch tokens hidden"]:
        """Return `module(states)`; the module treats each token on its own."""
        blocks = torch.split(states, self.block_size, dim=1)
        if not torch.is_grad_enabled():
            return _into_one(module, blocks)
        return torch.cat([checkpoint(module, block, use_reentrant=False) for block in blocks], dim=1)


class _Tiled(torch.autograd.Function):
    """Attention as a list of tiles."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, tiles: list[Tile], scale: float) -> Tensor:
        rows = Rows(query)
        rows.add(tiles, query, key, value, scale)
        output = rows.output.to(query.dtype)
        ctx.save_for_backward(query, key, value, output, rows.log_sum_exp)
        ctx.tiles, ctx.scale = tiles, scale
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, output, log_sum_exp = ctx.saved_tensors
        gradients = zero_gradients(query, key, value)
        rows = QueryRows(query, output, unit_stride(grad_output), log_sum_exp)
        add_gradients_(gradients, ctx.tiles, rows, key, value, ctx.scale)
        return *(gradient.to(query.dtype) for gradient in gradients), None, None


def _into_one(module: Callable[[Tensor], Tensor], blocks: Sequence[Tensor]) -> Tensor:
    """Return the results of all blocks, each written to its place at once: a list of them would be a second copy."""
    first, lengths = module(blocks[0]), [block.shape[1] for block in blocks]
    batch, _, *width = first.shape
    output = first.new_empty(batch, sum(lengths), *width)
    places = torch.split(output, lengths, dim=1)
    places[0].copy_(first)
    for place, block in zip(places[1:], blocks[1:], strict=True):
        place.copy_(module(block))
    return output


def _scale(scale: float | None, query: Tensor) -> float:
    return query.shape[-1] ** -0.5 if scale is None else scale
