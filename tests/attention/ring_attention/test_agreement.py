import time

import pytest
import torch
import torch.distributed as dist

from october.attention.ring_attention.agreement import agree, check_finite
from october.attention.ring_attention.transport import RingError, Transport
from october.errors import OctoberError

SIGNATURE = {"shape": (1, 2, 3), "sliding_window": None, "scale": 0.125, "causal": True, "layout": "zigzag"}


def messages_of_each_call(calls):
    """Make the calls of (signature, local values by rank or None); return the answers and messages of each."""
    transport = Transport(time_limit=20)
    answers = []
    for signature, local in calls:
        transport.reset_counters()
        told = agree(transport, signature, local=local and {"length": local[transport.rank]})
        answers.append((told, transport.messages_sent))
    return answers


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_a_signature_is_exchanged_once_and_what_is_local_always(pool, world_size):
    lengths = list(range(5, 5 + world_size))
    other = {**SIGNATURE, "sliding_window": 64}
    calls = [(SIGNATURE, lengths), (SIGNATURE, None), (other, None), (other, None), (other, lengths[::-1])]
    nothing = [{}] * world_size
    both = 2 * (world_size - 1)  # a length and a text to each of the others
    for answers in pool(world_size).run(messages_of_each_call, calls):
        assert answers == [
            ([{"length": length} for length in lengths], both),
            (nothing, 0),
            (nothing, both),
            (nothing, 0),
            ([{"length": length} for length in lengths[::-1]], both),
        ]


def agree_on(signatures):
    agree(Transport(time_limit=20), signatures[dist.get_rank()])


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ([{}, {}, {"sliding_window": 64}], "sliding_window: 0: None, 1: None, 2: 64"),
        ([{}, {"shape": (1, 2, 4)}, {}], "shape: 0: (1, 2, 3), 1: (1, 2, 4), 2: (1, 2, 3)"),
        ([{"dtype": None}, {}, {}], "dtype: 0: None, 1: missing, 2: missing"),
        ([{"layout": "striped"}, {}, {"causal": False}], "causal: 0: True, 1: True, 2: False; layout: 0: striped, "),
        ([{"world_size": 3}, {"world_size": 3}, {"world_size": 2}], "world_size: 0: 3, 1: 3, 2: 2"),
        ([{"mask": "a" * 70_000}, {"mask": "b"}, {"mask": "c"}], "mask: 0: aaa"),
    ],
)
def test_every_rank_reports_the_same_difference(pool, changes, line):
    signatures = [{**SIGNATURE, **change} for change in changes]
    failures = [outcome.failure for outcome in pool(3).outcomes(agree_on, signatures)]
    assert len(set(failures)) == 1
    assert failures[0].startswith(f"ring attention: ranks differ in {line}")


def agree_in_pairs(members, windows):
    groups = [dist.new_group(ranks) for ranks in members]
    place = next(index for index, ranks in enumerate(members) if dist.get_rank() in ranks)
    transport = Transport(groups[place], time_limit=20)
    told = agree(transport, {"sliding_window": windows[place]}, local={"rank": dist.get_rank()})
    return [each["rank"] for each in told]


def test_two_groups_agree_each_on_its_own(pool):
    assert pool(4).run(agree_in_pairs, [[0, 2], [1, 3]], [8, None]) == [[0, 2], [1, 3], [0, 2], [1, 3]]


def come_late(rank):
    if dist.get_rank() == rank:
        time.sleep(1)
    else:
        agree(Transport(time_limit=0.4), SIGNATURE)


def test_a_rank_that_does_not_come_is_named(pool):
    outcomes = pool(2).outcomes(come_late, 0, time_limit=10, patience=5)
    assert outcomes[1].failure == (
        "ring attention, rank 1: no signature from rank 0 (hop 0) within 0.4 s: "
        "it has ended, or takes part in no check before the first hop"
    )


def part_after_agreement(sizes):
    """Agree on two signatures, then use one on each rank: messages of another size than the peer expects."""
    transport = Transport(time_limit=0.5)
    for size in sizes:
        agree(transport, {"size": size})
    peer, size = 1 - transport.rank, sizes[transport.rank]
    buffer = torch.full((size,), -1.0)
    try:
        agree(transport, {"size": size})
        transport.exchange([(torch.ones(size), peer)], [(buffer, peer)], hop=0, what="keys").wait()
    except RingError as error:
        raise OctoberError(f"{error}; {buffer.unique().tolist()}") from error


def test_ranks_that_use_different_agreed_signatures_read_nothing_of_each_other(pool):
    outcomes = pool(2).outcomes(part_after_agreement, (5, 50_000), time_limit=10, patience=5)
    for outcome in outcomes:
        assert outcome.failure.startswith(f"ring attention, rank {outcome.rank}: ")
        assert f"rank {1 - outcome.rank}" in outcome.failure
        assert outcome.failure.endswith("; [-1.0]")


def with_numbers(numbers):
    """Check q, k and v, with numbers put in by (rank, name)."""
    tensors = {name: torch.zeros(2, 3) for name in "qkv"}
    for (rank, name), number in numbers.items():
        if rank == dist.get_rank():
            tensors[name][1, rank] = number
    check_finite(tensors, Transport(time_limit=20))


@pytest.mark.parametrize(
    ("numbers", "found"),
    [
        ({(2, "k"): float("nan")}, "1 in k on rank 2"),
        ({(0, "v"): float("-inf"), (1, "q"): float("inf"), (1, "v"): float("nan")}, "1 in v on rank 0, 1 in q on"),
    ],
)
def test_numbers_that_are_not_finite_are_reported_everywhere_at_their_source(pool, numbers, found):
    failures = [outcome.failure for outcome in pool(3).outcomes(with_numbers, numbers)]
    assert len(set(failures)) == 1
    assert failures[0].startswith(f"ring attention: numbers that are NaN or infinite: {found}")


def test_finite_numbers_pass(pool):
    assert pool(3).run(with_numbers, {(1, "k"): 3e38}) == [None, None, None]


def test_integers_are_finite():
    check_finite({"segment_ids": torch.tensor([0, 1])}, Transport())
