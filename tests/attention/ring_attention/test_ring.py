"""Ring attention over real processes equals dense float64 attention: output and every gradient."""

import itertools

import pytest
import torch
import torch.distributed as dist
from dense_reference import dense_gradients

from october.attention.ring_attention import Ring, blockwise_attention, ring_attention, shard, unshard
from october.attention.ring_attention.layouts import LAYOUTS
from october.experiments.ring_attention._ring_common import Heads, attention_memory

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12, torch.bfloat16: 3e-2, torch.float16: 4e-3}


def drawn(seed, length, *, heads=4, kv_heads=2, head_dim=8, batch=2, dtype=torch.float64):
    """The same whole tensors on every rank: queries, keys, values, the gradient of the output."""
    generator = torch.Generator().manual_seed(seed)
    sizes = (heads, kv_heads, kv_heads, heads)
    return [torch.randn(batch, n, length, head_dim, generator=generator, dtype=torch.float64).to(dtype) for n in sizes]


def documents(seed, batch, length):
    """Random documents, some tokens of them padding."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-1, 4, (batch, length), generator=generator).sort(dim=1).values


def on_rank(cases):
    """Run every case on this rank and return its shards of output and gradients."""
    results = []
    for case in cases:
        group = case.get("group")
        rank, world = dist.get_rank(group), dist.get_world_size(group)
        layout, length = case["layout"], case["length"]
        tensors = drawn(case["seed"], length, dtype=case["dtype"], **case.get("shape", {}))
        query, key, value, grad = (shard(t, rank, world, layout, dim=2) for t in tensors)
        inputs = [t.requires_grad_() for t in (query, key, value)]
        ids = documents(case["seed"], query.shape[0], length) if case.get("packed") else None
        output = ring_attention(
            *inputs,
            Ring(group, num_pieces=case.get("pieces"), time_limit=60.0),
            causal=case.get("causal", True),
            layout=layout,
            sliding_window=case.get("window"),
            segment_ids=None if ids is None else shard(ids, rank, world, layout),
            scale=case.get("scale"),
            sequence_length=length,
        )
        gradients = torch.autograd.grad(output, inputs, grad)
        results.append([t.detach() for t in (output, *gradients)])
    return results


def compare(case, shards):
    """Put the ranks' shards together and compare with the dense reference."""
    *inputs, grad = drawn(case["seed"], case["length"], dtype=case["dtype"], **case.get("shape", {}))
    ids = documents(case["seed"], inputs[0].shape[0], case["length"]) if case.get("packed") else None
    options = {"causal": case.get("causal", True), "window": case.get("window"), "segment_ids": ids}
    options["scale"] = case.get("scale")
    expected = dense_gradients(*inputs, grad, **options)
    for name, parts, whole in zip(
        ("output", "query", "key", "value"), zip(*shards, strict=True), expected, strict=True
    ):
        found = unshard(parts, case["layout"], dim=2)
        assert found.dtype == case["dtype"]
        error = (found.double() - whole).abs().max() / (1 + whole.abs().max())
        assert error <= TOLERANCE[case["dtype"]], (case, name, float(error))


def check(pool, world_size, cases):
    results = pool(world_size).run(on_rank, cases)
    for index, case in enumerate(cases):
        compare(case, [each[index] for each in results])


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_every_layout_mask_and_length(pool, world_size):
    masks = [{}, {"causal": False}, {"window": 5}, {"window": 150}, {"causal": False, "window": 7}]
    cases = [
        {"seed": index, "layout": layout, "length": length, "dtype": torch.float64, "pieces": pieces, **mask}
        for index, (layout, length, mask, pieces) in enumerate(
            itertools.product(LAYOUTS, (48, 37, 5, 2), masks, (None, 3))
        )
    ]
    check(pool, world_size, cases)


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_packed_documents(pool, world_size):
    masks = [{}, {"causal": False}, {"window": 9}]
    cases = [
        {"seed": i, "layout": layout, "length": length, "dtype": torch.float64, "packed": True, "pieces": 2, **mask}
        for i, (layout, length, mask) in enumerate(itertools.product(LAYOUTS, (61, 5), masks))  # 5: ranks without any
    ]
    check(pool, world_size, cases)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("window", "length", "layouts"), [(150, 1200, LAYOUTS), (300, 1200, LAYOUTS), (700, 2400, ["contiguous"])]
)
def test_windows_wide_enough_for_triangles(pool, window, length, layouts, dtype):
    """The widest has triangles of more than the 512 keys that torch's kernel takes at once."""
    cases = [{"seed": 3, "layout": layout, "length": length, "dtype": dtype, "window": window} for layout in layouts]
    check(pool, 3, cases)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("heads", [(4, 4), (6, 2), (8, 1)])
