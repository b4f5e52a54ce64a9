"""One forward pass through rolling buffers: which keys its queries see, and where its own keys go.

A query at position p sees the keys at positions p - W < j <= p. How they are read depends on what is there:

    nothing before          attend to the new tokens alone, then write them
    one token a row,        write first: the slots then hold just the W keys that it sees, in whatever order
      or each row's last
    nothing falls out yet   write first: slots are positions, so that keys are read where they lie
    a chunk that rolls      attend to [buffer before, chunk], then write: the chunk would overwrite what its first
                            queries still see. Figure 3's three zones:

                                beyond the window      buffer before       chunk
                                (gone, never read)     0 x x x             x 0 0 0
                                                       0 0 x x             x x 0 0         W = 4
                                                       0 0 0 x             x x x 0
                                                       0 0 0 0             x x x x
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ...reporting.environment import cpu_multiplies_bfloat16
from ..causal_attention import PlacedQueries, full_attention
from ..ring_attention import blockwise_attention, continued_attention
from .slots import before, write

_MANY_KEYS = 2048  # of all rows together


class Pass:
    """Where the tokens of one forward pass go, and what they see.

    Args:
        starts: Position of each row's first new token.
        new: How many of each row's tokens count.
        num_tokens: Tokens of a row, padding included.
        device: Where keys and values are.

    Attributes:
        positions: Of all tokens, [rows, num_tokens].
    """

    def __init__(self, starts: Sequence[int], new: Sequence[int], num_tokens: int, device: torch.device) -> None:
        self.starts, self.new, self.num_tokens, self.device = list(starts), list(new), num_tokens, device
        self.ends = [start + count for start, count in zip(starts, new, strict=True)]
        self.positions = torch.tensor(self.starts, device=device)[:, None]
        if num_tokens > 1:
            self.positions = self.positions + torch.arange(num_tokens, device=device)
        self._reads: dict[tuple[int | None, bool], Read] = {}

    def read(self, window: int | None, num_slots: int, *, last: bool = False) -> "Read":
        """Return how layers of one window, whose buffers have so many slots, read and write; made once for all.

        Args:
            window: W.
            num_slots: Of the buffers.
            last: Whether only each row's last new token attends.
        """
        if (window, last) not in self._reads:
            kind = _OneToken if last else self._kind(num_slots)
            self._reads[window, last] = kind(self, window, num_slots)
        return self._reads[window, last]

    def _kind(self, num_slots: int) -> type["Read"]:
        if self.num_tokens == 1:
            return _OneToken
        if max(self.starts) == 0:
            return _Fresh
        return _InPlace if max(self.ends) <= num_slots else _Rolling


class Read(ABC):
    """How the layers of one window attend in a pass."""

    def __init__(self, current: Pass, window: int | None, num_slots: int) -> None:
        self.window = window
        self._write = _Writer(current, num_slots)

    @abstractmethod
    def attend(
        self,
        query: Float[Tensor, "rows heads sequence head_dim"],
        new: tuple[Float[Tensor, "rows kv_heads sequence head_dim"], Float[Tensor, "rows kv_heads sequence head_dim"]],
        buffers: tuple[Float[Tensor, "rows kv_heads slots head_dim"], Float[Tensor, "rows kv_heads slots head_dim"]],
        scale: float,
    ) -> Float[Tensor, "rows heads sequence head_dim"]:
        """Attend to the buffers' tokens and the new ones, and write these.

        Args:
            query: Queries of the new tokens.
            new: Their keys and values.
            buffers: Keys and values of the rows.
            scale: Factor on the scores.
        """

    def _store(self, new: tuple[Tensor, Tensor], buffers: tuple[Tensor, Tensor]) -> None:
        for tokens, buffer in zip(new, buffers, strict=True):
            self._write(tokens, buffer)


class _OneToken(Read):
    """A row's last token: keys lie in slots in any order, for they were rotated before they were stored."""

    def __init__(self, current: Pass, window: int | None, num_slots: int) -> None:
        super().__init__(current, window, num_slots)
        used = [max(1, min(end, num_slots)) for end in current.ends]  # 1: a row without any token looks at a zero
        self._used = max(used)
        self._visible: Tensor | None = None
        if min(used) < self._used:
            ends = torch.tensor(used, device=current.device)
            self._visible = (torch.arange(self._used, device=current.device) < ends[:, None])[:, None, None]

    def attend(self, query: Tensor, new: tuple[Tensor, Tensor], buffers: tuple[Tensor, Tensor], scale: float) -> Tensor:
        keys, values = buffers
        self._write(new[0], keys)
        self._write(new[1], values)
        if self._used < keys.shape[2]:
            keys, values = keys[:, :, : self._used], values[:, :, : self._used]
        # the heads of a group as queries of one head: keys are read once, and not repeated
        grouped = query.reshape(query.shape[0], keys.shape[1], -1, query.shape[3])
        return grouped_read(grouped, keys, values, self._visible, scale).reshape(query.shape)


