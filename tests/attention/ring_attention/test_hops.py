"""What happens in a hop: messages leave before the computation that they hide behind, in the types that they should."""

import os

import pytest
import torch
import torch.distributed as dist
from dense_reference import dense_attention, dense_gradients

from october.attention.ring_attention import Ring, ring_attention, shard, unshard
from october.attention.workers import form_group

LENGTH, HEADS, KV_HEADS, HEAD_DIM = 96, 4, 2, 16


def whole(dtype, length=LENGTH):
    """The same whole tensors on every rank: queries, keys, values, the gradient of the output."""
    generator = torch.Generator().manual_seed(0)
    sizes = (HEADS, KV_HEADS, KV_HEADS, HEADS)
    return [torch.randn(1, n, length, HEAD_DIM, generator=generator).to(dtype) for n in sizes]


def shards(dtype, length=LENGTH):
    """This rank's queries, keys and values, to be differentiated, and the gradient of its output."""
    rank, world = dist.get_rank(), dist.get_world_size()
    *inputs, grad = (shard(tensor, rank, world, "contiguous", dim=2) for tensor in whole(dtype, length))
    return [tensor.requires_grad_() for tensor in inputs], grad


def calls_of_a_step():
    """Return in which order this rank receives, sends and computes, forward and backward."""
    ring, (inputs, grad), calls = Ring(num_pieces=1, time_limit=60.0), shards(torch.float32), []

    def attend():
        return ring_attention(*inputs, ring, causal=False, layout="contiguous")

    def noting(name, function):
        return lambda *arguments: calls.append(name) or function(*arguments)

    attend()  # the ranks agree
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dist, "irecv", noting("receive", dist.irecv))
        patch.setattr(dist, "isend", noting("send", dist.isend))
        patch.setattr(ring.transport, "record", noting("compute", ring.transport.record))
        output = attend()
        forward, calls = calls, []
        torch.autograd.grad(output, inputs, grad)
    return forward, calls


def test_messages_are_posted_before_the_computation_that_hides_them(pool):
    """On three ranks: two hops of keys and values, and in the backward pass their gradients' two, the last one home."""
    post, compute = ["receive", "send"], ["compute"]
    for forward, backward in pool(3).run(calls_of_a_step):
        assert forward == [*post, *compute, *post, *compute, *compute]
        own_keys, first_hop, second_hop = [*post, *compute], [*post, *compute], [*post, *compute]
        assert backward == [
            *own_keys,
            *first_hop,
            *second_hop,
            *post,
            *compute,
        ]  # the gradients' last hop: the way home


def bytes_of_a_step(dtype):
    """Return the bytes that this rank sends, forward and backward."""
    ring, (inputs, grad) = Ring(num_pieces=1, time_limit=60.0), shards(dtype)
    ring_attention(*inputs, ring, causal=False, layout="contiguous")
    ring.transport.reset_counters()
    output = ring_attention(*inputs, ring, causal=False, layout="contiguous")
    forward = ring.transport.bytes_sent
    torch.autograd.grad(output, inputs, grad)
    return forward, ring.transport.bytes_sent - forward


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_keys_travel_in_their_own_type_and_their_gradients_in_float32(pool, dtype):
    numbers = 2 * KV_HEADS * HEAD_DIM * LENGTH // 3 * 2  # keys and values of a rank, two hops
    for forward, backward in pool(3).run(bytes_of_a_step, dtype):
        assert forward == dtype.itemsize * numbers
        assert backward == (dtype.itemsize + 4) * numbers


def step(dtype, length):
    inputs, grad = shards(dtype, length)
    output = ring_attention(*inputs, Ring(time_limit=60.0), causal=False, layout="contiguous")
    return [tensor.detach() for tensor in (output, *torch.autograd.grad(output, inputs, grad))]


def test_in_bfloat16_sums_are_not_rounded_between_hops(pool):
    """The kernels round each block's share, so that two processes are further off than one; sums between hops are not.

    Were they rounded too, four processes would be a fifth further off than two.
    """
    expected = dense_gradients(*whole(torch.bfloat16, 512), causal=False)
    errors = []
    for world_size in (1, 2, 4):
        shares = zip(*pool(world_size).run(step, torch.bfloat16, 512), strict=True)
        found = [unshard(parts, "contiguous", dim=2).double() for parts in shares]
        errors.append([(ours - exact).abs().mean() for ours, exact in zip(found, expected, strict=True)])
    for one, two, four in zip(*errors, strict=True):
        assert four <= 1.05 * two
        assert four <= 1.5 * one


def masked_on_rank(dtype, ids):
    rank, world = dist.get_rank(), dist.get_world_size()
    tensors = [tensor.expand(ids.shape[0], -1, -1, -1) for tensor in whole(dtype, ids.shape[1])]
    *inputs, grad = (shard(tensor, rank, world, "zigzag", dim=2).contiguous() for tensor in tensors)
    inputs = [tensor.requires_grad_() for tensor in inputs]
    mine = shard(ids, rank, world, "zigzag")
    output = ring_attention(*inputs, Ring(time_limit=60.0), segment_ids=mine, sequence_length=ids.shape[1])
    return [tensor.detach() for tensor in (output, *torch.autograd.grad(output, inputs, grad))]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_that_attend_to_nothing_are_exactly_zero(pool, dtype):
    """The first, the last, some in between, and a sequence that is padding all over."""
    ids = torch.tensor([[-1] * 5 + [0] * 9 + [-1] * 3 + [1] * 6 + [-1] * 4, [-1] * 27])
    found = [unshard(parts, "zigzag", dim=2) for parts in zip(*pool(3).run(masked_on_rank, dtype, ids), strict=True)]
    padding = (ids < 0)[:, None, :, None]
    for tensor in found:
        assert torch.isfinite(tensor).all()
        assert tensor.masked_select(padding).eq(0).all()
        assert tensor.masked_select(~padding).ne(0).any()


def before_and_after_a_group(store, ranks):
    """Attend in this process alone while it has no group, then over the group that it joins."""
    rank, whole_sequence = dist.get_rank(), whole(torch.float64, 12)[:3]
    dist.destroy_process_group()
    alone = ring_attention(*whole_sequence)
    form_group(store, "gloo", ranks, 60.0)
    mine = [shard(tensor, rank, dist.get_world_size(), "zigzag", dim=2) for tensor in whole_sequence]
    return alone, ring_attention(*mine), os.getpid()


def test_a_ring_used_before_the_processes_form_a_group_is_no_ring_of_the_group(pool, tmp_path):
    ranks = {process: rank for rank, process in enumerate(pool(2).process_ids)}
    results = pool(2).run(before_and_after_a_group, str(tmp_path / "store"), ranks)
    expected = dense_attention(*whole(torch.float64, 12)[:3])
    for alone, _, process in results:
        assert process in ranks
        torch.testing.assert_close(alone, expected)
    torch.testing.assert_close(unshard([part for _, part, _ in results], "zigzag", dim=2), expected)


def differentiate_on_rank_0():
    inputs, _ = shards(torch.float32)
    ring_attention(*(tensor.requires_grad_(dist.get_rank() == 0) for tensor in inputs), Ring(time_limit=20.0))


def test_ranks_that_differ_in_whether_a_gradient_is_needed_are_named(pool):
    line = "ring attention: ranks differ in needs gradient: 0: True, 1: False"
    assert [outcome.failure for outcome in pool(2).outcomes(differentiate_on_rank_0)] == [line, line]
