
import pytest
import torch
import torch.distributed as dist

from october.errors import OctoberError


def rank_and_sum(number):
    total = torch.tensor([float(dist.get_rank() + number)])
    dist.all_reduce(total)
    return dist.get_rank(), dist.get_world_size(), total


def fail_on(rank):
    if dist.get_rank() == rank:
        raise OctoberError("tokens=3: at least 4")


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_every_rank_runs_the_function_in_one_group(pool, world_size):
    results = pool(world_size).run(rank_and_sum, 10)
    total = sum(range(10, 10 + world_size))
    assert results == [(rank, world_size, torch.tensor([float(total)])) for rank in range(world_size)]


def test_an_error_of_one_rank_comes_back_and_the_pool_goes_on(pool):
    with pytest.raises(OctoberError, match=r"^tokens=3: at least 4$"):
        pool(3).run(fail_on, 1)
    assert [rank for rank, _, _ in pool(3).run(rank_and_sum, 0)] == [0, 1, 2]
