"""The memory of a decoder: keys and values of every layer, row by row, each row a text of its own length.

    row 0   k k k k k k . .      6 tokens; the next one is written at place 6
    row 1   k k k . . . . .      3 tokens; places are positions, so rows of any lengths stand side by side
    row 2   k k k k k k k k      and padding is never stored

Rows that take part in a forward pass are the first ones; `swap_rows` brings them there.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Protocol, Self

import torch
from jaxtyping import Float, Int

from ..errors import OctoberError
from .causal_attention import Attention, PlacedQueries, full_attention
from .decoder_config import DecoderConfig
from .transformer import Cache, token_of_each_row


class RowCache(Cache, Protocol):
    """A cache whose rows come and go one by one.

    Attributes:
        lengths: Tokens of each row.
    """

    lengths: list[int]

    def attend(
        self,
        layer: int,
        query: Float[torch.Tensor, "batch heads sequence head_dim"],
        key: Float[torch.Tensor, "batch kv_heads sequence head_dim"],
        value: Float[torch.Tensor, "batch kv_heads sequence head_dim"],
        *,
        positions: Int[torch.Tensor, "batch sequence"],
        sliding_window: int | None,
        scale: float,
        asked: Int[torch.Tensor, " batch"] | None = None,
    ) -> Float[torch.Tensor, "batch heads queries head_dim"]:
        """As `Cache.attend`; `asked` names the last new token of each row, and then that one attends alone."""

    def add_rows(self, count: int) -> None:
        """Put empty rows after the others."""

    def swap_rows(self, row: int, other: int) -> None:
        """Let two rows change places."""

    def copy_row(self, row: int, source: Self, source_row: int) -> None:
        """Replace a row by one of a cache of the same kind."""

    def crop(self, row: int, length: int) -> int:
        """Forget a row's tokens from a length on; return how many remain, fewer where the cache can't go back there."""

    def row_places(self, length: int) -> int:
        """Return how many places a row of so many tokens takes, as a mean over layers."""

    def memory_bytes(self) -> int:
        """Return the bytes of all keys and values, free places included."""


def checked_new_lengths(
    cache: RowCache, shape: tuple[int, int], positions: torch.Tensor | None, new_lengths: Sequence[int] | None
) -> list[int]:
    """Return how many tokens count in each row of a pass; arguments as of `Cache.begin`.

    Raises:
        OctoberError: Positions are given (each row goes on where it ended), there are fewer rows, or lengths do not
            fit the tokens.
    """
    rows, num_tokens = shape
    new = [num_tokens] * rows if new_lengths is None else list(new_lengths)
    if positions is not None:
        raise OctoberError(f"positions with a {type(cache).__name__}: each row goes on where it ended; give none")
    if rows > len(cache.lengths):
        raise OctoberError(f"token_ids have {rows} rows: the cache has {len(cache.lengths)}")
    if len(new) != rows or not all(0 <= count <= num_tokens for count in new):
        raise OctoberError(f"new_lengths={new}: give {rows} numbers from 0 to {num_tokens}")
    return new


class RowCacheMaker(Protocol):
    """Makes the cache of a decoder: `DenseCache`, or another class of the same signature."""

    def __call__(
        self, config: DecoderConfig, num_rows: int, capacity: int, *, dtype: torch.dtype, device: torch.device
    ) -> RowCache:
        """Return an empty cache for so many rows of so many tokens."""


class DenseCache:
    """A `RowCache` that keeps every token: un-repeated key and value heads, allocated ahead, written in place.

    Args:
        config: Of the decoder.
        num_rows: Rows to begin with.
        capacity: Tokens of a row to begin with; doubled when a row is full.
        dtype: Of keys and values.
        device: Of keys and values.
        attention: How tokens attend that have nothing before them.
    """

    def __init__(
        self,
        config: DecoderConfig,
        num_rows: int,
        capacity: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
        attention: Attention = full_attention,
    ) -> None:
        if num_rows < 1 or capacity < 1:
            raise OctoberError(f"num_rows={num_rows} and capacity={capacity} of a cache: both must be at least 1")
        shape = (num_rows, config.num_kv_heads, capacity, config.head_dim)
        # zeros, not whatever memory held: what is masked is still multiplied by zero, and NaN would survive it
        with torch.inference_mode(False):  # inference tensors could not be written to outside that mode
            self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.num_layers)]
            self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.num_layers)]
        self.lengths = [0] * num_rows
        self._attention = attention
        self._pass: _Pass | None = None

    @property
    def capacity(self) -> int:
        """Tokens that a row has room for."""
        return self.keys[0].shape[2]

    def begin(
        self,
        shape: tuple[int, int],
        *,
        positions: Int[torch.Tensor, "batch sequence"] | None = None,
        new_lengths: Sequence[int] | None = None,
    ) -> Int[torch.Tensor, "batch sequence"]:
        """Make room for a forward pass over the first rows; see `Cache.begin`.

        Raises:
            OctoberError: As `checked_new_lengths`.
        """
        rows, num_tokens = shape
        new = checked_new_lengths(self, shape, positions, new_lengths)
        starts = self.lengths[:rows]
        ends = [start + count for start, count in zip(starts, new, strict=True)]
        self.reserve(max(ends))
        self.lengths[:rows] = ends
        self._pass = _Pass(starts, new, num_tokens, self.keys[0].device)
        return self._pass.positions

    def attend(
        self,
        layer: int,
        query: Float[torch.Tensor, "batch heads sequence head_dim"],
        key: Float[torch.Tensor, "batch kv_heads sequence head_dim"],
        value: Float[torch.Tensor, "batch kv_heads sequence head_dim"],
        *,
        positions: Int[torch.Tensor, "batch sequence"],
        sliding_window: int | None,
        scale: float,
        asked: Int[torch.Tensor, " batch"] | None = None,
    ) -> Float[torch.Tensor, "batch heads queries head_dim"]:
        """Store and attend; see `RowCache.attend`.

        Raises:
            OctoberError: A gradient is wanted: none goes through what was stored.
        """
        assert self._pass is not None, "begin() comes first"
        if key.requires_grad:
            raise OctoberError("a DenseCache keeps no gradients: call the decoder under torch.inference_mode()")
        self._pass.write(key, self.keys[layer])
        self._pass.write(value, self.values[layer])
        queries = self._pass.queries
        if asked is not None:
            query, queries = token_of_each_row(query, asked), self._pass.last_queries
        elif self._pass.nothing_before:
            return self._attention(query, key, value, sliding_window=sliding_window, segment_ids=None, scale=scale)
        rows = slice(0, query.shape[0])
        return queries.attend(
            query, self.keys[layer][rows], self.values[layer][rows], sliding_window=sliding_window, scale=scale
        )

    def reserve(self, capacity: int) -> None:
        """Make room for rows of so many tokens; at least twice the room there was, so that copies are few."""
        if capacity > self.capacity:
            self._enlarge(len(self.lengths), max(capacity, 2 * self.capacity))

    def add_rows(self, count: int) -> None:
        """Put empty rows after the others."""
        self._enlarge(len(self.lengths) + count, self.capacity)
        self.lengths += [0] * count

    def swap_rows(self, row: int, other: int) -> None:
        """Let two rows change places."""
        used = max(self.lengths[row], self.lengths[other])
        if row == other or used == 0:
            return
        for buffer in self._buffers():
            kept = buffer[row, :, :used].clone()
            buffer[row, :, :used] = buffer[other, :, :used]
            buffer[other, :, :used] = kept
        self.lengths[row], self.lengths[other] = self.lengths[other], self.lengths[row]

    def copy_row(self, row: int, source: "DenseCache", source_row: int) -> None:
        """Replace a row by one of another cache."""
        length = source.lengths[source_row]
        self.crop(row, 0)
        self.reserve(length)
        for buffer, other in zip(self._buffers(), source._buffers(), strict=True):
            buffer[row, :, :length] = other[source_row, :, :length]
        self.lengths[row] = length

    def crop(self, row: int, length: int) -> int:
        """Forget a row's tokens from a length on."""
        remaining = min(length, self.lengths[row])
        for buffer in self._buffers():
            buffer[row, :, remaining : self.lengths[row]] = 0
        self.lengths[row] = remaining
        return remaining

    def row_places(self, length: int) -> int:
        """Return how many places a row of so many tokens takes: all of them."""
        return length

    def memory_bytes(self) -> int:
        """Return the bytes of all keys and values, free places included."""
        return sum(buffer.nbytes for buffer in self._buffers())

    def _buffers(self) -> Iterator[Float[torch.Tensor, "rows kv_heads capacity head_dim"]]:
        yield from self.keys
        yield from self.values

    def _enlarge(self, num_rows: int, capacity: int) -> None:
        rows, used = len(self.lengths), max(self.lengths)
        for buffers in (self.keys, self.values):
            for layer, old in enumerate(buffers):
                with torch.inference_mode(False):
                    new = old.new_zeros(num_rows, old.shape[1], capacity, old.shape[3])
                new[:rows, :, :used] = old[:, :, :used]
                buffers[layer] = new


