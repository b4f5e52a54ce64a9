"""Faults of other implementations that no error shows: a wrong number somewhere, and a loss that still falls."""

import pytest
import torch
import torch.distributed as dist
from dense_reference import dense_attention, dense_gradients

from october.attention.ring_attention import Ring, ring_attention, shard, unshard
from october.attention.ring_attention.layouts import Run
from october.attention.ring_attention.merging import Rows
from october.attention.ring_attention.tiles import Mask


def whole(length=24, *, heads=2, kv_heads=2, batch=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = (heads, kv_heads, kv_heads, heads)
    return [torch.randn(batch, n, length, 4, generator=generator, dtype=torch.float64) for n in sizes]


def gradients_on_rank(options):
    rank, world = dist.get_rank(), dist.get_world_size()
    options = dict(options)
    shape = options.pop("shape", {})
    from_projection = options.pop("from_projection", False)
    ids = options.pop("segment_ids", None)
    parts = [shard(t, rank, world, "zigzag", dim=2) for t in whole(**shape)]
    if options.pop("transposed", False):  # tokens last in memory, inputs and gradient
        parts = [t.transpose(2, 3).contiguous().transpose(2, 3) for t in parts]
    if from_projection:  # tokens before heads in memory, and a gradient that is an expanded view
        parts = [t.transpose(1, 2).contiguous().transpose(1, 2) for t in parts]
        parts[3] = parts[3][..., :1].expand_as(parts[3])
    inputs = [t.requires_grad_() for t in parts[:3]]
    mine = None if ids is None else shard(ids, rank, world, "zigzag")
    output = ring_attention(*inputs, layout="zigzag", segment_ids=mine, **options)
    return [t.detach() for t in (output, *torch.autograd.grad(output, inputs, parts[3]))]


def together(shards):
    return [unshard(parts, "zigzag", dim=2) for parts in zip(*shards, strict=True)]


@pytest.mark.parametrize("world_size", [3, 4])
def test_the_backward_pass_does_not_reuse_the_first_blocks(pool, world_size):
    """Two ranks hide it: there every block but the own one is the first."""
    found = together(pool(world_size).run(gradients_on_rank, {}))
    for ours, theirs in zip(found, dense_gradients(*whole()), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_gradients_of_keys_are_summed_over_the_ranks(pool):
    """The first rank's keys are read by every rank; its own share alone would be smaller."""
    shards = pool(3).run(gradients_on_rank, {"shape": {"length": 12}})
    query, key, value, grad = whole(12)
    own_rows = torch.zeros(12, dtype=torch.bool)
    own_rows[[0, 1, 10, 11]] = True
    alone = dense_gradients(query, key, value, grad * own_rows[:, None])
    complete = dense_gradients(query, key, value, grad)
    mine = [shard(tensor, 0, 3, "zigzag", dim=2) for tensor in (alone[2], complete[2])]
    torch.testing.assert_close(shards[0][2], mine[1])
    assert not torch.allclose(shards[0][2], mine[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_log_sum_exp_is_true_and_float32(dtype):
    """Neither zeros nor bfloat16, which would scale every weight of the backward pass by up to half a percent."""
    query, key, value, _ = (tensor.to(dtype) for tensor in whole(64))
    rows = Rows(query)
    for run in _halves(64):
        rows.add(Mask().tiles([_halves(64, 1)[0]], [run]), query, key, value, 0.5)
    scores = (query.double() @ key.double().mT * 0.5).masked_fill(~torch.ones(64, 64).bool().tril(), -torch.inf)
    assert rows.log_sum_exp.dtype == torch.float32
    torch.testing.assert_close(rows.log_sum_exp.double(), scores.logsumexp(-1), rtol=0, atol=2e-4)


def _halves(length, parts=2):
    return [Run(i * length // parts, 1, length // parts, i * length // parts) for i in range(parts)]


def test_tensors_whose_last_dimension_is_not_the_innermost(pool):
    found = together(pool(2).run(gradients_on_rank, {"transposed": True}))
    for ours, theirs in zip(found, dense_gradients(*whole()), strict=True):
        torch.testing.assert_close(ours, theirs)


def refilled_documents():
    """Attend twice under `inference_mode`, the segment ids written over in between; and with others, never written."""
    rank, world, length = dist.get_rank(), dist.get_world_size(), 12
    query, key, value = (shard(t, rank, world, "zigzag", dim=2) for t in whole(length)[:3])
    first, second = (torch.arange(length)[None] // size for size in (4, 6))
    ring = Ring()
    with torch.inference_mode():
        ids = shard(first, rank, world, "zigzag").clone()
        ring_attention(query, key, value, ring, segment_ids=ids)
        ids.copy_(shard(second, rank, world, "zigzag"))
        refilled = ring_attention(query, key, value, ring, segment_ids=ids)
        return refilled, ring_attention(query, key, value, ring, segment_ids=ids.clone())


def test_segment_ids_that_are_written_over_are_read_anew(pool):
    for refilled, expected in pool(2).run(refilled_documents):
        torch.testing.assert_close(refilled, expected)


def test_tensors_that_are_not_contiguous(pool):
    found = together(pool(2).run(gradients_on_rank, {"from_projection": True, "shape": {"batch": 2}}))
    query, key, value, grad = whole(batch=2)
    expected = dense_gradients(query, key, value, grad[..., :1].expand_as(grad))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_padding_counts_though_the_mask_is_causal(pool):
    ids = torch.tensor([[0] * 9 + [-1] * 4 + [0] * 8 + [-1] * 3])
    found = together(pool(2).run(gradients_on_rank, {"segment_ids": ids}))
    query, key, value, grad = whole()
    expected = dense_gradients(query, key, value, grad, segment_ids=ids)
    assert not torch.allclose(expected[0][:, :, 13:21], dense_attention(query, key, value)[:, :, 13:21])
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def ranks_of_two_groups():
    """The same process has rank 2 of 3 and rank 0 of 1 in two rings, one after the other, and back."""
    last = dist.get_world_size() - 1
    alone = dist.new_group([last])
    query, key, value, _ = whole()
    seen = []
    for group in (None, alone, None):
        if group is not None and dist.get_rank() != last:
            continue
        rank, world = dist.get_rank(group), dist.get_world_size(group)
        parts = [shard(t, rank, world, "zigzag", dim=2) for t in (query, key, value)]
        seen.append((Ring(group).rank, Ring(group).world_size, ring_attention(*parts, group)))
    return seen


def test_nothing_about_rank_or_world_is_remembered(pool):
    results = pool(3).run(ranks_of_two_groups)
    expected = dense_attention(*whole()[:3])
    first, alone, again = results[2]
    assert (first[:2], alone[:2], again[:2]) == ((2, 3), (0, 1), (2, 3))
    torch.testing.assert_close(alone[2], expected)
    for place in (0, -1):
        parts = [result[place][2] for result in results]
        torch.testing.assert_close(unshard(parts, "zigzag", dim=2), expected)


def test_query_head_i_uses_key_head_i_over_the_group(pool):
    """The other order, i modulo the number of key heads, gives wrong outputs with real weights."""
    shape = {"heads": 6, "kv_heads": 2}
    found = together(pool(2).run(gradients_on_rank, {"shape": shape}))
    query, key, value, grad = whole(**shape)
    for ours, theirs in zip(found, dense_gradients(query, key, value, grad), strict=True):
        torch.testing.assert_close(ours, theirs)
    other = dense_attention(query, key.repeat(1, 3, 1, 1), value.repeat(1, 3, 1, 1))
    assert not torch.allclose(found[0], other)


@pytest.mark.parametrize("window", [3, 7, 20])
def test_a_window_counts_positions_of_the_whole_sequence(pool, window):
    """Applied to each block with its own indices, it would drop or add keys at every hop."""
    found = together(pool(3).run(gradients_on_rank, {"sliding_window": window}))
    query, key, value, grad = whole()
    for ours, theirs in zip(found, dense_gradients(query, key, value, grad, window=window), strict=True):
        torch.testing.assert_close(ours, theirs)
