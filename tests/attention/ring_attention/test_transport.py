import time

import pytest
import torch
import torch.distributed as dist

from october.attention.ring_attention.transport import Event, RingError, Transport
from october.errors import OctoberError

WHAT = "keys and values"
LARGE = 4_000_000  # more bytes than the system's buffers hold, so that someone must take them


def shift_round(sizes, dtype):
    """Each rank sends `size` numbers that tell its rank and hop to the next; return what came from the previous."""
    transport = Transport(time_limit=20)
    following, previous = (transport.rank + 1) % transport.world_size, (transport.rank - 1) % transport.world_size
    buffers = [torch.full((size,), -1, dtype=dtype) for size in sizes]
    exchanges = []
    for hop, buffer in enumerate(buffers):
        message = torch.full_like(buffer, 10 * hop + transport.rank)
        exchanges.append(transport.exchange([(message, following)], [(buffer, previous)], hop=hop, what=WHAT))
    for exchange in exchanges + exchanges:
        exchange.wait()
    return buffers, transport.bytes_sent, transport.bytes_received, transport.messages_sent


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_messages_arrive_in_order_and_are_counted(pool, world_size, dtype):
    sizes = (5, 0, 70_001, 1)
    for rank, (received, *counts) in enumerate(pool(world_size).run(shift_round, sizes, dtype)):
        for hop, (size, buffer) in enumerate(zip(sizes, received, strict=True)):
            assert torch.equal(buffer, torch.full((size,), 10 * hop + (rank - 1) % world_size, dtype=dtype))
        assert counts == [dtype.itemsize * sum(sizes), dtype.itemsize * sum(sizes), 3]


def exchange_within(members):
    groups = [dist.new_group(ranks) for ranks in members]
    place = next(index for index, ranks in enumerate(members) if dist.get_rank() in ranks)
    transport = Transport(groups[place], time_limit=20)
    other = 1 - transport.rank
    buffer = torch.empty(1)
    message = torch.tensor([float(dist.get_rank())])
    transport.exchange([(message, other)], [(buffer, other)], hop=0, what=WHAT).wait()
    try:
        Transport(groups[1 - place])
    except OctoberError as error:
        return transport.rank, transport.world_size, buffer.item(), str(error)


def test_peers_are_ranks_in_the_group(pool):
    refusal = "ring attention: group: the process of global rank {} is not in it"
    assert pool(4).run(exchange_within, [[0, 3], [1, 2]]) == [
        (0, 2, 3.0, refusal.format(0)),
        (0, 2, 2.0, refusal.format(1)),
        (1, 2, 1.0, refusal.format(2)),
        (1, 2, 0.0, refusal.format(3)),
    ]


def use_tags():
    transport = Transport(time_limit=20)
    peer = 1 - transport.rank
    first, second = torch.empty(2), torch.empty(2)
    order = ((1, first), (2, second)) if transport.rank == 0 else ((2, second), (1, first))
    exchanges = [
        transport.exchange([(torch.full((2,), float(tag)), peer)], [(buffer, peer)], hop=0, what=WHAT, tag=tag)
        for tag, buffer in order
    ]
    for exchange in exchanges:
        exchange.wait()
    return first.tolist(), second.tolist()


def test_tags_keep_messages_apart_whatever_their_order(pool):
    assert pool(2).run(use_tags) == [([1.0, 1.0], [2.0, 2.0])] * 2


def wait_twice(side):
    """Rank 1 waits for rank 0, which does nothing, and then tries again."""
    transport = Transport(time_limit=0.5)
    if transport.rank == 0:
        time.sleep(1)
        return
    message = [(torch.zeros(LARGE), 0)]
    pairs = {"sends": message if side == "send" else [], "receives": message if side == "receive" else []}
    try:
        transport.exchange(**pairs, hop=2, what=WHAT).wait()
    except RingError:
        transport.exchange(**pairs, hop=3, what=WHAT)


