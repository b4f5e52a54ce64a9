import pytest
import torch
import torch.distributed as dist

from october.attention.ring_attention.agreement import agree, check_finite
from october.attention.ring_attention.transport import Transport
from october.errors import OctoberError


def agree_on(signatures, local):
    transport = Transport(time_limit=10)
    told = agree(transport, signatures[transport.rank], local={"length": local[transport.rank]})
    sent = transport.messages_sent
    agree(transport, signatures[transport.rank])
    return told, transport.messages_sent - sent


def test_equal_signatures_pass_and_are_exchanged_once(pool):
    signature = {"shape": (1, 2, 3), "sliding_window": None, "scale": 0.125}
    for told, messages in pool(3).run(agree_on, [signature] * 3, [5, 6, 7]):
        assert told == [{"length": 5}, {"length": 6}, {"length": 7}]
        assert messages == 0


def test_every_rank_reports_the_same_difference(pool):
    signatures = [{"sliding_window": window, "layout": "zigzag"} for window in (64, 64, None)]
    with pytest.raises(OctoberError, match=r"^ring attention: ranks differ in sliding_window: 0: 64, 1: 64, 2: None$"):
        pool(3).run(agree_on, signatures, [1, 1, 1])


def with_a_number(rank, value):
    k = torch.zeros(2, 3)
    if dist.get_rank() == rank:
        k[1, 2] = value
    check_finite({"q": torch.ones(4), "k": k}, Transport(time_limit=10))


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_a_number_that_is_not_finite_is_reported_at_its_source(pool, value):
    with pytest.raises(OctoberError, match=r"^ring attention: numbers that are NaN or infinite: 1 in k on rank 2$"):
        pool(3).run(with_a_number, 2, value)
