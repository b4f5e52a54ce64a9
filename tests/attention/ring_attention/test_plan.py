"""What travels, how far, and who computes how much."""

import math

import pytest
import torch
import torch.distributed as dist
from dense_reference import allowed_pairs
from hypothesis import given
from hypothesis import strategies as st

from october.attention.ring_attention import Ring, ring_attention, shard, shard_positions
from october.attention.ring_attention.layouts import LAYOUTS
from october.attention.ring_attention.plan import Journey, Work, default_pieces, journey, shortest_piece
from october.attention.ring_attention.tiles import Mask


@pytest.mark.parametrize("window", [1, 2, 17, 64, 65, 66, 129, 400, 1000])
def test_with_a_contiguous_layout_keys_travel_as_far_as_the_window_reaches(window):
    world, shard_size = 8, 64
    plan = Journey(world * shard_size, world, "contiguous", Mask(True, window), 2)
    reach = math.ceil((window - 1) / shard_size)
    for source in range(world):
        assert plan.routes[source] == list(range(source, min(source + reach, world - 1) + 1))


def test_without_a_window_causal_keys_never_travel_to_earlier_ranks():
    plan = Journey(64, 4, "contiguous", Mask(), 1)
    assert plan.routes == [[0, 1, 2, 3], [1, 2, 3], [2, 3], [3]]
    assert Journey(64, 4, "zigzag", Mask(), 1).routes == [[0, 1, 2, 3], [1, 2, 3, 0], [2, 3, 0, 1], [3, 0, 1, 2]]


def test_a_zigzag_with_a_window_leaves_out_the_ranks_between():
    """Neighbouring chunks lie on the neighbouring ranks, on either side."""
    assert Journey(160, 5, "zigzag", Mask(True, 8), 1).routes[2] == [2, 3, 1]


@given(
    st.integers(1, 60),
    st.integers(1, 6),
    st.sampled_from(LAYOUTS),
    st.booleans(),
    st.one_of(st.none(), st.integers(1, 30)),
    st.integers(1, 4),
)
def test_all_ranks_together_compute_each_pair_once(length, world, layout, causal, window, pieces):
    plan = journey(length, world, layout, Mask(causal, window), pieces)
    total = sum(Work(plan, rank, None).num_pairs() for rank in range(world))
    assert total == int(allowed_pairs(length, causal=causal, window=window).sum())


@pytest.mark.parametrize("layout", ["striped", "zigzag"])
@pytest.mark.parametrize("pieces", [1, 4])
def test_the_work_of_every_round_is_balanced(layout, pieces):
    """Not only in sum: a ring goes at the pace of its busiest rank, round by round."""
    world = 4
    plan = journey(4096, world, layout, Mask(), pieces)
    work = [Work(plan, rank, None) for rank in range(world)]
    for piece in range(pieces):
        for hop in range(1, world):
            pairs = [
                sum(tile.num_pairs for tile in work[rank].tiles((rank - hop) % world, piece)) for rank in range(world)
            ]
            assert max(pairs) <= 1.05 * sum(pairs) / world


def test_pieces_hold_every_token_once():
    plan = journey(61, 3, "zigzag", Mask(causal=False), 4)
    for source in range(3):
        seen = [p for piece in range(4) for run in plan.piece_runs(source, piece)[1] for p in run.positions]
        assert sorted(seen) == sorted(shard_positions(61, source, 3, "zigzag").tolist())


def test_short_shards_travel_whole():
    lengths = (16, 4096, 12 * 1024, 16 * 1024)
    assert [default_pieces(length, 4, "contiguous", Mask(), 1024) for length in lengths] == [1, 1, 1, 4]
    for window, pieces in ((4096, 1), (4097, 4), (8193, 8)):  # of a longer shard's keys, others need the last W - 1
        assert default_pieces(1 << 20, 4, "contiguous", Mask(sliding_window=window), 1024) == pieces


def test_longer_shards_travel_in_more_pieces_up_to_sixteen():
    lengths = (16 * 1024, 20 * 1024 - 4, 20 * 1024, 64 * 1024, 1 << 20)
    assert [default_pieces(length, 4, "contiguous", Mask(), 1024) for length in lengths] == [4, 4, 5, 16, 16]


