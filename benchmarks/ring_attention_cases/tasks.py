"""What the benchmark's processes run and keep between calls."""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

from october.attention.ring_attention import Layout, Ring, ring_attention, shard
from october.experiments.ring_attention._ring_common import DTYPES, Heads, drawn

HEADS = Heads(num_heads=8, num_kv_heads=8, head_dim=64)
TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2}  # against torch in float32, relative to the largest number


@dataclass(frozen=True)
class Task:
    """What a process is to time: attention over the whole length, forward and backward.

    Attributes:
        method: `ring`, `torch` or `package`.
        length: Tokens of the whole sequence.
        dtype: One of `DTYPES`.
        layout: How the sequence is dealt out.
        window: Of the mask.
        bucket: Of the package.
        num_pieces: In which the ring's keys and values travel; as it chooses if None.
    """

    method: str
    length: int
    dtype: str = "float32"
    layout: Layout = "zigzag"
    window: int | None = None
    bucket: int = 0
    num_pieces: int | None = None


class Worker:
    """What a process keeps between calls: its shards, its ring, its last results."""

    def __init__(self, task: Task) -> None:
        rank, world_size = dist.get_rank(), dist.get_world_size()
        whole = drawn(0, task.length, HEADS, DTYPES[task.dtype])
        shards = [shard(tensor, rank, world_size, task.layout, dim=2) for tensor in whole]
        if task.method == "package":  # it has tokens before heads
            shards = [tensor.transpose(1, 2).contiguous() for tensor in shards]
        *inputs, self.grad_output = shards
        self.inputs = [tensor.requires_grad_() for tensor in inputs]
        self.task = task
        self.ring = Ring(num_pieces=task.num_pieces)
        self.results: list[Tensor] = []

    def step(self) -> None:
        """Attend, forward and backward."""
        output = self._attend()
        self.results = [output.detach(), *torch.autograd.grad(output, self.inputs, self.grad_output)]

    def _attend(self) -> Tensor:
        task = self.task
        if task.method == "torch":
            return functional.scaled_dot_product_attention(*self.inputs, is_causal=True)
        if task.method == "ring":
            return ring_attention(*self.inputs, self.ring, layout=task.layout, sliding_window=task.window)
        from ring_attention_pytorch import ring_flash_attn

        output: Tensor = ring_flash_attn(*self.inputs, causal=True, bucket_size=task.bucket, ring_reduce_col=True)
        return output


WORKERS: dict[Task, Worker] = {}


def step(task: Task) -> None:
    """Run a task's step on this rank; the first call makes its numbers."""
    if task not in WORKERS:
        WORKERS[task] = Worker(task)
    WORKERS[task].step()


def results(task: Task) -> list[Tensor]:
    """Return this rank's output and gradients of a task's last step, heads before tokens."""
    found = WORKERS[task].results
    return [tensor.transpose(1, 2) for tensor in found] if task.method == "package" else found


def in_float32(task: Task) -> list[Tensor]:
    """Return torch's output and gradients for a task's numbers, as they were rounded, computed in float32."""
    worker = WORKERS[task]
    inputs = [tensor.detach().float().requires_grad_() for tensor in worker.inputs]
    output = functional.scaled_dot_product_attention(*inputs, is_causal=True)
    return [output.detach(), *torch.autograd.grad(output, inputs, worker.grad_output.float())]


def forget(task: Task) -> None:
    """Drop a task's tensors."""
    del WORKERS[task]


def timeline(task: Task) -> dict[str, float]:
    """Return this rank's seconds of work and of waiting in one step."""
    step(task)  # alone, so that agreeing and first allocations are no part of it
    transport = WORKERS[task].ring.transport
    transport.events = []
    step(task)
    seconds = {"compute": 0.0, "waiting": 0.0}
    for event in transport.events:
        kind = "waiting" if event.what.startswith("waiting") else event.what
        if kind in seconds:
            seconds[kind] += event.end - event.start
    transport.events = None
    return seconds


def traffic(task: Task) -> int:
    """Return the bytes that this rank sends in a step."""
    step(task)  # alone: agreeing is not traffic of the step
    transport = WORKERS[task].ring.transport
    transport.reset_counters()
    step(task)
    return transport.bytes_sent
