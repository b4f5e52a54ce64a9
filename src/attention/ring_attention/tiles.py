"""Cuts the pairs that attend into tiles which fused kernels compute without a mask.

Two runs of one stride, queries at a + s i and keys at b + s j, attend where low <= i - j <= high: a causal mask and a
sliding window of W keys (the own one included) both become bounds on the difference of indices,

    a + s i >= b + s j             <=>   i - j >= ceil((b - a) / s)           = low
    a + s i - (b + s j) <= W - 1   <=>   i - j <= floor((W - 1 + b - a) / s)  = high

and this band, cut to the rectangle of the two runs, is a union of full rectangles, lower triangles and upper ones:

    no far edge        far edge only        both edges, W = 4, in strips of 2 rows
    c . . .            f f f f              f f # c . . .      c  lower triangle, diagonal included ("causal")
    c c . .            . f f f              . f # c c . .      f  upper triangle, diagonal included ("far"):
    c c c .            . . f f              . . f f # c .         a lower one once queries and keys are reversed
    # # # #            . . . f              . . . f # c c      #  full
    # # # #

A band narrower than `NARROW` is cut into strips computed with a mask ("band"), for triangles of a few rows are slow.
Blocks outside the band give no tile: they are never computed. Every row of a tile attends to at least one of its keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from ...errors import OctoberError
from .layouts import Run

Kind = Literal["full", "causal", "far", "band"]
NARROW = 128  # diagonals
STRIP = 256  # rows of a strip of a narrow band
WIDE_STRIP = 1024  # rows of a strip of any other band: from 768 on, the CPU kernel takes its largest blocks


@dataclass(frozen=True)
class Tile:
    """Queries row to row + height - 1 against keys column to column + width - 1.

    A triangle is square, or it has more rows than keys (a step of `stairs`): then those after a lower triangle, or
    before an upper one, attend to all of its keys.

    A tile of kind `band` holds the pairs with low <= i - j <= high, i and j counted within it. `sequence` is the
    one of the batch that it belongs to; None for all.
    """

    kind: Kind
    row: int
    column: int
    height: int
    width: int
    low: int = 0
    high: int = 0
    sequence: int | None = None

    @property
    def rows(self) -> slice:
        """Of the queries."""
        return slice(self.row, self.row + self.height)

    @property
    def columns(self) -> slice:
        """Of the keys."""
        return slice(self.column, self.column + self.width)

    @property
    def num_pairs(self) -> int:
        """Pairs of query and key that attend."""
        if self.kind == "full":
            return self.height * self.width
        if self.kind == "band":
            spans = (
                (max(0, i - self.high), min(self.width, i - self.low + 1)) for i in range(self.height)
            )  # keys of row i
            return sum(last - first for first, last in spans)
        return self.width * (self.width + 1) // 2 + (self.height - self.width) * self.width


@dataclass(frozen=True)
class Mask:
    """Which keys a query attends to, besides those of its own document.

    Attributes:
        causal: Keys at or before the query's position only.
        sliding_window: Keys at a distance of less than so many positions; None for all.
    """

    causal: bool = True
    sliding_window: int | None = None

    def __post_init__(self) -> None:
        if self.sliding_window is not None and self.sliding_window < 1:
            raise OctoberError(f"sliding_window={self.sliding_window}: must be at least 1 (the key itself), or None")

    def band(self, queries: Run, keys: Run) -> tuple[int, int]:
        """Return the bounds of i - j between two runs of one stride."""
        stride, ahead = queries.stride, keys.start - queries.start
        low, high = 1 - keys.length, queries.length - 1  # no bound at all
        if self.causal:
            low = max(low, -(-ahead // stride))
        if self.sliding_window is not None:
            high = min(high, (self.sliding_window - 1 + ahead) // stride)
            if not self.causal:
                low = max(low, -((self.sliding_window - 1 - ahead) // stride))
        return low, high

    def reaches(self, queries: Sequence[Run], keys: Sequence[Run]) -> bool:
        """Tell whether any query of some runs attends to any key of others."""
        return any(self.span(q, k) is not None for q in queries for k in keys)

    def span(self, queries: Run, keys: Run) -> tuple[int, int] | None:
        """Return the first key of a run that any query of another attends to, and the one after the last."""
        held = _trimmed(queries.length, keys.length, *self.band(queries, keys))
        return None if held is None else (held[1], held[1] + held[3])

    def tiles(self, queries: Sequence[Run], keys: Sequence[Run]) -> list[Tile]:
        """Return the tiles of the pairs that attend, every pair of runs on its own."""
        return [
            replace(tile, row=tile.row + q.offset, column=tile.column + k.offset)
            for q in queries
            for k in keys
            for tile in band_tiles(q.length, k.length, *self.band(q, k))
        ]


def band_tiles(height: int, width: int, low: int, high: int) -> list[Tile]:
    """Cut the pairs low <= i - j <= high of a rectangle into tiles that cover each of them once."""
    trimmed = _trimmed(height, width, low, high)
    if trimmed is None:
        return []
    row, column, height, width = trimmed
    low, high = low - row + column, high - row + column
    near, far = low > 1 - width, high < height - 1  # does the edge cut the rectangle?
    if near and far:
        tiles = _narrow_strips(height, width, low, high) if high - low < NARROW else _strips(height, width, low, high)
    elif far:
        tiles = [_reversed(tile, height, width) for tile in _below(height, width, height - width - high)]
    else:
        tiles = _below(height, width, low)
    return [replace(tile, row=tile.row + row, column=tile.column + column) for tile in tiles]


def cut_triangle(tile: Tile, side: int) -> list[Tile]:
    """Cut a triangle into squares and triangles of at most `side` rows, halving it; other tiles stay whole."""
    if tile.kind not in ("causal", "far") or tile.height <= side:
        return [tile]
    half = -(-tile.height // (2 * side)) * side
    rest = tile.height - half
    first, second = replace(tile, height=half, width=half), _part(tile, half, half, rest, rest)
    if tile.kind == "causal":
        square = replace(_part(tile, half, 0, rest, half), kind="full")
    else:
        square = replace(_part(tile, 0, half, half, rest), kind="full")
    return [*cut_triangle(first, side), square, *cut_triangle(second, side)]


def stairs(tile: Tile, side: int) -> list[Tile]:
    """Cut a triangle into steps of at most `side` keys, each with all rows that see any of them; others stay whole.

    So the gradients of keys are touched once, and the CPU kernel goes through many rows in larger blocks.
    """
    if tile.kind not in ("causal", "far"):
        return [tile]
    steps = []
    for column in range(0, tile.width, side):
        width = min(side, tile.width - column)
        rows = (column, tile.height) if tile.kind == "causal" else (0, column + width)
        steps.append(_part(tile, rows[0], column, rows[1] - rows[0], width))
    return steps


def cut_rectangle(tile: Tile, side: int) -> list[Tile]:
    """Cut a rectangle into parts of at most `side` rows and keys; other tiles stay whole."""
    if tile.kind != "full":
        return [tile]
    return [
        _part(tile, row, column, min(side, tile.height - row), min(side, tile.width - column))
        for row in range(0, tile.height, side)
        for column in range(0, tile.width, side)
    ]


def _part(tile: Tile, row: int, column: int, height: int, width: int) -> Tile:
    return replace(tile, row=tile.row + row, column=tile.column + column, height=height, width=width)


def _trimmed(height: int, width: int, low: int, high: int) -> tuple[int, int, int, int] | None:
    """Return row, column, height, width of the smallest rectangle that holds the band; None if it is empty."""
    row, column = max(0, low), max(0, -high)
    last_row, last_column = min(height, width + high), min(width, height - low)
    if low > high or row >= last_row or column >= last_column:
        return None
    return row, column, last_row - row, last_column - column


def _below(height: int, width: int, low: int) -> list[Tile]:
    """Cut j <= i - low, low <= 0: all rows against the keys before the diagonal, a triangle, all keys for the rest."""
    before = min(-low, width)
    side = width - before  # at most height, as the rectangle is trimmed
    if side <= 1:  # its first row already attends to all keys
        return [Tile("full", 0, 0, height, width)]
    tiles = [Tile("causal", 0, before, side, side)]
    if before:
        tiles.append(Tile("full", 0, 0, side, before))
    if height > side:
        tiles.append(Tile("full", side, 0, height - side, width))
    return tiles


def _reversed(tile: Tile, height: int, width: int) -> Tile:
    kind: Kind = "far" if tile.kind == "causal" else tile.kind
    row, column = height - tile.row - tile.height, width - tile.column - tile.width
    return replace(tile, kind=kind, row=row, column=column)


def _strips(height: int, width: int, low: int, high: int) -> list[Tile]:
    """Cut a band into strips of rows: an upper triangle, what lies between, and a lower triangle."""
    side = max(1, min(WIDE_STRIP, high - low))
    tiles = []
    for row in range(0, height, side):
        rows = min(side, height - row)
        edges = (row - high, min(row - high + side, row - low), row - low, row - low + side)  # columns
        for first, last in pairwise(min(max(edge, 0), width) for edge in edges):
            if first < last:
                part = band_tiles(rows, last - first, low - row + first, high - row + first)
                tiles += [replace(tile, row=tile.row + row, column=tile.column + first) for tile in part]
    return tiles


def _narrow_strips(height: int, width: int, low: int, high: int) -> list[Tile]:
    strips = []
    for row in range(0, height, STRIP):
        rows = min(STRIP, height - row)
        first, last = max(0, row - high), min(width, row + rows - low)
        strips.append(Tile("band", row, first, rows, last - first, low - row + first, high - row + first))
    return strips