@pytest.mark.parametrize(("dtype", "tokens", "pieces"), [(torch.float32, 256, 16), (torch.bfloat16, 512, 8)])
def test_a_piece_is_as_short_as_its_type_allows(dtype, tokens, pieces):
    shortest = shortest_piece(torch.empty(1, dtype=dtype))
    assert (shortest, default_pieces(16 * 1024, 4, "contiguous", Mask(), shortest)) == (tokens, pieces)
    assert shortest_piece(torch.empty(1, dtype=dtype, device="meta")) == 1024


def traffic(layout, length, window, backward):
    """Bytes that this rank sends, forward and backward apart."""
    rank, world = dist.get_rank(), dist.get_world_size()
    ring = Ring()
    parts = [shard(torch.randn(1, n, length, 4), rank, world, layout, dim=2).requires_grad_() for n in (4, 2, 2)]
    ring_attention(*parts, ring, layout=layout, sliding_window=window)  # agrees on the signature
    ring.transport.reset_counters()
    output = ring_attention(*parts, ring, layout=layout, sliding_window=window)
    forward = ring.transport.bytes_sent
    output.sum().backward()
    return forward, ring.transport.bytes_sent - forward


def test_the_last_keys_of_a_causal_zigzag_stay_at_home():
    """Chunk 2 N - 1 is the first rank's, and no later token reads it."""
    plan = journey(60, 3, "zigzag", Mask(), 2)
    assert [[run.start for run in runs] for runs in plan.travelling] == [[0], [10, 40], [20, 30]]


@pytest.mark.parametrize(("causal", "window"), [(True, None), (True, 3), (True, 9), (True, 30), (False, 4), (False, 9)])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("world", [2, 3, 4])
def test_what_travels_is_what_others_attend_to(world, layout, causal, window):
    """The first and the last token of each run that is needed, and all between; by looking at every pair."""
    plan = journey(61, world, layout, Mask(causal, window), 1)
    positions = [[list(run.positions) for run in runs] for runs in plan.runs]

    def attended(source, key):
        others = (query for rank in range(world) if rank != source for run in positions[rank] for query in run)
        reach = 61 if window is None else window
        return any((not causal or key <= query) and abs(query - key) < reach for query in others)

    for source, runs in enumerate(positions):
        expected = []
        for run in runs:
            needed = [index for index, key in enumerate(run) if attended(source, key)]
            if needed:
                expected.append(run[needed[0] : needed[-1] + 1])
        assert [list(run.positions) for run in plan.travelling[source]] == expected


def test_bytes_of_a_full_ring(pool):
    """Forward N - 1 blocks of keys and values; backward the same again, and as many of float32 gradients."""
    token = 2 * 2 * 4 * 4  # k and v, 2 heads, 4 numbers of 4 bytes: un-repeated heads
    block = 8 * token
    # striped: no later token reads the last one, which is the last rank's
    for rank, (forward, backward) in enumerate(pool(4).run(traffic, "striped", 32, None, True)):
        keys, gradients = (0 if rank == 2 else token), (0 if rank == 3 else token)
        assert forward == 3 * block - keys
        assert backward == 6 * block - keys - gradients
    # zigzag: half of the first rank's block travels; every other rank passes it on once, or the last one home
    for rank, (forward, backward) in enumerate(pool(4).run(traffic, "zigzag", 32, None, True)):
        halves, home = (1 if rank < 3 else 0), (1 if rank > 0 else 0)
        assert forward == 3 * block - halves * block // 2
        assert backward == 6 * block - (halves + home) * block // 2


def test_bytes_of_a_window(pool):
    """Two blocks back at most: ranks 1 and 2 send their own and the one before; rank 3 sends nothing forward."""
    block = 2 * 2 * 8 * 4 * 4  # shorter than the window's other 9 tokens, so that all of it travels
    sent = pool(4).run(traffic, "contiguous", 32, 10, True)
    assert [forward for forward, _ in sent] == [block, 2 * block, 2 * block, 0]
    # gradients: from its last reader home, by way of those between
    assert [backward - forward for forward, backward in sent] == [0, block, 2 * block, 2 * block]


def test_a_window_shorter_than_a_block_takes_its_last_tokens_along(pool):
    """The other W - 1 tokens of the window, one rank on; their gradients come back."""
    part = 2 * 2 * 5 * 4 * 4
    sent = pool(4).run(traffic, "contiguous", 32, 6, True)
    assert [forward for forward, _ in sent] == [part, part, part, 0]
    assert [backward - forward for forward, backward in sent] == [0, part, part, part]
