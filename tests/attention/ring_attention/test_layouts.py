"""Shards hold every token once, in the order that the layout says."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from october.attention.ring_attention import layouts
from october.attention.ring_attention.layouts import LAYOUTS, Layout
from october.errors import OctoberError


@given(st.integers(0, 60), st.integers(1, 7), st.sampled_from(LAYOUTS))
def test_shards_partition_the_sequence_and_unshard_restores_it(length: int, world_size: int, layout: Layout) -> None:
    whole = torch.arange(2 * length).reshape(2, length)
    parts = [layouts.shard(whole, rank, world_size, layout) for rank in range(world_size)]
    positions = [layouts.shard_positions(length, rank, world_size, layout) for rank in range(world_size)]
    for part, place in zip(parts, positions, strict=True):
        torch.testing.assert_close(part, whole[:, place])
        assert part.is_contiguous()
    assert sorted(torch.cat(positions).tolist()) == list(range(length))
    assert torch.equal(layouts.unshard(parts, layout), whole)


def test_the_layouts_of_the_picture() -> None:
    held = {layout: [layouts.shard_positions(12, rank, 3, layout).tolist() for rank in range(3)] for layout in LAYOUTS}
    assert held == {
        "contiguous": [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]],
        "striped": [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]],
        "zigzag": [[0, 1, 10, 11], [2, 3, 8, 9], [4, 5, 6, 7]],
    }


@pytest.mark.parametrize("layout", ["striped", "zigzag"])
def test_causal_work_is_balanced(layout: Layout) -> None:
    pairs = [(layouts.shard_positions(4096, rank, 8, layout) + 1).sum().item() for rank in range(8)]
    assert max(pairs) <= 1.05 * sum(pairs) / 8


def test_mistakes() -> None:
    with pytest.raises(OctoberError, match="layout='spiral': must be one of contiguous, striped, zigzag"):
        layouts.shard(torch.zeros(1, 4), 0, 2, "spiral")  # type: ignore[arg-type]
    with pytest.raises(OctoberError, match="rank=2: must be 0 to 1 in a ring of 2"):
        layouts.shard(torch.zeros(1, 4), 2, 2, "zigzag")
    with pytest.raises(OctoberError, match="shard 0 of 2 has 1 tokens; layout contiguous of 4 tokens gives it 2"):
        layouts.unshard([torch.zeros(1, 1), torch.zeros(1, 3)], "contiguous")
