import time

import pytest
import torch

from october.attention.ring_attention.transport import RingError, Transport


def shift_round(sizes):
    """Each rank sends `size` numbers that tell its rank and hop to the next; return what came from the previous."""
    transport = Transport(time_limit=20)
    rank, world_size = transport.rank, transport.world_size
    received = []
    for hop, size in enumerate(sizes):
        buffer = torch.full((size,), -1.0)
        message = torch.full((size,), 100.0 * hop + rank)
        exchange = transport.exchange(
            [(message, (rank + 1) % world_size)], [(buffer, (rank - 1) % world_size)], hop=hop, what="keys and values"
        )
        exchange.wait()
        exchange.wait()
        received.append(buffer)
    return received, transport.bytes_sent, transport.bytes_received, transport.messages_sent


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_messages_arrive_in_order_and_are_counted(pool, world_size):
    sizes = (5, 0, 70_001, 1)
    for rank, (received, *counts) in enumerate(pool(world_size).run(shift_round, sizes)):
        previous = (rank - 1) % world_size
        for hop, (size, buffer) in enumerate(zip(sizes, received, strict=True)):
            assert torch.equal(buffer, torch.full((size,), 100.0 * hop + previous))
        assert counts == [4 * sum(sizes), 4 * sum(sizes), 3]


def wait_for_nobody():
    transport = Transport(time_limit=0.5)
    if transport.rank == 0:
        return None
    buffer = torch.empty(3)
    start = time.perf_counter()
    lines = []
    for _ in range(2):
        try:
            transport.exchange([], [(buffer, 0)], hop=2, what="keys and values").wait()
        except RingError as error:
            lines.append(str(error))
    return lines, time.perf_counter() - start


def test_a_message_that_does_not_come_is_named_and_the_group_not_used_again(pool):
    _, (lines, seconds) = pool(2).run(wait_for_nobody)
    first = "ring attention, rank 1: no keys and values from rank 0 (hop 2) within 0.5 s"
    assert lines == [first, f"ring attention, rank 1: the group cannot be used after a failure ({first})"]
    assert 0.5 <= seconds < 5
