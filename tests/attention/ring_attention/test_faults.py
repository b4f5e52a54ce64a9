"""What goes wrong on one rank ends every rank in time, with one line that says where."""

import os
import re
import signal

import pytest
import torch
import torch.distributed as dist

from october.attention.processes import Processes
from october.attention.ring_attention import Ring, ring_attention
from october.errors import OctoberError

WORLD_SIZE = 4
LIMIT = 2.0  # seconds in which a message must arrive
SHARD = 4_000  # tokens on a rank: messages larger than the system's buffers


def shards(*, shard=SHARD, batch=1, heads=2, kv_heads=2, head_dim=16, dtype=torch.float32):
    generator = torch.Generator().manual_seed(dist.get_rank())
    shapes = [(batch, count, shard, head_dim) for count in (heads, kv_heads, kv_heads)]
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]


def end_at_message(ring, number, fault):
    """Have this process end itself, or stop, when it posts that message from now on."""
    post, posted = ring.transport.exchange, []

    def exchange(*arguments, **options):
        posted.append(options["hop"])
        if len(posted) == number:
            os.kill(os.getpid(), fault)
        return post(*arguments, **options)

    ring.transport.exchange = exchange


def attend_with_fault(victim, direction, fault):
    ring = Ring(time_limit=LIMIT)
    query, key, value = shards()
    attend = {"causal": True, "layout": "zigzag"}
    ring_attention(query, key, value, ring, **attend)  # agrees, so that what follows is the ring's own messages
    if ring.rank == victim and direction == "forward":
        end_at_message(ring, 2, fault)
    output = ring_attention(query, key, value, ring, **attend)
    if ring.rank == victim and direction == "backward":
        end_at_message(ring, 3, fault)
    output.sum().backward()


@pytest.fixture(scope="module")
def processes():
    """Processes that these tests may kill."""
    with Processes(WORLD_SIZE) as processes:
        yield processes


def peer_named(rank, line):
    """Check a rank's line and return the peer that it names, which must be a neighbour."""
    what = "(?:gradients of )?keys and values"
    match = re.fullmatch(
        rf"ring attention, rank {rank}: (?:"
        rf"no {what} from rank (\d) \(hop \d\) within 2 s"
        rf"|rank (\d) did not take {what} \(hop \d\) within 2 s"
        rf"|rank (\d) closed the connection at hop \d \({what}\): .+)",
        line,
    )
    assert match, line
    peer = int(next(filter(None, match.groups())))
    assert peer in ((rank - 1) % WORLD_SIZE, (rank + 1) % WORLD_SIZE)
    return peer


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
def test_a_rank_that_dies_or_stalls_in_mid_ring_ends_all_others(processes, fault, direction):
    victim = 1
    outcomes = processes.outcomes(attend_with_fault, victim, direction, int(fault), time_limit=60, patience=LIMIT + 1)
    peers = {peer_named(outcome.rank, outcome.failure) for outcome in outcomes if outcome.rank != victim}
    assert victim in peers
    assert outcomes[victim].died == (fault == signal.SIGKILL)


def attend_again_after_a_fault():
    """Rank 0 stays away from the second call; rank 1 makes it, and a third."""
    ring = Ring(time_limit=0.5)
    tensors = shards(shard=4)
    ring_attention(*tensors, ring)
    if ring.rank == 0:
        return
    try:
        ring_attention(*tensors, ring)
    except OctoberError:
        ring_attention(*tensors, ring)


def test_a_ring_that_failed_is_not_used_again(pool):
    outcomes = pool(2).outcomes(attend_again_after_a_fault, time_limit=20, patience=5)
    assert "rank 1: the group cannot be used after a failure" in outcomes[1].failure


def attend_as_told(tensors, options):
    """Attend with this rank's own sizes and options; if that fails, tell how many messages of the ring it took."""
    rank = dist.get_rank()
    ring = Ring(time_limit=20)
    query, key, value = shards(**{"shard": 6, **tensors[rank]})
    options = dict(options[rank])
    if options.pop("documents", False):
        options["segment_ids"] = torch.zeros(1, 6, dtype=torch.long)
    hops = []
    post = ring.transport.exchange

    def exchange(*arguments, what, **rest):
        hops.append(what)
        return post(*arguments, what=what, **rest)

    ring.transport.exchange = exchange
    try:
        ring_attention(query, key, value, ring, **options)
    except OctoberError as error:
        raise OctoberError(f"{error} | {sorted(set(hops))}") from error


SAME = [{}, {}, {}]


