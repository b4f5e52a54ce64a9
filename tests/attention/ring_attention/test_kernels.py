"""Every kernel of a tile, fused or plain, gives the dense output, log-sum-exp and gradients of the same pairs."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from october.attention.ring_attention import kernels
from october.attention.ring_attention.kernels import QueryRows, fused_kernel, tile_backward, tile_forward
from october.attention.ring_attention.tiles import Tile

SHAPES = [("full", (7, 5)), ("causal", (6, 6)), ("far", (6, 6)), ("band", (9, 11))]
STEPS = [(kind, (9, 4)) for kind in ("causal", "far")]  # of stairs
BAND = {"low": -3, "high": 2}
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 5e-2}


def allowed_in(tile):
    i, j = torch.arange(tile.height)[:, None], torch.arange(tile.width)[None]
    return {
        "full": i >= 0,
        "causal": j <= i,
        "far": j >= i - (tile.height - tile.width),
        "band": (i - j >= tile.low) & (i - j <= tile.high),
    }[tile.kind]


def dense(tile, query, key, value, scale):
    group = query.shape[1] // key.shape[1]
    scores = scale * query @ key.repeat_interleave(group, 1).mT
    scores = scores.masked_fill(~allowed_in(tile), -torch.inf)
    return torch.softmax(scores, -1) @ value.repeat_interleave(group, 1), scores.logsumexp(-1)


def assert_dense(tile, query, key, value, grad):
    """Compare a tile's output, log-sum-exp and gradients with dense attention in float64."""
    output, sums = tile_forward(tile, query, key, value, 0.7)
    found = tile_backward(tile, QueryRows(query, output, grad, sums), key, value, 0.7)
    inputs = [tensor.double().requires_grad_() for tensor in (query, key, value)]
    expected, expected_sums = dense(tile, *inputs, 0.7)
    gradients = torch.autograd.grad(expected, inputs, grad.double())
    assert sums.dtype == (torch.float64 if query.dtype == torch.float64 else torch.float32)
    for ours, theirs in zip((output, sums, *found), (expected, expected_sums, *gradients), strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=TOLERANCE[query.dtype], atol=TOLERANCE[query.dtype])


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(("kind", "size"), SHAPES + STEPS)
@given(st.data())
def test_a_tile_equals_dense_attention(plain, kind, size, data):
    dtype = data.draw(st.sampled_from([torch.float64, torch.float32, torch.bfloat16]))
    kv_heads, group = data.draw(st.sampled_from([(1, 1), (2, 1), (1, 3), (2, 2)]))
    head_dim, batch = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 2))
    height, width = size
    tile = Tile(kind, 0, 0, height, width, **(BAND if kind == "band" else {}))
    torch.manual_seed(data.draw(st.integers(0, 100)))
    query, grad = (torch.randn(batch, kv_heads * group, height, head_dim, dtype=dtype) for _ in range(2))
    # as they come from a projection: tokens before heads in memory
    key, value = (torch.randn(batch, width, kv_heads, head_dim, dtype=dtype).transpose(1, 2) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch:
        if plain:
            patch.setattr(kernels, "fused_kernel", lambda _: "plain")
        assert_dense(tile, query, key, value, grad)


@pytest.mark.parametrize("height", [4 + 1024, 4 + 1025])
def test_a_step_with_too_many_rows_for_the_mask_is_reversed(height):
    tile = Tile("far", 0, 0, height, 4)
    query, grad, key, value = (torch.randn(1, 2, rows, 8, dtype=torch.float64) for rows in (height, height, 4, 4))
    assert_dense(tile, query, key, value, grad)


def test_the_cpu_serves_every_type_by_its_fused_kernel():
    assert {fused_kernel(torch.zeros(1, 1, 2, 3, dtype=dtype)) for dtype in TOLERANCE} == {"cpu"}
    assert fused_kernel(torch.zeros(1, 1, 2, 3, device="meta")) == "plain"
