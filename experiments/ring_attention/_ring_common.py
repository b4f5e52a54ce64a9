"""What the measured tables share: processes that start when they are needed, tensors, errors, peaks of memory."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from october.attention.processes import Processes, in_processes
from october.attention.ring_attention import Layout, Ring, ring_attention, shard_length
from october.attention.ring_attention.tensor_memory import AnonymousMemory, TensorMemory

DTYPES: Mapping[str, torch.dtype] = MappingProxyType(
    {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16}
)
QUANTITIES = ("output", "query gradient", "key gradient", "value gradient")


@dataclass(frozen=True)
class Heads:
    """Shape of attention besides the sequence: one sequence of so many heads, as wide as `head_dim`."""

    num_heads: int
    num_kv_heads: int
    head_dim: int

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """Heads of the query, the key, the value and the gradient of the output."""
        return self.num_heads, self.num_kv_heads, self.num_kv_heads, self.num_heads


class LazyProcesses:
    """`Processes` that start with their first call, so that finished steps of a resumed run start none.

    Under torchrun the calls run in the processes that it has started, which must be as many.
    """

    def __init__(self, world_size: int, threads_per_process: int = 1) -> None:
        self.world_size = world_size
        self._pool = Processes(world_size, threads_per_process=threads_per_process)
        self._threads = threads_per_process
        self._started = False

    def __enter__(self) -> "LazyProcesses":
        """Promise to end what will be started."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes, if there are any."""
        self._pool.close()

    def run(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Call `function(*arguments)` on every rank and return the results by rank."""
        if given_world_size() is not None:
            return in_processes(function, self.world_size, *arguments, threads_per_process=self._threads)
        if not self._started:
            self._pool.__enter__()
            self._started = True
        return self._pool.run(function, *arguments)


def given_world_size() -> int | None:
    """Return how many processes torchrun has started; None outside it."""
    given = os.environ.get("WORLD_SIZE")
    return None if given is None or "RANK" not in os.environ else int(given)


def world_sizes_here(wanted: Sequence[int]) -> list[int]:
    """Return the ring sizes to measure: those wanted, or under torchrun the one that there is."""
    given = given_world_size()
    return list(wanted) if given is None else [given]


def drawn(seed: int, length: int, heads: Heads, dtype: torch.dtype) -> list[Tensor]:
    """Return random queries, keys, values and a gradient of the output [1, heads, length, head_dim].

    They are the same for every type but for its rounding.
    """
    generator = torch.Generator().manual_seed(seed)
    shapes = [(1, number, length, heads.head_dim) for number in heads.sizes]
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


def drawn_shard(length: int, heads: Heads, dtype: torch.dtype, layout: Layout) -> list[Tensor]:
    """Return this rank's random queries, keys and values, to be differentiated, and a gradient of its output.

    They belong to no common sequence: for measurements that do not look at the numbers.
    """
    rank, world_size = dist.get_rank(), dist.get_world_size()
    *inputs, grad_output = drawn(rank, shard_length(length, rank, world_size, layout), heads, torch.float32)
    return [*(tensor.to(dtype).requires_grad_() for tensor in inputs), grad_output.to(dtype)]


def attention_memory(
    length: int, heads: Heads, dtype_name: str, layout: Layout, num_pieces: int | None = None
) -> dict[str, int | None]:
    """Measure one ring attention on this rank: the most bytes alive, forward and backward apart.

    Counted are live tensors, with query, key and value, which the caller holds, and in the backward pass the
    gradient of the output. `growth` is how far anonymous memory grew above them, kernels' buffers included.

    Args:
        length: Of the whole sequence.
        heads: Shape of the attention.
        dtype_name: One of `DTYPES`.
        layout: How the sequence is dealt out.
        num_pieces: In which a rank's keys and values travel; as the ring chooses if None.
    """
    *inputs, grad_output = drawn_shard(length, heads, DTYPES[dtype_name], layout)
    ring = Ring(num_pieces=num_pieces)
    with TensorMemory():
        ring_attention(*inputs, ring, layout=layout)  # the ranks agree, and torch loads what it keeps
    return attention_peaks(lambda: ring_attention(*inputs, ring, layout=layout), inputs, grad_output)


def attention_peaks(
    attend: Callable[[], Tensor], inputs: Sequence[Tensor], grad_output: Tensor
) -> dict[str, int | None]:
    """Return peaks in bytes of live tensors and of the process's growth, forward and backward apart."""
    with TensorMemory(*inputs) as memory:
        with AnonymousMemory() as forward_growth:
            output = attend()
        forward, held = memory.peak_bytes, memory.live_bytes
        memory.hold(grad_output)
        memory.reset_peak()
        with AnonymousMemory() as backward_growth:
            gradients = torch.autograd.grad(output, inputs, grad_output)
        backward = memory.peak_bytes
    del gradients
    return {
        "forward": forward,
        "backward": backward,
        "held": held,
        "forward growth": forward_growth.growth_bytes,
        "backward growth": backward_growth.growth_bytes,
    }


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Return the largest error relative to the largest number that is expected."""
    return float((found.double() - expected).abs().max() / expected.abs().max())
