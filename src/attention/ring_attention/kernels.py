"""Attention of one tile, forward and backward, by torch's fused kernels where they serve, else plainly.

    S = scale Q K'      l = log Σ_j exp S_j      O = exp(S - l) V                          forward gives (O, l)
    P = exp(S - l)      dV = P' dO      dS = P * (dO V' - rowsum(dO * O))      dQ = scale dS K      dK = scale dS' Q

In the backward pass O, dO and l are those of the *whole* rows, so that P is a tile of the whole softmax and the tiles'
gradients add up. Key/value heads are not repeated: query head i uses key/value head i // (heads / kv heads).
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from .tiles import WIDE_STRIP, Tile, cut_rectangle, cut_triangle, stairs

_CPU = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_CPU_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
_FLASH = torch.ops.aten._scaled_dot_product_flash_attention
_FLASH_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_backward
_EFFICIENT = torch.ops.aten._scaled_dot_product_efficient_attention
_EFFICIENT_BACKWARD = torch.ops.aten._scaled_dot_product_efficient_attention_backward
# Torch's CPU kernel goes through a triangle in blocks of 32 to 256 rows and 512 keys and computes those on the diagonal
# whole. Cut up, the same triangle takes fewer pairs; but each tile is merged too, and in 16 bits small tiles are slow.
_CPU_KEY_BLOCK = 512
CPU_TRIANGLE = 256  # keys of a step
_ROWS_ABOVE = WIDE_STRIP  # of a step's upper triangle, at most, where it is computed with a mask
PLAIN_SIDE = 1024  # rows and keys whose scores are in memory at once, where no fused kernel serves
_FLASH_HEAD_DIM = 256  # the largest that CUDA's flash kernel takes
_FLASH_CAPABILITY = (8, 0)  # the oldest card that it runs on


class QueryRows(NamedTuple):
    """What the backward pass knows of a set of query rows, of whole rows and not of one tile.

    Attributes:
        query: [batch, heads, rows, head_dim].
        output: Likewise.
        grad_output: Likewise.
        log_sum_exp: [batch, heads, rows], in the accumulators' type.
    """

    query: Tensor
    output: Tensor
    grad_output: Tensor
    log_sum_exp: Tensor

    def reversed(self) -> "QueryRows":
        """Return the rows from last to first."""
        return QueryRows(*(tensor.flip(2) for tensor in self))

    def grouped(self, num_kv_heads: int) -> "QueryRows":
        """View the heads in groups that share a key/value head."""
        return QueryRows(*(_grouped(tensor, num_kv_heads) for tensor in self))


class Gradients(NamedTuple):
    """Of one tile: with respect to its queries, keys and values."""

    query: Tensor
    key: Tensor
    value: Tensor


def accumulator_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the type in which tiles are summed: float32 for float32 and all below it, else float64."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def kernel_tiles(tiles: Sequence[Tile], query: Tensor) -> Iterator[Tile]:
    """Yield the tiles as they are best computed.

    On a CPU in 32 bits or more, triangles are cut up; without a fused kernel all tiles are, lest scores fill memory.
    """
    kernel = fused_kernel(query)
    for tile in tiles:
        if kernel == "plain":
            for part in cut_triangle(tile, PLAIN_SIDE):
                yield from cut_rectangle(part, PLAIN_SIDE)
        elif kernel == "cpu" and query.dtype in (torch.float32, torch.float64):
            for part in cut_triangle(tile, WIDE_STRIP):
                yield from stairs(part, CPU_TRIANGLE)
        else:
            yield tile


def tile_forward(
    tile: Tile,
    query: Float[Tensor, "batch heads height head_dim"],
    key: Float[Tensor, "batch kv_heads width head_dim"],
    value: Float[Tensor, "batch kv_heads width head_dim"],
    scale: float,
) -> tuple[Float[Tensor, "batch heads height head_dim"], Float[Tensor, "batch heads height"]]:
    """Return the tile's output and log-sum-exp (float32, or float64 for float64)."""
    if _far_by_mask(tile, query):
        return _forward(query, key, value, scale, causal=False, mask=_mask(tile, query.dtype))
    if tile.kind == "far":
        output, log_sum_exp = _forward(query.flip(-2), key.flip(-2), value.flip(-2), scale, causal=True)
        return output.flip(-2), log_sum_exp.flip(-1)
    if tile.kind == "band":
        return _plain_forward(query, key, value, scale, _band(tile, query.device))
    return _forward(query, key, value, scale, causal=tile.kind == "causal")