def grouped_read(
    query: Float[Tensor, "rows kv_heads group head_dim"],
    keys: Float[Tensor, "rows kv_heads slots head_dim"],
    values: Float[Tensor, "rows kv_heads slots head_dim"],
    visible: Tensor | None,
    scale: float,
) -> Float[Tensor, "rows kv_heads group head_dim"]:
    """Return a few queries' mixtures of all values that they see; by matrix products where those read faster.

    Torch's fused CPU kernel widens many keys of 16 bits at half the speed of a product, where the processor has
    instructions for that; emulated, the product is six times slower. Like the plain attention of other packages, it
    rounds scores to 16 bits before the softmax, which is in float32.
    """
    many = keys.shape[0] * keys.shape[2] >= _MANY_KEYS
    if not many or query.dtype != torch.bfloat16 or query.device.type != "cpu" or not cpu_multiplies_bfloat16():
        return functional.scaled_dot_product_attention(query, keys, values, attn_mask=visible, scale=scale)
    scores = (query @ keys.mT).float() * scale
    if visible is not None:
        scores = scores.masked_fill(~visible, -torch.inf)
    return torch.softmax(scores, dim=-1).to(values.dtype) @ values


class _Fresh(Read):
    """A prompt's first tokens: out-of-window blocks are not computed, and there is no mask for long ones."""

    def attend(self, query: Tensor, new: tuple[Tensor, Tensor], buffers: tuple[Tensor, Tensor], scale: float) -> Tensor:
        self._store(new, buffers)
        if self.window is None or self.window >= query.shape[2]:
            return full_attention(query, *new, scale=scale)
        return blockwise_attention(query, *new, sliding_window=self.window, scale=scale)


class _InPlace(Read):
    """Nothing falls out of a buffer yet: slots are positions."""

    def __init__(self, current: Pass, window: int | None, num_slots: int) -> None:
        super().__init__(current, window, num_slots)
        self._stored = max(current.ends)
        self._queries: PlacedQueries | None = None  # where rows go on from one position there is no need of a mask
        if _common(current.starts) is None or self._stored < current.starts[0] + current.num_tokens:
            self._queries = PlacedQueries(current.starts, current.num_tokens, self._stored, current.device)

    def attend(self, query: Tensor, new: tuple[Tensor, Tensor], buffers: tuple[Tensor, Tensor], scale: float) -> Tensor:
        self._store(new, buffers)
        keys, values = (buffer[:, :, : self._stored] for buffer in buffers)
        if self._queries is None:
            return continued_attention(query, keys, values, sliding_window=self.window, scale=scale)
        return self._queries.attend(query, keys, values, sliding_window=self.window, scale=scale)


class _Rolling(Read):
    """A chunk of a text that is longer than the window.

    The last tokens of each row are copied in the order of their positions, the chunk after them; the chunk stands in
    the same columns in all rows, so that one band serves all that have a whole window before it.
    """

    def __init__(self, current: Pass, window: int | None, num_slots: int) -> None:
        super().__init__(current, window, num_slots)
        earlier = min(num_slots - 1, max(current.starts))
        self._earlier, self._start = earlier, _common(current.starts)
        self._queries: PlacedQueries | None = None
        if self._start is None:
            starts = torch.tensor(current.starts, device=current.device)[:, None]
            # a row with fewer tokens has none at its first columns; they show slots that hold zeros
            self._slots = (starts + torch.arange(-earlier, 0, device=current.device)) % num_slots
            if min(current.starts) < earlier:
                columns = earlier + current.num_tokens
                segment_ids = (torch.arange(columns, device=current.device) >= earlier - starts).long()
                self._queries = PlacedQueries([earlier], current.num_tokens, columns, current.device, segment_ids)

    def attend(self, query: Tensor, new: tuple[Tensor, Tensor], buffers: tuple[Tensor, Tensor], scale: float) -> Tensor:
        keys, values = (
            torch.cat([*self._before(buffer), tokens], dim=2) for buffer, tokens in zip(buffers, new, strict=True)
        )
        if self._queries is None:
            output = continued_attention(query, keys, values, sliding_window=self.window, scale=scale)
        else:
            output = self._queries.attend(query, keys, values, sliding_window=self.window, scale=scale)
        self._store(new, buffers)
        return output

    def _before(self, buffer: Tensor) -> list[Tensor]:
        if self._start is not None:
            return before(buffer, self._start, self._earlier)
        rows = torch.arange(buffer.shape[0], device=buffer.device)[:, None]
        return [buffer[rows, :, self._slots].transpose(1, 2)]


class _Writer:
    """Puts the new tokens that count, and that will not be overwritten by later ones, into their slots."""

    def __init__(self, current: Pass, num_slots: int) -> None:
        self._start = _common(current.starts) if min(current.new) == current.num_tokens else None
        if self._start is not None:
            self._only_slot: Tensor | None = None
            if current.num_tokens == 1:
                self._only_slot = torch.tensor([self._start % num_slots], device=current.device)
            return
        tokens = torch.arange(current.num_tokens)
        new = torch.tensor(current.new)[:, None]
        self._rows, self._tokens = ((tokens < new) & (tokens >= new - num_slots)).nonzero().to(current.device).T
        self._slots = current.positions[self._rows, self._tokens] % num_slots

    def __call__(
        self,
        new: Float[Tensor, "rows kv_heads sequence head_dim"],
        buffer: Float[Tensor, "rows kv_heads slots head_dim"],
    ) -> None:
        if self._start is None:
            buffer[self._rows, :, self._slots] = new[self._rows, :, self._tokens]
        elif self._only_slot is None:
            write(buffer, new, self._start)
        else:
            buffer.index_copy_(2, self._only_slot, new)  # one call, in every layer of every step


def _common(numbers: Sequence[int]) -> int | None:
    """Return the number that all are, if there is one."""
    return numbers[0] if len(set(numbers)) == 1 else None
