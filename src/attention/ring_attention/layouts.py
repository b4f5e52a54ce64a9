"""Which tokens a rank of the ring holds.

    12 tokens, 3 ranks         rank 0       rank 1       rank 2      causal work
    contiguous               0 1 2 3      4 5 6 7      8 9 10 11     unequal: the last rank has most of it
    striped                  0 3 6 9      1 4 7 10     2 5 8 11      equal but for the diagonals
    zigzag                   0 1 10 11    2 3 8 9      4 5 6 7       equal

A shard is described by its runs: arithmetic progressions of positions. Lengths that do not divide evenly need no
padding: the last chunks are shorter, or empty.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ...errors import OctoberError

Layout = Literal["contiguous", "striped", "zigzag"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)


@dataclass(frozen=True)
class Run:
    """Tokens at positions start, start + stride, …: `length` of them, from index `offset` of their tensor on."""

    start: int
    stride: int
    length: int
    offset: int = 0

    def part(self, first: int, last: int) -> "Run":
        """Return the tokens first to last - 1 of the run."""
        return Run(self.start + first * self.stride, self.stride, last - first, self.offset + first)

    @property
    def positions(self) -> range:
        """The positions."""
        return range(self.start, self.start + self.length * self.stride, self.stride)


def shard_runs(sequence_length: int, rank: int, world_size: int, layout: Layout) -> list[Run]:
    """Return the runs of a rank's shard, empty ones left out.

    Raises:
        OctoberError: An unknown layout, a negative length or a rank outside the world.
    """
    _check(sequence_length, rank, world_size, layout)
    if layout == "striped":
        runs = [Run(rank, world_size, len(range(rank, sequence_length, world_size)))]
    elif layout == "contiguous":
        runs = [_chunk(sequence_length, rank, world_size)]
    else:
        first = _chunk(sequence_length, rank, 2 * world_size)
        last = _chunk(sequence_length, 2 * world_size - 1 - rank, 2 * world_size)
        runs = [first, Run(last.start, 1, last.length, first.length)]
    return [run for run in runs if run.length]


def shard_length(sequence_length: int, rank: int, world_size: int, layout: Layout) -> int:
    """Return the number of tokens of a rank's shard."""
    return sum(run.length for run in shard_runs(sequence_length, rank, world_size, layout))


def shard_positions(sequence_length: int, rank: int, world_size: int, layout: Layout) -> Tensor:
    """Return the positions [shard length] of a rank's tokens in the sequence, in the shard's order."""
    runs = shard_runs(sequence_length, rank, world_size, layout)
    return torch.tensor([position for run in runs for position in run.positions], dtype=torch.long)


def shard(tensor: Tensor, rank: int, world_size: int, layout: Layout, *, dim: int = 1) -> Tensor:
    """Return a rank's part of a whole tensor: of tokens, positions, labels (shifted before), or states.

    Args:
        tensor: The whole sequence along `dim`.
        rank: The rank in its ring.
        world_size: The ring's size.
        layout: How the sequence is dealt out.
        dim: The sequence's dimension.

    Returns:
        A contiguous tensor; shorter on the last ranks (or empty) where the length does not divide evenly.
    """
    runs = shard_runs(tensor.shape[dim], rank, world_size, layout)
    parts = [_narrow(tensor, run, dim) for run in runs] or [tensor.narrow(dim, 0, 0)]
    return torch.cat(parts, dim) if len(parts) > 1 else parts[0].contiguous()


def unshard(shards: Sequence[Tensor], layout: Layout, *, dim: int = 1) -> Tensor:
    """Put the shards of all ranks, in the order of the ranks, together again.

    Raises:
        OctoberError: The shards' lengths are not those that `shard` gives.
    """
    sequence_length = sum(part.shape[dim] for part in shards)
    shape = list(shards[0].shape)
    shape[dim] = sequence_length
    whole = shards[0].new_empty(shape)
    for rank, part in enumerate(shards):
        runs = shard_runs(sequence_length, rank, len(shards), layout)
        if part.shape[dim] != sum(run.length for run in runs):
            raise OctoberError(
                f"shard {rank} of {len(shards)} has {part.shape[dim]} tokens; layout {layout} of {sequence_length} "
                f"tokens gives it {sum(run.length for run in runs)}"
            )
        for run in runs:
            _narrow(whole, run, dim).copy_(part.narrow(dim, run.offset, run.length))
    return whole


def _chunk(sequence_length: int, index: int, count: int) -> Run:
    size = -(-sequence_length // count)
    start = min(index * size, sequence_length)
    return Run(start, 1, min(start + size, sequence_length) - start)


def _narrow(tensor: Tensor, run: Run, dim: int) -> Tensor:
    index = [slice(None)] * tensor.dim()
    index[dim] = slice(run.start, run.start + run.length * run.stride, run.stride)
    return tensor[tuple(index)]


def _check(sequence_length: int, rank: int, world_size: int, layout: str) -> None:
    if layout not in LAYOUTS:
        raise OctoberError(f"layout={layout!r}: must be one of {', '.join(LAYOUTS)}")
    if sequence_length < 0:
        raise OctoberError(f"sequence_length={sequence_length}: must not be negative")
    if not 0 <= rank < world_size:
        raise OctoberError(f"rank={rank}: must be 0 to {world_size - 1} in a ring of {world_size}")
