"""Who needs whose keys, which way they travel, and what is computed on arrival: all decided before the first hop.

A rank's keys and values travel in pieces. A piece goes round the ring from rank to rank, leaving out every rank that
none of its keys can reach: a hop out of the mask's reach is neither sent nor computed. With a contiguous layout and a
window of W, for instance, keys end their journey ceil((W - 1) / c) ranks after their own, and only a shard's last
W - 1 tokens set out.

    rounds of rank r, 3 ranks, 2 pieces        own | 0: r-1, r-2 | 1: r-1, r-2
    buffers in use at a time                   the piece computed on, and the one under way

A piece is the p-th part of *each* run that travels, so that the causal work of every round stays balanced.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from .documents import Stretches, document_tiles, stretches
from .layouts import Layout, Run, shard_runs
from .tiles import Mask, Tile

_MOST_PIECES = 16  # what is under way takes a twelfth of attention's memory then; of four pieces, a third
_SHORTEST_SHARD = 4096  # tokens; fewer travel whole, as memory is no matter then, but time is


@dataclass(frozen=True)
class Round:
    """One step of the journey: piece `piece` of `source` arrives after `hop` hops."""

    piece: int
    hop: int
    source: int


@dataclass(frozen=True)
class Journey:
    """What a ring is asked to do, the same on every rank.

    Attributes:
        sequence_length: Tokens of the whole sequence.
        world_size: Ranks of the ring.
        layout: How the tokens are dealt out.
        mask: Which keys a query attends to.
        num_pieces: Into how many pieces a rank's keys and values are cut to travel.
    """

    sequence_length: int
    world_size: int
    layout: Layout
    mask: Mask
    num_pieces: int

    @cached_property
    def runs(self) -> list[list[Run]]:
        """The runs of every rank."""
        return [shard_runs(self.sequence_length, rank, self.world_size, self.layout) for rank in range(self.world_size)]

    @cached_property
    def routes(self) -> list[list[int]]:
        """Of every rank's keys: the ranks that need them, in the order of the ring, their own first."""
        return [
            [source]
            + [
                rank
                for rank in (self._after(source, hop) for hop in range(1, self.world_size))
                if self.mask.reaches(self.runs[rank], self.runs[source])
            ]
            for source in range(self.world_size)
        ]

    @cached_property
    def travelling(self) -> list[list[Run]]:
        """Of every rank's keys: the part of each run that any other rank needs; the others stay at home."""
        return [
            [part for run in runs if (part := self._needed(run, route[1:])) is not None]
            for runs, route in zip(self.runs, self.routes, strict=True)
        ]

    def rounds(self, rank: int) -> Iterator[Round]:
        """Every hop of every piece that could come to a rank, in order."""
        for piece in range(self.num_pieces):
            for hop in range(1, self.world_size):
                yield Round(piece, hop, (rank - hop) % self.world_size)

    def hops(self, source: int, rank: int) -> int:
        """Return how far round the ring a rank is from a source."""
        return (rank - source) % self.world_size

    def previous(self, source: int, rank: int) -> int | None:
        """Return the rank that sends a source's keys to `rank`; None if it does not need them."""
        route = self.routes[source]
        return route[route.index(rank) - 1] if rank != source and rank in route else None

    def next(self, source: int, rank: int) -> int | None:
        """Return the rank to which `rank` sends a source's keys on; None if the journey ends there."""
        route = self.routes[source]
        if rank not in route or rank == route[-1]:
            return None
        return route[route.index(rank) + 1]

    def sends(self, rank: int, hop: int) -> list[tuple[int, int]]:
        """Return (source, receiver) of what a rank sends to arrive at a hop."""
        held = ((rank - back) % self.world_size for back in range(hop))
        pairs = ((source, self.next(source, rank)) for source in held)
        return [(source, to) for source, to in pairs if to is not None and self.hops(source, to) == hop]

    def piece_runs(self, source: int, piece: int) -> tuple[list[Run], list[Run]]:
        """Return the runs of a piece as they lie in the source's shard, and as they lie in the piece's own tensor."""
        shard = [
            run.part(piece * run.length // self.num_pieces, (piece + 1) * run.length // self.num_pieces)
            for run in self.travelling[source]
        ]
        packed, offset = [], 0
        for run in shard:
            packed.append(Run(run.start, run.stride, run.length, offset))
            offset += run.length
        return [run for run in shard if run.length], [run for run in packed if run.length]

    def _needed(self, keys: Run, ranks: Sequence[int]) -> Run | None:
        """Return the part of a run, from the first to the last token, that some ranks attend to."""
        spans = [self.mask.span(queries, keys) for rank in ranks for queries in self.runs[rank]]
        needed = [span for span in spans if span is not None]
        return keys.part(min(first for first, _ in needed), max(last for _, last in needed)) if needed else None

    def _after(self, rank: int, hops: int) -> int:
        return (rank + hops) % self.world_size


@lru_cache(maxsize=256)
def journey(sequence_length: int, world_size: int, layout: Layout, mask: Mask, num_pieces: int) -> Journey:
    """Return the journey with its routes, worked out once for all layers and steps."""
    return Journey(sequence_length, world_size, layout, mask, num_pieces)


class Documents:
    """The segment ids of every rank's tokens, run-length encoded: all of them are a few numbers a document."""

    def __init__(self, encoded: Sequence[Sequence[tuple[Sequence[int], Sequence[int]]]]) -> None:
        self._encoded = encoded

    @staticmethod
    def encode(segment_ids: Tensor) -> list[tuple[list[int], list[int]]]:
        """Return (ids, lengths) of the stretches of equal ids, for each sequence of the batch."""
        rows = (torch.unique_consecutive(row, return_counts=True) for row in segment_ids.cpu())
        return [(ids.tolist(), counts.tolist()) for ids, counts in rows]

    def of(self, rank: int, runs: Sequence[Run], packed: Sequence[Run]) -> Stretches:
        """Return the documents in some runs of a rank's shard, as they lie in a packed tensor."""
        rows = ((torch.tensor(i, dtype=torch.long), torch.tensor(n, dtype=torch.long)) for i, n in self._encoded[rank])
        ids = torch.stack([torch.repeat_interleave(row, counts) for row, counts in rows])
        parts = [ids[:, run.offset : run.offset + run.length] for run in runs]
        return stretches(torch.cat(parts, dim=1) if parts else ids[:, :0], packed)


class Work:
    """What one rank computes: the tiles of its queries against a piece."""

    def __init__(self, journey: Journey, rank: int, documents: Documents | None) -> None:
        self.journey = journey
        self.rank = rank
        self._documents = documents
        runs = journey.runs[rank]
        self._queries = None if documents is None else documents.of(rank, runs, runs)

    def own_tiles(self) -> list[Tile]:
        """Return the tiles of the rank's queries against its own keys."""
        runs = self.journey.runs[self.rank]
        if self._queries is None:
            return self.journey.mask.tiles(runs, runs)
        return document_tiles(self.journey.mask, self._queries, self._queries)

    def tiles(self, source: int, piece: int) -> list[Tile]:
        """Return the tiles of the rank's queries against a piece of another rank's keys."""
        shard, packed = self.journey.piece_runs(source, piece)
        if self._documents is None or self._queries is None:
            return self.journey.mask.tiles(self.journey.runs[self.rank], packed)
        keys = self._documents.of(source, shard, packed)
        return document_tiles(self.journey.mask, self._queries, keys)

    def num_pairs(self) -> int:
        """Return the pairs of query and key that this rank computes, all hops together."""
        hops = self.journey.rounds(self.rank)
        parts = [self.own_tiles()] + [self.tiles(hop.source, hop.piece) for hop in hops]
        return sum(tile.num_pairs for tiles in parts for tile in tiles)


def shortest_piece(key: Tensor) -> int:
    """Return the fewest tokens of keys that take no more time as a piece of their own than as part of a longer one.

    1,024 bytes of each number on processors (measured: `benchmarks/ring_attention.py`). Accelerators, which want more
    work at once, were not measured.
    """
    return 1024 // key.element_size() if key.device.type == "cpu" else 1024


def default_pieces(sequence_length: int, world_size: int, layout: Layout, mask: Mask, shortest: int) -> int:
    """Return a number of pieces: up to sixteen of at least `shortest` tokens, or one for a shard below 4,096."""
    travelling = journey(sequence_length, world_size, layout, mask, 1).travelling
    tokens = max(sum(run.length for run in runs) for runs in travelling)
    return min(tokens // shortest, _MOST_PIECES) if tokens >= _SHORTEST_SHARD else 1
