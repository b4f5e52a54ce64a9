"""The rolling buffer cache (section 2, figure 2): what a text keeps in memory does not grow beyond the window.

    W = 4, rows of 6, 3 and 9 tokens          slot    0 1 2 3
                                              row 0   4 5 2 3      position i at slot i mod W
                                              row 1   0 1 2 -
                                              row 2   8 5 6 7

Keys are stored rotated to their positions, so a query may read them in whatever order they lie: nothing is moved when
the buffer rolls. A layer without a window keeps every token. Rows that take part in a forward pass are the first ones.
"""

from collections.abc import Iterator, Sequence
from math import ceil

import torch
from jaxtyping import Float, Int

from ...errors import OctoberError
from ..cache import checked_new_lengths
from ..decoder_config import DecoderConfig
from ..transformer import token_of_each_row
from .rolling_pass import Pass

Buffer = Float[torch.Tensor, "rows kv_heads slots head_dim"]


class RollingBufferCache:
    """A `RowCache` of `min(W, capacity)` slots in each layer with a window of W keys, un-repeated heads, in place.

    Rows of a pass are padded on the right, and padding is never stored; `RollingCache` takes padding on
    the left, as transformers has it.

    Args:
        config: Of the decoder.
        num_rows: Rows to begin with.
        capacity: Tokens of the longest text, those to come included, if known: buffers are not made larger than that.
            Doubled when a row is full, up to W slots; layers without a window go on doubling.
        dtype: Of keys and values.
        device: Of keys and values.

    Attributes:
        lengths: Tokens of each row, those that have left the window included.

    Raises:
        OctoberError: `num_rows` or `capacity` below 1.
    """

    def __init__(
        self,
        config: DecoderConfig,
        num_rows: int,
        capacity: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> None:
        if num_rows < 1 or capacity < 1:
            raise OctoberError(f"num_rows={num_rows} and capacity={capacity} of a cache: both must be at least 1")
        self.windows = config.sliding_windows
        self.capacity = capacity
        self.lengths = [0] * num_rows
        self._written = [0] * num_rows  # where each row has been written up to, before it was cropped
        shapes = [(num_rows, config.num_kv_heads, self._num_slots(window), config.head_dim) for window in self.windows]
        # zeros, not whatever memory held: what is masked is still multiplied by zero, and NaN would survive it
        with torch.inference_mode(False):  # inference tensors could not be written to outside that mode
            self.keys: list[Buffer] = [torch.zeros(shape, dtype=dtype, device=device) for shape in shapes]
            self.values: list[Buffer] = [torch.zeros(shape, dtype=dtype, device=device) for shape in shapes]
        self._pass: Pass | None = None

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
        self._pass = Pass(self.lengths[:rows], new, num_tokens, self.keys[0].device)
        self.reserve(max(self._pass.ends))
        for row, end in enumerate(self._pass.ends):
            self.lengths[row] = end
            self._written[row] = max(end, self._written[row])
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
            OctoberError: A gradient is wanted: none goes through what was stored. Or the decoder has another window
                than the cache was made for.
        """
        assert self._pass is not None, "begin() comes first"
        if key.requires_grad:
            raise OctoberError("a RollingBufferCache keeps no gradients: call the decoder under torch.inference_mode()")
        if sliding_window != self.windows[layer]:
            raise OctoberError(
                f"sliding_window={sliding_window} of layer {layer}: the cache was made for {self.windows[layer]}"
            )
        keys, values, rows = self.keys[layer], self.values[layer], query.shape[0]
        if rows < len(self.lengths):
            keys, values = keys[:rows], values[:rows]
        if asked is not None:
            query = token_of_each_row(query, asked)
        read = self._pass.read(sliding_window, keys.shape[2], last=asked is not None)
        return read.attend(query, (key, value), (keys, values), scale)

    def reserve(self, capacity: int) -> None:
        """Make room for rows of so many tokens; at least twice the room there was, so that copies are few."""
        if capacity > self.capacity:
            self.capacity = max(capacity, 2 * self.capacity)
            self._enlarge(len(self.lengths))

    def reset(self) -> None:
        """Forget all rows' tokens."""
        for row in range(len(self.lengths)):
            self.crop(row, 0)

    def add_rows(self, count: int) -> None:
        """Put empty rows after the others."""
        self._enlarge(len(self.lengths) + count)
        self.lengths += [0] * count
        self._written += [0] * count

    def swap_rows(self, row: int, other: int) -> None:
        """Let two rows change places."""
        used = max(self._written[row], self._written[other])
        if row == other or used == 0:
            return
        for buffer in self._buffers():
            kept = buffer[row, :, :used].clone()
            buffer[row, :, :used] = buffer[other, :, :used]
            buffer[other, :, :used] = kept
        for numbers in (self.lengths, self._written):
            numbers[row], numbers[other] = numbers[other], numbers[row]

    def copy_row(self, row: int, source: "RollingBufferCache", source_row: int) -> None:
        """Replace a row by one of another cache for the same decoder."""
        used = source._written[source_row]
        self.crop(row, 0)
        self.reserve(used)
        for buffer, other in zip(self._buffers(), source._buffers(), strict=True):
            slots = min(used, other.shape[2])
            buffer[row, :, :slots] = other[source_row, :, :slots]
        self.lengths[row], self._written[row] = source.lengths[source_row], used

    def load(
        self,
        layer: int,
        positions: Int[torch.Tensor, " tokens"],
        key: Float[torch.Tensor, "rows kv_heads tokens head_dim"],
        value: Float[torch.Tensor, "rows kv_heads tokens head_dim"],
    ) -> None:
        """Write tokens that were computed elsewhere, of all rows, at some of the last W positions in any order.

        Every layer must get all that later tokens see; rows then go on behind the last position.
        """
        if not len(positions):
            return
        end = int(positions.max()) + 1
        self.reserve(end)
        self.lengths = [max(end, length) for length in self.lengths]
        self._written = [max(end, written) for written in self._written]
        slots = positions % self.keys[layer].shape[2]
        self.keys[layer][:, :, slots], self.values[layer][:, :, slots] = key, value

    def crop(self, row: int, length: int) -> int:
        """Forget a row's tokens from a length on; return how many remain.

        Where a buffer has rolled, the keys that it would need further back are overwritten: by more than one token a
        row can then only be cropped to nothing.
        """
        written, kept = self._written[row], min(length, self.lengths[row])
        has_rolled = written > min((window for window in self.windows if window is not None), default=written)
        if has_rolled and kept < written - 1:
            kept = 0
        for buffer in self._buffers():
            slots = buffer.shape[2]
            first = kept % slots if kept else 0
            buffer[row, :, first : first + written - kept] = 0
        self.lengths[row] = kept
        self._written[row] = written if has_rolled and kept else kept
        return kept

    def row_places(self, length: int) -> int:
        """Return how many places a row of so many tokens takes, as a mean over layers: at most W in each."""
        places = sum(length if window is None else min(window, length) for window in self.windows)
        return ceil(places / len(self.windows))

    def memory_bytes(self) -> int:
        """Return the bytes of all keys and values, free places included: 2 L W times the bytes of a key, once full."""
        return sum(buffer.nbytes for buffer in self._buffers())

    def _buffers(self) -> Iterator[Buffer]:
        yield from self.keys
        yield from self.values

    def _num_slots(self, window: int | None) -> int:
        return self.capacity if window is None else min(window, self.capacity)

    def _enlarge(self, num_rows: int) -> None:
        """Make room for more rows, or of more slots: of a window, while slots are still positions."""
        for buffers in (self.keys, self.values):
            for layer, (old, window) in enumerate(zip(buffers, self.windows, strict=True)):
                slots = self._num_slots(window)
                if (num_rows, slots) == (old.shape[0], old.shape[2]):
                    continue
                with torch.inference_mode(False):
                    new = old.new_zeros(num_rows, old.shape[1], slots, old.shape[3])
                new[: old.shape[0], :, : old.shape[2]] = old
                buffers[layer] = new
