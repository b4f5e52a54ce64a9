"""Pairs of query and key between ranks, against a loop over all pairs and against the tiles that are computed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from october.attention.ring_attention.layouts import LAYOUTS, shard_positions, shard_runs
from october.attention.ring_attention.tiles import Mask
from october.attention.ring_attention.work_balance import attended_pairs, imbalance
from october.errors import OctoberError


@given(
    sequence=st.integers(1, 40),
    world_size=st.integers(1, 5),
    layout=st.sampled_from(LAYOUTS),
    window=st.none() | st.integers(1, 50),
)
def test_every_pair_is_counted_once_where_it_is_computed(
    sequence: int, world_size: int, layout: str, window: int | None
) -> None:
    held = [shard_positions(sequence, rank, world_size, layout).tolist() for rank in range(world_size)]
    expected = [
        [sum(0 <= query - key < (window or sequence) for query in queries for key in keys) for keys in held]
        for queries in held
    ]
    assert attended_pairs(sequence, world_size, layout, window).tolist() == expected


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("window", [None, 1, 200, 700])
def test_it_is_what_the_ring_computes(layout: str, window: int | None) -> None:
    sequence, world_size = 1200, 4
    runs = [shard_runs(sequence, rank, world_size, layout) for rank in range(world_size)]
    mask = Mask(causal=True, sliding_window=window)
    computed = [[sum(t.num_pairs for t in mask.tiles(queries, keys)) for keys in runs] for queries in runs]
    assert attended_pairs(sequence, world_size, layout, window).tolist() == computed


@pytest.mark.parametrize("world_size", [2, 4, 8])
def test_the_balance_of_the_layouts(world_size: int) -> None:
    sequence = 4096
    contiguous, striped, zigzag = (imbalance(attended_pairs(sequence, world_size, name)) for name in LAYOUTS)
    assert contiguous == pytest.approx(2 - 1 / world_size, rel=1e-3)
    assert striped == pytest.approx(1, abs=2 * world_size / sequence)
    assert zigzag == 1.0


def test_mistakes_get_one_line() -> None:
    with pytest.raises(OctoberError, match=r"layout='spiral': must be one of contiguous, striped, zigzag"):
        attended_pairs(8, 2, "spiral")  # type: ignore[arg-type]
    with pytest.raises(OctoberError, match="sliding_window=0: must be at least 1"):
        attended_pairs(8, 2, "striped", 0)
