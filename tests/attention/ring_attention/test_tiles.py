"""Tiles cover exactly the pairs that a mask allows, each once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from october.attention.ring_attention import layouts, tiles
from october.attention.ring_attention.layouts import LAYOUTS, Layout, Run
from october.attention.ring_attention.tiles import Kind, Mask, Tile, band_tiles, cut_triangle, stairs
from october.errors import OctoberError


def painted(shape: tuple[int, int], parts: list[Tile]) -> np.ndarray:
    """How often each pair is computed."""
    count = np.zeros(shape, dtype=int)
    for tile in parts:
        i, j = np.mgrid[: tile.height, : tile.width]
        kinds = {
            "full": i >= 0,
            "causal": j <= i,
            "far": j >= i - (tile.height - tile.width),
            "band": (i - j >= tile.low) & (i - j <= tile.high),
        }
        count[tile.rows, tile.columns] += kinds[tile.kind]
    return count


def assert_same_pairs(tile: Tile, parts: list[Tile]) -> None:
    """Compare a tile with the parts that it was cut into."""
    shape = (tile.row + tile.height, tile.column + tile.width)
    np.testing.assert_array_equal(painted(shape, parts), painted(shape, [tile]))
    assert sum(part.num_pairs for part in parts) == tile.num_pairs
    assert {part.sequence for part in parts} == {tile.sequence}


@settings(max_examples=300)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(-50, 50),
    st.integers(-50, 50),
    st.booleans(),
    st.integers(1, 40),
)
def test_a_band_is_covered_once(height: int, width: int, low: int, high: int, narrow: bool, strip: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "NARROW", 7 if narrow else 0)
        patch.setattr(tiles, "STRIP", 8)
        patch.setattr(tiles, "WIDE_STRIP", strip)
        parts = band_tiles(height, width, low, high)
    i, j = np.mgrid[:height, :width]
    allowed = (i - j >= low) & (i - j <= high)
    np.testing.assert_array_equal(painted((height, width), parts), allowed)
    assert sum(part.num_pairs for part in parts) == allowed.sum()
    for part in parts:
        assert part.kind in ("full", "band") or part.height == part.width
        assert painted((height, width), [part])[part.rows].any(axis=1).all()  # no row without a key


@settings(max_examples=200)
@given(
    st.integers(1, 40),
    st.integers(1, 5),
    st.sampled_from(LAYOUTS),
    st.booleans(),
    st.one_of(st.none(), st.integers(1, 50)),
    st.data(),
)
def test_every_pair_of_shards_on_every_layout(
    length: int, world_size: int, layout: Layout, causal: bool, window: int | None, data: st.DataObject
) -> None:
    query_rank, key_rank = (data.draw(st.integers(0, world_size - 1)) for _ in range(2))
    queries = layouts.shard_runs(length, query_rank, world_size, layout)
    keys = layouts.shard_runs(length, key_rank, world_size, layout)
    mask = Mask(causal, window)
    parts = mask.tiles(queries, keys)
    i = layouts.shard_positions(length, query_rank, world_size, layout).numpy()[:, None]
    j = layouts.shard_positions(length, key_rank, world_size, layout).numpy()[None]
    allowed = np.ones((len(i), j.shape[1]), dtype=bool)
    if causal:
        allowed &= j <= i
    if window is not None:
        allowed &= np.abs(i - j) < window
    np.testing.assert_array_equal(painted(allowed.shape, parts), allowed)
    assert mask.reaches(queries, keys) == allowed.any()


@settings(max_examples=200)
@given(st.sampled_from(["causal", "far", "full"]), st.integers(1, 60), st.integers(1, 20), st.integers(0, 5))
def test_a_triangle_is_cut_into_the_same_pairs(kind: Kind, height: int, side: int, offset: int) -> None:
    tile = Tile(kind, offset, 2 * offset, height, height, sequence=offset)
    parts = cut_triangle(tile, side)
    assert_same_pairs(tile, parts)
    assert all(part.kind == "full" or part.height == part.width <= side for part in parts) or kind == "full"


@settings(max_examples=200)
@given(st.sampled_from(["causal", "far", "full"]), st.integers(1, 60), st.integers(1, 20), st.integers(0, 5))
def test_stairs_have_the_same_pairs_and_each_key_once(kind: Kind, height: int, side: int, offset: int) -> None:
    tile = Tile(kind, offset, 2 * offset, height, height, sequence=offset)
    parts = stairs(tile, side)
    assert_same_pairs(tile, parts)
    assert sum(part.width for part in parts) == height
    assert all(part.width <= side and part.width <= part.height for part in parts) or kind == "full"


def test_a_wide_window_costs_two_triangles_and_a_rectangle_a_strip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "WIDE_STRIP", 100)
    parts = Mask(True, 200).tiles([Run(0, 1, 300)], [Run(-200, 1, 500)])
    assert [tile.kind for tile in parts] == ["far", "full", "causal"] * 3
    assert {(tile.height, tile.width) for tile in parts} == {(100, 100), (100, 99)}


@pytest.mark.parametrize(("height", "width"), [(7, 5), (5, 7), (5, 5), (1, 5), (5, 1)])
@pytest.mark.parametrize("window", [None, 12])
def test_keys_that_all_queries_see_are_one_tile(height: int, width: int, window: int | None) -> None:
    parts = Mask(True, window).tiles([Run(width - 1, 1, height)], [Run(0, 1, width)])
    assert parts == [Tile("full", 0, 0, height, width)]


def test_a_window_of_no_key_is_refused() -> None:
    with pytest.raises(OctoberError, match="sliding_window=0: must be at least 1"):
        Mask(True, 0)