@pytest.mark.parametrize(
    ("tensors", "options", "difference"),
    [
        ([{}, {"batch": 2}, {}], SAME, "batch: 0: 1, 1: 2, 2: 1"),
        ([{}, {}, {"heads": 4}], SAME, "heads: 0: 2, 1: 2, 2: 4"),
        ([{"kv_heads": 1}, {}, {}], SAME, "key/value heads: 0: 1, 1: 2, 2: 2"),
        ([{}, {"head_dim": 64}, {}], SAME, "head_dim: 0: 16, 1: 64, 2: 16; scale: 0: 0.25, 1: 0.125, 2: 0.25"),
        ([{}, {}, {"shard": 7}], SAME, "sequence_length: 0: 18, 1: 18, 2: 21"),
        ([{}, {"dtype": torch.bfloat16}, {}], SAME, "dtype: 0: torch.float32, 1: torch.bfloat16, 2: torch.float32"),
        (SAME, [{}, {}, {"layout": "striped"}], "layout: 0: zigzag, 1: zigzag, 2: striped"),
        (SAME, [{"causal": False}, {}, {}], "causal: 0: False, 1: True, 2: True"),
        (SAME, [{}, {"sliding_window": 3}, {"sliding_window": 4}], "sliding_window: 0: None, 1: 3, 2: 4"),
        (SAME, [{}, {"scale": 0.5}, {"scale": 0.5}], "scale: 0: 0.25, 1: 0.5, 2: 0.5"),
        (SAME, [{}, {"documents": True}, {}], "segment_ids: 0: False, 1: True, 2: False"),
    ],
)
def test_what_differs_between_ranks_is_told_by_all_before_the_first_hop(pool, tensors, options, difference):
    failures = [outcome.failure for outcome in pool(3).outcomes(attend_as_told, tensors, options)]
    assert len(set(failures)) == 1
    assert failures[0].startswith(f"ring attention: ranks differ in {difference}")
    assert failures[0].endswith(" | ['signature']")


def attend_out_of_step(lengths):
    """Attend to sequences of two lengths, so that all agree on both; then take one on rank 0, the other on rank 1."""
    ring = Ring(time_limit=0.5)
    for length in lengths:
        ring_attention(*shards(shard=length), ring)
    ring_attention(*shards(shard=lengths[ring.rank]), ring)


def test_ranks_that_get_out_of_step_between_known_signatures_end_too(pool):
    outcomes = pool(2).outcomes(attend_out_of_step, (4, 4_000), time_limit=20, patience=5)
    for outcome in outcomes:
        assert outcome.failure.startswith(f"ring attention, rank {outcome.rank}: ")
        assert "keys and values" in outcome.failure


def attend_in_different_groups():
    """Ranks 0 and 1 take the ring to be all three; rank 2 takes it to be a pair of itself and rank 1."""
    pair = dist.new_group([1, 2])
    group = pair if dist.get_rank() == 2 else None
    ring_attention(*shards(shard=4), Ring(group, time_limit=1.0))


def test_ranks_that_take_different_groups_for_the_ring_end_before_the_first_hop(pool):
    outcomes = pool(3).outcomes(attend_in_different_groups, time_limit=20, patience=5)
    lines = [outcome.failure for outcome in outcomes]
    assert lines[2].startswith("ring attention, rank 1: no signature from rank 0 (hop 0) within 1 s")
    for line in lines[:2]:
        assert re.match(
            r"ring attention, rank \d: (no signature from rank|rank \d closed the connection at hop 0)", line
        )


def attend_with(number, place, rank):
    """Attend with one number put into an input, or into the gradient of the output, of one rank."""
    tensors = dict(zip(("query", "key", "value"), shards(shard=6), strict=True))
    if dist.get_rank() == rank and place in tensors:
        tensors[place].data[0, 1, 2, 3] = number
    output = ring_attention(**tensors, group=Ring(time_limit=20, check_finite=True))
    gradient = torch.zeros_like(output)
    if dist.get_rank() == rank and place == "gradient of the output":
        gradient[0, 0, 0, :2] = number
    output.backward(gradient)


@pytest.mark.parametrize(
    ("number", "place", "count"),
    [
        (float("nan"), "query", 1),
        (float("inf"), "key", 1),
        (float("nan"), "value", 1),
        (float("-inf"), "gradient of the output", 2),
    ],
)
def test_a_number_that_is_not_finite_is_reported_at_its_source(pool, number, place, count):
    failures = {outcome.failure for outcome in pool(3).outcomes(attend_with, number, place, 1)}
    assert failures == {f"ring attention: numbers that are NaN or infinite: {count} in {place} on rank 1"}