def test_types_and_heads(pool, dtype, heads):
    shape = {"heads": heads[0], "kv_heads": heads[1], "head_dim": 24}
    cases = [
        {"seed": 5, "layout": layout, "length": 96, "dtype": dtype, "shape": shape, "window": window}
        for layout in LAYOUTS
        for window in (None, 11)
    ]
    check(pool, 3, cases)


def test_a_scale_of_the_scores(pool):
    cases = [
        {"seed": 7, "layout": layout, "length": 40, "dtype": torch.float64, "scale": scale}
        for layout in LAYOUTS
        for scale in (1.0, 0.05)
    ]
    check(pool, 2, cases)


def split_into_pairs(case):
    """Data parallel over two rings of two processes each; each ring has its own batch."""
    groups = [dist.new_group([0, 2]), dist.new_group([1, 3])]
    mine = dist.get_rank() % 2
    return on_rank([{**case, "group": groups[mine], "seed": case["seed"] + mine}])[0]


def test_data_parallel_times_ring(pool):
    case = {"seed": 11, "layout": "zigzag", "length": 40, "dtype": torch.float64}
    shards = pool(4).run(split_into_pairs, case)
    compare(case, [shards[0], shards[2]])
    compare({**case, "seed": 12}, [shards[1], shards[3]])


def gradcheck_on_rank():
    """Finite differences of the whole ring's output: each rank moves its own numbers in turn."""
    rank, world = dist.get_rank(), dist.get_world_size()
    tensors = drawn(1, 7, heads=2, kv_heads=1, head_dim=2, batch=1)
    query, key, value, grad = (shard(t, rank, world, "striped", dim=2) for t in tensors)
    inputs = [t.requires_grad_() for t in (query, key, value)]

    def loss():
        output = ring_attention(*inputs, layout="striped", sliding_window=4, sequence_length=7)
        total = (output * grad).sum().detach().clone()
        dist.all_reduce(total)
        return float(total), output

    gradients = torch.autograd.grad((loss()[1] * grad).sum(), inputs)
    worst = 0.0
    for mover in range(world):
        counts = torch.tensor([t.numel() for t in inputs])
        dist.broadcast(counts, mover)
        for which, count in enumerate(counts.tolist()):
            for index in range(count):
                sides = []
                for step in (1e-6, -1e-6):
                    with torch.no_grad():
                        if rank == mover:
                            inputs[which].view(-1)[index] += step
                        sides.append(loss()[0])
                        if rank == mover:
                            inputs[which].view(-1)[index] -= step
                if rank == mover:
                    slope = (sides[0] - sides[1]) / 2e-6
                    worst = max(worst, abs(slope - float(gradients[which].view(-1)[index])))
    return worst


def test_gradients_by_finite_differences_across_ranks(pool):
    assert max(pool(3).run(gradcheck_on_rank)) < 1e-8


def test_gradcheck_in_one_process():
    query, key, value, _ = drawn(2, 6, heads=2, kv_heads=1, head_dim=3, batch=1)
    inputs = [t.requires_grad_() for t in (query, key, value)]
    for options in ({}, {"sliding_window": 2}, {"causal": False, "block_size": 4}):
        assert torch.autograd.gradcheck(lambda *t, o=options: blockwise_attention(*t, **o), inputs)
        assert torch.autograd.gradcheck(lambda *t, o=options: ring_attention(*t, **_ring_only(o)), inputs)


def _ring_only(options):
    return {name: value for name, value in options.items() if name != "block_size"}


def test_memory_does_not_grow_with_processes_where_pieces_are_small(pool):
    """Tokens grow with the processes; sixteen pieces of 64 tokens are under way beside the 1,024 of a rank."""
    heads, peaks = Heads(num_heads=2, num_kv_heads=2, head_dim=64), {}
    for size in (1, 4):
        found = pool(size).run(attention_memory, 1024 * size, heads, "float32", "zigzag", 16)
        peaks[size] = {way: max(rank[way] for rank in found) for way in ("forward", "backward")}
    for way, alone in peaks[1].items():
        assert alone < peaks[4][way] <= 1.1 * alone
