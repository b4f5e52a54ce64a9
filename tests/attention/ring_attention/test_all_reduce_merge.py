"""Merging over the ranks equals softmax over all keys, whoever holds them."""

import pytest
import torch
import torch.distributed as dist

from october.attention.ring_attention import Ring
from october.attention.ring_attention.all_reduce_merge import merge_over


def attend(scores, values):
    """Output and log-sum-exp of softmax(scores) @ values; rows without a finite score are (NaN, -inf)."""
    return torch.softmax(scores, -1) @ values, torch.logsumexp(scores, -1)


def scores_and_values(world_size):
    """Keys 3 r to 3 r + 2 are rank r's; row 0 sees all, row 1 only the last rank's, row 2 none; scores are large."""
    generator = torch.Generator().manual_seed(world_size)
    scores = 200 * torch.randn(2, 3, 3 * world_size, generator=generator, dtype=torch.float64)
    scores[:, 1, :-3] = -torch.inf
    scores[:, 2] = -torch.inf
    return scores, torch.randn(2, 3 * world_size, 5, generator=generator, dtype=torch.float64)


def merged_on_rank(dtype):
    ring = Ring(time_limit=30.0)
    mine = slice(3 * ring.rank, 3 * ring.rank + 3)
    scores, values = scores_and_values(ring.world_size)
    output, log_sum_exp = attend(scores[..., mine], values[:, mine])
    found = merge_over(ring, output.to(dtype), log_sum_exp.to(torch.float32 if dtype == torch.bfloat16 else dtype))
    return [tensor.clone() for tensor in found]


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_equals_softmax_over_all_keys(pool, world_size, dtype):
    results = pool(world_size).run(merged_on_rank, dtype)
    expected, log_sum_exp = attend(*scores_and_values(world_size))
    tolerance = {torch.float64: 1e-13, torch.float32: 1e-4, torch.bfloat16: 2e-2}[dtype]
    output, sums = results[0]
    assert output.dtype == sums.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(output[:, :2].double(), expected[:, :2], rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(sums[:, :2].double(), log_sum_exp[:, :2], rtol=1e-6, atol=1e-6)
    assert torch.equal(output[:, 2], torch.zeros_like(output[:, 2]))
    assert bool((sums[:, 2] == -torch.inf).all())
    for other in results[1:]:
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(results[0], other, strict=True))


def different_shapes():
    rows = 2 + dist.get_rank()
    merge_over(Ring(time_limit=30.0), torch.zeros(rows, 4), torch.zeros(rows))


def test_ranks_that_differ_are_told_so(pool):
    outcomes = pool(2).outcomes(different_shapes)
    lines = {outcome.failure for outcome in outcomes}
    assert lines == {"ring attention: ranks differ in merged rows: 0: (2, 4), 1: (3, 4)"}
