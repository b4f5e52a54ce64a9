"""Section 3: a hop's work and traffic, the minimal block, and how far a window reaches."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from october.attention.ring_attention.interconnect import (
    DEVICES,
    hop_cost,
    hops_in_reach,
    minimal_block,
    minimal_sequence,
)
from october.errors import OctoberError

BATCH, NUM_HEADS, BLOCK, HEAD_DIM = 2, 6, 12, 8


@pytest.mark.parametrize("num_kv_heads", [1, 3, 6])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_hop_is_what_its_matrix_products_and_messages_are(num_kv_heads: int, dtype: torch.dtype) -> None:
    query = torch.ones(BATCH, NUM_HEADS, BLOCK, HEAD_DIM, dtype=dtype)
    key = torch.ones(BATCH, num_kv_heads, BLOCK, HEAD_DIM, dtype=dtype)
    held = key.repeat_interleave(NUM_HEADS // num_kv_heads, dim=1)
    with FlopCounterMode(display=False) as forward:
        scores = query @ held.mT
        scores @ held
    with FlopCounterMode(display=False) as backward:
        again = query @ held.mT
        of_scores = query @ held.mT
        again.mT @ query
        of_scores @ held
        of_scores.mT @ query
    sizes = {
        "num_heads": NUM_HEADS,
        "num_kv_heads": num_kv_heads,
        "head_dim": HEAD_DIM,
        "bytes_per_element": dtype.itemsize,
        "batch": BATCH,
    }
    there = hop_cost(BLOCK, **sizes)
    assert there.flops == forward.get_total_flops()
    assert there.bytes_sent == 2 * key.nbytes
    back = hop_cost(BLOCK, direction="backward", **sizes)
    assert back.flops == backward.get_total_flops()
    assert back.bytes_sent == 2 * key.nbytes + 2 * key.float().nbytes
    assert hop_cost(BLOCK, causal=True, **sizes).flops == there.flops / 2


@given(
    device=st.sampled_from(sorted(DEVICES)),
    group=st.integers(1, 16),
    bytes_per_element=st.sampled_from([2, 4, 8]),
    direction=st.sampled_from(["forward", "backward"]),
    causal=st.booleans(),
    head_dim=st.integers(1, 256),
)
def test_work_and_transfer_take_as_long_at_the_minimal_block(
    device: str, group: int, bytes_per_element: int, direction: str, causal: bool, head_dim: int
) -> None:
    card = DEVICES[device]
    options = {"bytes_per_element": bytes_per_element, "direction": direction, "causal": causal}
    smallest = minimal_block(card, query_heads_per_kv_head=group, **options)
    for block in (max(1, int(smallest)), int(smallest) + 1):
        cost = hop_cost(block, num_heads=2 * group, num_kv_heads=2, head_dim=head_dim, **options)
        hidden = cost.flops / card.flops_per_second >= cost.bytes_sent / card.bytes_per_second
        assert hidden == (block >= smallest)


@pytest.mark.parametrize(
    ("name", "block", "sequence"),
    [
        ("A100 NVLink", "1.0", "6.2"),
        ("A100 InfiniBand", "25.0", "149.8"),  # printed 24.5 and 149.5, which F / B does not give
        ("TPU v3", "1.1", "6.6"),
        ("TPU v4", "1.0", "6.2"),
        ("TPU v5e", "1.1", "6.3"),
    ],
)
def test_table_2(name: str, block: str, sequence: str) -> None:
    device = DEVICES[name]
    assert minimal_block(device) == pytest.approx(device.flops_per_second / device.bytes_per_second)
    assert f"{minimal_block(device) / 1000:.1f}" == block
    assert f"{minimal_sequence(device) / 1000:.1f}" == sequence


@given(world_size=st.integers(1, 6), block=st.integers(1, 9), window=st.integers(1, 60))
def test_a_window_reaches_the_blocks_that_hold_a_key_it_sees(world_size: int, block: int, window: int) -> None:
    needed = max(
        query // block - key // block
        for query in range(world_size * block)
        for key in range(max(0, query - window + 1), query + 1)
    )
    assert hops_in_reach(world_size, block, window) == needed
    assert hops_in_reach(world_size, block) == world_size - 1


def test_mistakes_get_one_line() -> None:
    with pytest.raises(OctoberError, match="direction='sideways': one of forward, backward"):
        hop_cost(1, num_heads=1, head_dim=1, direction="sideways")  # type: ignore[arg-type]
    with pytest.raises(OctoberError, match="num_heads=4: not a multiple of num_kv_heads=3"):
        hop_cost(1, num_heads=4, num_kv_heads=3, head_dim=1)
    with pytest.raises(OctoberError, match="sliding_window=0: must be at least 1"):
        hops_in_reach(2, 4, 0)