def tile_backward(
    tile: Tile,
    rows: QueryRows,
    key: Float[Tensor, "batch kv_heads width head_dim"],
    value: Float[Tensor, "batch kv_heads width head_dim"],
    scale: float,
) -> Gradients:
    """Return the tile's share of the gradients, given output and log-sum-exp of the whole rows."""
    if _far_by_mask(tile, key):
        return _backward(rows, key, value, scale, causal=False, mask=_mask(tile, key.dtype))
    if tile.kind == "far":
        gradients = _backward(rows.reversed(), key.flip(-2), value.flip(-2), scale, causal=True)
        return Gradients(*(gradient.flip(-2) for gradient in gradients))
    if tile.kind == "band":
        return _plain_backward(rows, key, value, scale, _band(tile, key.device))
    return _backward(rows, key, value, scale, causal=tile.kind == "causal")


def _far_by_mask(tile: Tile, tensor: Tensor) -> bool:
    """Tell whether an upper triangle is one block of keys to torch's CPU kernel, which computes it whole anyway."""
    one_block = tile.width <= _CPU_KEY_BLOCK and tile.height - tile.width <= _ROWS_ABOVE
    return tile.kind == "far" and one_block and fused_kernel(tensor) == "cpu"


def _mask(tile: Tile, dtype: torch.dtype) -> Tensor:
    """Return what is added to the scores of an upper triangle, and of the rows above it."""
    first = _ROWS_ABOVE - (tile.height - tile.width)
    return far_mask(dtype)[first : first + tile.height, : tile.width]


@lru_cache(maxsize=4)
def far_mask(dtype: torch.dtype) -> Tensor:
    """Return the mask of the largest upper triangle, below rows that see all of its keys; a part serves the others.

    It is made once in a process and kept, 3 MiB in float32.
    """
    below = torch.ones(_ROWS_ABOVE + _CPU_KEY_BLOCK, _CPU_KEY_BLOCK, dtype=torch.bool).tril(-1 - _ROWS_ABOVE)
    return torch.zeros(below.shape, dtype=dtype).masked_fill_(below, -torch.inf)