@pytest.mark.parametrize(
    ("side", "line"),
    [
        ("receive", "no keys and values from rank 0 (hop 2) within 0.5 s"),
        ("send", "rank 0 did not take keys and values (hop 2) within 0.5 s"),
    ],
)
def test_a_peer_that_stalls_is_named_and_the_group_not_used_again(pool, side, line):
    own = "ring attention, rank 1: "
    idle, waiting = pool(2).outcomes(wait_twice, side, time_limit=10, patience=5)
    assert idle.failure is None
    assert waiting.failure == f"{own}the group cannot be used after a failure ({own}{line})"
    assert waiting.seconds < 5


def wait_for_a_leaver(side):
    if dist.get_rank() == 0:
        dist.destroy_process_group()
        raise OctoberError("rank 0 has left")
    transport = Transport(time_limit=30)
    message = [(torch.zeros(LARGE), 0)]
    transport.exchange(message if side == "send" else [], message if side == "receive" else [], hop=1, what=WHAT).wait()


@pytest.mark.parametrize("side", ["receive", "send"])
def test_a_peer_that_ends_is_named_at_once(pool, side):
    _, waiting = pool(2).outcomes(wait_for_a_leaver, side, time_limit=25, patience=20)
    line = "ring attention, rank 1: rank 0 closed the connection at hop 1 (keys and values): "
    assert waiting.failure.startswith(line)
    assert waiting.failure[len(line) :].strip()  # what the backend says of it


def over_a_slow_link(sizes, rate, time_limit):
    """Return the seconds that each message of `sizes` bytes took, counted from the posting of the first."""
    transport = Transport(time_limit=time_limit, bytes_per_second=rate)
    transport.events = []
    peer = 1 - transport.rank
    exchanges = []
    for hop, size in enumerate(sizes):
        message, buffer = torch.zeros(size, dtype=torch.uint8), torch.empty(size, dtype=torch.uint8)
        exchanges.append(transport.exchange([(message, peer)], [(buffer, peer)], hop=hop, what=WHAT))
    with transport.record("compute", 7):
        time.sleep(0.01)
    for exchange in exchanges:
        exchange.wait()
    return transport.events


def test_a_slowed_link_carries_one_message_after_the_other_and_the_timeline_shows_it(pool):
    for events in pool(2).run(over_a_slow_link, (1_000, 3_000), 20_000, 30):
        assert [(event.what, event.hop) for event in events] == [
            ("compute", 7),
            (f"waiting for {WHAT}", 0),
            (WHAT, 0),
            (f"waiting for {WHAT}", 1),
            (WHAT, 1),
        ]
        compute, first_wait, first, second_wait, second = (Event(*event) for event in events)
        assert compute.end - compute.start >= 0.01
        assert first.end - first.start >= 1_000 / 20_000
        assert second.end - first.start >= 4_000 / 20_000
        assert first.start <= compute.start <= first_wait.start <= first_wait.end <= second_wait.start <= second.end


def test_a_link_too_slow_for_the_time_limit_is_an_error(pool):
    line = r"^ring attention, rank \d: no keys and values from rank \d \(hop 0\) within 0.2 s$"
    with pytest.raises(OctoberError, match=line):
        pool(2).run(over_a_slow_link, (1_000,), 1_000, 0.2)


def test_one_process_needs_no_group(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    transport = Transport()
    assert (transport.rank, transport.world_size) == (0, 1)
    transport.exchange([], [], hop=0, what=WHAT).wait()
    assert (transport.bytes_sent, transport.messages_sent) == (0, 0)


def test_several_processes_without_a_group_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(OctoberError, match=r"WORLD_SIZE=4, but the processes form no group"):
        Transport()


def test_a_message_that_is_not_contiguous_is_refused():
    with pytest.raises(ValueError, match=r"keys and values of hop 1, to or from rank 2: a message must be contiguous"):
        Transport().exchange([(torch.zeros(3, 4).T, 2)], [], hop=1, what=WHAT)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"time_limit": 0.0}, "time_limit=0.0: seconds, more than 0"),
        ({"bytes_per_second": -1.0}, "bytes_per_second=-1.0: more than 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, line):
    with pytest.raises(OctoberError) as caught:
        Transport(**settings)
    assert str(caught.value).startswith(line)