class _Pass:
    """Where the tokens of one forward pass go, and what they see; the same for all layers."""

    def __init__(self, starts: list[int], new: list[int], num_tokens: int, device: torch.device) -> None:
        stored = max(start + count for start, count in zip(starts, new, strict=True))
        self.nothing_before = max(starts) == 0
        self.queries = PlacedQueries(starts, num_tokens, stored, device)
        self._stored, self._device = stored, device
        self._last = [max(start + count - 1, 0) for start, count in zip(starts, new, strict=True)]
        places = torch.arange(num_tokens)
        self.positions = torch.tensor(starts)[:, None] + places
        self._start = starts[0] if len(set(starts)) == 1 and min(new) == num_tokens else None
        self._rows, self._tokens = (places < torch.tensor(new)[:, None]).nonzero(as_tuple=True)
        self._places = self.positions[self._rows, self._tokens].to(device)
        self._rows, self._tokens = self._rows.to(device), self._tokens.to(device)
        self.positions = self.positions.to(device)

    @cached_property
    def last_queries(self) -> PlacedQueries:
        """Each row's last new token, made where it is asked for: not in a decode step."""
        return PlacedQueries(self._last, 1, self._stored, self._device)

    def write(
        self,
        new: Float[torch.Tensor, "batch kv_heads sequence head_dim"],
        buffer: Float[torch.Tensor, "rows kv_heads capacity head_dim"],
    ) -> None:
        """Write the tokens that count into their places."""
        if self._start is not None:
            buffer[: len(new), :, self._start : self._start + new.shape[2]] = new
        else:
            buffer[self._rows, :, self._places] = new[self._rows, :, self._tokens]
