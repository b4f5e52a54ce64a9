"""Ours against torch's attention in one process, and against PyPI's `ring-attention-pytorch` on our processes."""

from collections.abc import Callable, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch
import torch.distributed as dist
from shared_cases.timing import seconds_of

from october.attention.processes import Processes
from october.attention.ring_attention import ring_attention, shard, unshard
from october.experiments.ring_attention._ring_common import DTYPES, QUANTITIES, Heads, drawn, relative_error
from october.reporting.benchmarks import Case
from october.reporting.environment import cpu_multiplies_bfloat16
from ring_attention_cases.tasks import HEADS, TOLERANCE, Task, forget, in_float32, results, step

TIMED_DTYPES = ("float32", "bfloat16")  # the second also where the processor only emulates it: a minute a step at most
BARS = {4096: "<=1.10", 8192: "<=1.10", 16384: "<=1.05"}  # tokens to the most that ours may take of torch's time
PACKAGE = "ring-attention-pytorch"
BUCKETS = (256, 512, 1024)  # of the package: the fastest at the shortest length is used


def torch_cases(ring: Processes, single: Processes, divisor: int) -> list[Case]:
    """Return the cases against torch's attention in one process."""
    cases = []
    for dtype in TIMED_DTYPES:
        settings = f"torch {torch.__version__}, scaled_dot_product_attention(is_causal=True), 2 threads"
        if dtype == "bfloat16" and not cpu_multiplies_bfloat16():
            settings += "; bfloat16 is emulated on this processor, for both"
        for length, bar in BARS.items():
            ours, peer = Task("ring", length // divisor, dtype), Task("torch", length // divisor, dtype, "contiguous")
            cases.append(
                Case(
                    name=f"causal, {dtype}, S = {ours.length:,}: 2 processes x 1 thread against torch with 2 threads",
                    ours=lambda task=ours: ring.run(step, task),
                    peer=lambda task=peer: single.run(step, task),
                    bar=bar,
                    check=same(ring, ours, single, peer),
                    peer_settings=settings,
                )
            )
    return cases


def package_cases(ring: Processes, divisor: int) -> list[Case]:
    """Return the cases against the other package, on the same processes and shapes."""
    if find_spec("ring_attention_pytorch") is None:
        print(f"skipped: cases against {PACKAGE}, which is not installed (pip install -e '.[dev]' does)")
        return []
    bucket = fastest_bucket(ring, min(BARS) // divisor)
    limits = " ".join(package_limits(ring))
    print(limits)
    cases = []
    for length in BARS:
        ours = Task("ring", length // divisor)
        peer = Task("package", length // divisor, layout="contiguous", bucket=bucket)
        cases.append(
            Case(
                name=f"causal, float32, S = {ours.length:,}: against {PACKAGE}, both 2 processes x 1 thread",
                ours=lambda task=ours: ring.run(step, task),
                peer=lambda task=peer: ring.run(step, task),
                check=same(ring, ours, ring, peer, QUANTITIES[:2]),  # see `package_limits` for the others
                peer_settings=f"{PACKAGE} {version(PACKAGE)}, bucket_size={bucket}, fastest of {BUCKETS}. {limits}",
            )
        )
    return cases


def fastest_bucket(ring: Processes, length: int) -> int:
    """Return the bucket with which the other package is fastest; each is run twice."""
    seconds = {}
    for bucket in BUCKETS:
        task = Task("package", length, layout="contiguous", bucket=bucket)
        seconds[bucket] = min(seconds_of(lambda task=task: ring.run(step, task)) for _ in range(2))
        ring.run(forget, task)
    return min(seconds, key=seconds.__getitem__)


def package_limits(ring: Processes) -> list[str]:
    """Say where the other package cannot run or differs, each tried here on short sequences."""
    return list(ring.run(limits_on_rank)[0])


def limits_on_rank() -> list[str]:
    """Try grouped-query heads, a window, bfloat16 and the gradients of keys and values, against ours."""
    found = []
    for what, dtype, heads, window, with_gradients in (
        ("grouped-query heads in the order of Llama", "float32", Heads(8, 2, 64), None, False),
        ("a window of 100 tokens (it knows whole buckets)", "float32", HEADS, 100, False),
        ("bfloat16", "bfloat16", HEADS, None, False),
        ("gradients of keys and values", "float32", HEADS, None, True),
    ):
        try:
            difference = package_difference(DTYPES[dtype], heads, window, with_gradients)
        except Exception as problem:  # whatever it raises is the finding
            found.append(f"Cannot run {what}: {str(problem).splitlines()[0]}.")
        else:
            if difference > TOLERANCE[dtype]:
                found.append(f"Wrong for {what}: off by {difference:.2g} of the largest value.")
    return found


def package_difference(dtype: torch.dtype, heads: Heads, window: int | None, with_gradients: bool) -> float:
    """Return how far the package is from ours on 512 tokens: in the output, or in all gradients."""
    from ring_attention_pytorch import ring_flash_attn

    rank, world_size = dist.get_rank(), dist.get_world_size()
    shards = [shard(tensor, rank, world_size, "contiguous", dim=2) for tensor in drawn(0, 512, heads, dtype)]
    *inputs, grad_output = (tensor.requires_grad_() for tensor in shards)
    turned = [tensor.detach().transpose(1, 2).contiguous().requires_grad_() for tensor in inputs]
    options = {"causal": True, "bucket_size": 64, "ring_reduce_col": True, "max_lookback_seq_len": window}
    theirs = ring_flash_attn(*turned, **options)
    ours = ring_attention(*inputs, layout="contiguous", sliding_window=window)
    pairs = [(theirs.transpose(1, 2), ours)]
    if with_gradients:
        found = torch.autograd.grad(theirs, turned, grad_output.detach().transpose(1, 2).contiguous())
        expected = torch.autograd.grad(ours, inputs, grad_output.detach())
        pairs = [(one.transpose(1, 2), other) for one, other in zip(found, expected, strict=True)]
    worst = torch.tensor(max(relative_error(one.detach(), other.detach().double()) for one, other in pairs))
    dist.all_reduce(worst, dist.ReduceOp.MAX)
    return float(worst)


def same(
    ours: Processes, our_task: Task, peer: Processes, peer_task: Task, quantities: Sequence[str] = QUANTITIES
) -> Callable[[Any, Any], None]:
    """Return a check of our last step's output and gradients, or the first few of them.

    They must equal torch's in float32 where torch is the peer (in bfloat16 its own gradients are off by more than
    ours), and else the peer's.
    """

    def check(*_: object) -> None:
        theirs = in_float32 if peer_task.method == "torch" else results
        found, expected = (
            [unshard(parts, task.layout, dim=2) for parts in zip(*pool.run(call, task), strict=True)]
            for pool, call, task in ((ours, results, our_task), (peer, theirs, peer_task))
        )
        for name, one, other in zip(quantities, found, expected, strict=False):
            error = relative_error(one, other.double())
            assert error <= TOLERANCE[our_task.dtype], f"{our_task}: {name} differs by {error} from {peer_task}"

    return check