def _forward(
    query: Tensor, key: Tensor, value: Tensor, scale: float, *, causal: bool, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    name = fused_kernel(query)
    if name == "plain":
        return _plain_forward(query, key, value, scale, _lower(query, key) if causal else None)
    grouped = _grouped(query, key.shape[1])
    keys, values = _expanded(key, grouped), _expanded(value, grouped)
    if name == "cpu":
        output, log_sum_exp = _CPU(grouped, keys, values, 0.0, causal, attn_mask=mask, scale=scale)
    elif name == "flash":
        output, log_sum_exp = _FLASH(grouped, keys, values, 0.0, causal, scale=scale)[:2]
    else:
        output, log_sum_exp = _EFFICIENT(grouped, keys, values, None, True, 0.0, causal, scale=scale)[:2]
        log_sum_exp = log_sum_exp[..., : query.shape[-2]]  # its rows are padded
    return output.reshape(query.shape), log_sum_exp.reshape(query.shape[:-1])


def _backward(
    rows: QueryRows, key: Tensor, value: Tensor, scale: float, *, causal: bool, mask: Tensor | None = None
) -> Gradients:
    name = fused_kernel(rows.query)
    if name == "plain":
        return _plain_backward(rows, key, value, scale, _lower(rows.query, key) if causal else None)
    grouped = rows.grouped(key.shape[1])
    keys, values = _expanded(key, grouped.query), _expanded(value, grouped.query)
    if name == "cpu":
        query, output, grad_output, sums = grouped
        states = (grad_output, query, keys, values, output, sums)
        found = _CPU_BACKWARD(*states, 0.0, causal, attn_mask=mask, scale=scale)
    elif name == "flash":
        found = _flash_backward(grouped, keys, values, scale, causal)
    else:
        found = _efficient_backward(grouped, keys, values, scale, causal)
    return Gradients(found[0].reshape(rows.query.shape), _summed(found[1], key), _summed(found[2], value))


def _flash_backward(
    rows: QueryRows, key: Tensor, value: Tensor, scale: float, causal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    query, output, grad_output, sums = rows
    unused = torch.zeros((), dtype=torch.uint64, device=query.device)  # the dropout's random state
    lengths = (None, None, query.shape[-2], key.shape[-2])
    states = (grad_output, query, key, value, output.contiguous(), sums.contiguous())
    found: tuple[Tensor, Tensor, Tensor]
    found = _FLASH_BACKWARD(*states, *lengths, 0.0, causal, unused, unused, scale=scale)
    return found


def _efficient_backward(
    rows: QueryRows, key: Tensor, value: Tensor, scale: float, causal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    query, output, grad_output, sums = rows
    unused = torch.zeros((), dtype=torch.int64, device=query.device)
    padded = torch.nn.functional.pad(sums, (0, -sums.shape[-1] % 32), value=torch.inf)  # as its forward pads them
    states = (grad_output, query, key, value, None, output, padded)
    wanted = [True, True, True, False]
    found = _EFFICIENT_BACKWARD(*states, unused, unused, 0.0, wanted, causal, scale=scale)
    return found[0], found[1], found[2]


def fused_kernel(query: Tensor) -> str:
    """Return which kernel serves tensors like this one: `cpu`, `flash`, `efficient` or `plain`.

    Only kernels that give the true log-sum-exp in float32 (or float64) are used.
    """
    if query.device.type == "cpu" and query.dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        return "cpu"
    if query.device.type == "cuda" and query.shape[-1] % 8 == 0:
        modern = torch.cuda.get_device_capability(query.device) >= _FLASH_CAPABILITY
        if query.dtype in (torch.bfloat16, torch.float16) and modern and query.shape[-1] <= _FLASH_HEAD_DIM:
            return "flash"
        if query.dtype == torch.float32:
            return "efficient"
    return "plain"


def _plain_forward(
    query: Tensor, key: Tensor, value: Tensor, scale: float, allowed: Tensor | None
) -> tuple[Tensor, Tensor]:
    dtype = accumulator_dtype(query.dtype)
    grouped = _grouped(query, key.shape[1]).to(dtype)
    scores = _scores(grouped, _expanded(key, grouped).to(dtype), scale, allowed)
    log_sum_exp = scores.logsumexp(-1)
    output = torch.exp(scores - log_sum_exp[..., None]) @ _expanded(value, grouped).to(dtype)
    return output.to(query.dtype).reshape(query.shape), log_sum_exp.reshape(query.shape[:-1])


def _plain_backward(rows: QueryRows, key: Tensor, value: Tensor, scale: float, allowed: Tensor | None) -> Gradients:
    dtype = accumulator_dtype(rows.query.dtype)
    query, output, grad_output, sums = (tensor.to(dtype) for tensor in rows.grouped(key.shape[1]))
    k, v = _expanded(key, query).to(dtype), _expanded(value, query).to(dtype)
    weights = torch.exp(_scores(query, k, scale, allowed) - sums[..., None])
    grad_scores = weights * (grad_output @ v.mT - (grad_output * output).sum(-1, keepdim=True)) * scale
    grad_key, grad_value = grad_scores.mT @ query, weights.mT @ grad_output
    grad_query = (grad_scores @ k).to(rows.query.dtype).reshape(rows.query.shape)
    return Gradients(grad_query, _summed(grad_key, key).to(key.dtype), _summed(grad_value, value).to(value.dtype))


def _scores(query: Tensor, key: Tensor, scale: float, allowed: Tensor | None) -> Tensor:
    scores = (query @ key.mT) * scale
    return scores if allowed is None else scores.masked_fill(~allowed, -torch.inf)


def _lower(query: Tensor, key: Tensor) -> Tensor:
    return torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()


def _band(tile: Tile, device: torch.device) -> Tensor:
    allowed = torch.ones(tile.height, tile.width, dtype=torch.bool, device=device)
    return allowed.tril(-tile.low).triu(-tile.high)


def _grouped(rows: Tensor, num_kv_heads: int) -> Tensor:
    """View [batch, heads, …] as [batch * kv heads, group, …], for the kernels take one batch and one head dimension."""
    batch, heads = rows.shape[:2]
    if heads == num_kv_heads:
        return rows
    return rows.reshape(batch * num_kv_heads, heads // num_kv_heads, *rows.shape[2:])


def _expanded(keys: Tensor, grouped: Tensor) -> Tensor:
    """View keys or values as [batch * kv heads, group, …], each standing for all heads of its group."""
    if keys.shape[:2] == grouped.shape[:2]:
        return keys
    flat = keys.reshape(grouped.shape[0], 1, *keys.shape[2:])
    return flat.expand(-1, grouped.shape[1], -1, -1)


def _summed(gradient: Tensor, keys: Tensor) -> Tensor:
    """Add up what the heads of a group send to their key/value head."""
    if gradient.shape == keys.shape:
        return gradient
    return gradient.sum(1, dtype=accumulator_dtype(gradient.dtype)).reshape(keys.shape)
