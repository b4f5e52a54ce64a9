"""A rolling buffer cache spread over the ranks of a ring.

    prompt of 12 tokens, W = 6, 2 ranks            rank 0                 rank 1
    zigzag shards                                  0 1 2 9 10 11          3 4 5 6 7 8
    kept of a layer with a window                        9 10 11                6 7 8
    after tokens 12 and 13                         12    9 10 11          13        8

Each rank keeps only those of its tokens that later ones still see. A new token's query goes to all keys where they
are, and the ranks' outputs are merged, as in a `ShardedCache`.
"""

from collections import deque
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...errors import OctoberError
from ..ring_attention import Layout, Ring, ShardedCache, merge_over, shard_positions

_QUERIES_AT_ONCE = 64  # whose scores are in memory
_ROOM = 16  # slots by which a buffer grows, at least
_NOWHERE = torch.iinfo(torch.long).max  # the position of an empty slot: later than any query


class ShardedRollingCache(ShardedCache):
    """A `ShardedCache` that forgets what has left the window; arguments as there.

    A rank keeps, of a layer with a window, the prompt's tokens of its shard among the last W, and the new tokens at
    positions p with p mod N its rank; these take the slots of tokens that no query sees any more.
    """

    def __init__(self, ring: Ring, prompt_length: int, *, layout: Layout = "zigzag") -> None:
        super().__init__(ring, prompt_length, layout=layout)
        self._kept: dict[int, KeptTokens] = {}

    def attend(
        self,
        layer: int,
        query: Float[Tensor, "batch heads sequence head_dim"],
        key: Float[Tensor, "batch kv_heads sequence head_dim"],
        value: Float[Tensor, "batch kv_heads sequence head_dim"],
        *,
        positions: Int[Tensor, "batch sequence"],
        sliding_window: int | None,
        scale: float,
    ) -> Float[Tensor, "batch heads sequence head_dim"]:
        """Keep this rank's keys and values, and attend to those of all ranks.

        Raises:
            OctoberError: A gradient is wanted: none goes through what was kept.
            RingError: A rank did not answer in time.
        """
        if key.requires_grad:
            raise OctoberError("a sharded cache keeps no gradients: call the decoder under torch.inference_mode()")
        places = positions[0].cpu()
        if layer not in self._kept:
            self._kept[layer] = KeptTokens(key, value, places, self.length, sliding_window)
            return self._over_prompt(query, key, value, sliding_window=sliding_window, scale=scale)
        kept = self._kept[layer]
        mine = places % self.ring.world_size == self.ring.rank
        kept.add(
            key[:, :, mine.to(key.device)], value[:, :, mine.to(key.device)], places[mine].tolist(), int(places[0])
        )
        parts = zip(torch.split(query, _QUERIES_AT_ONCE, dim=2), torch.split(places, _QUERIES_AT_ONCE), strict=True)
        outputs, log_sum_exps = zip(*(kept.attend(part, at, scale) for part, at in parts), strict=True)
        output, _ = merge_over(self.ring, torch.cat(outputs, dim=2), torch.cat(log_sum_exps, dim=2))
        return output.to(query.dtype)

    def memory_bytes(self) -> int:
        """Return the bytes of this rank's keys and values, free places included."""
        return sum(kept.key.nbytes + kept.value.nbytes for kept in self._kept.values())

    def layers(self) -> list["KeptTokens"]:
        """Return what this rank keeps, layer by layer."""
        return [self._kept[layer] for layer in sorted(self._kept)]

    def held_by(self, rank: int, window: int | None) -> Int[Tensor, " held"]:
        """Return the positions, among the last W, of a rank's tokens in a layer with such a window, in order."""
        ring, followed = self.ring, torch.arange(self.prompt_length, self.length)
        prompt = shard_positions(self.prompt_length, rank, ring.world_size, self.layout)
        held = torch.cat([prompt, followed[followed % ring.world_size == rank]]).sort().values
        return held if window is None else held[held >= self.length - window]


class KeptTokens:
    """One layer's keys and values on a rank, each in any slot, with their positions."""

    def __init__(self, key: Tensor, value: Tensor, places: Tensor, length: int, window: int | None) -> None:
        seen = torch.arange(len(places)) if window is None else (places >= length - window).nonzero()[:, 0]
        ordered = seen[places[seen].argsort()]
        self.key, self.value = key[:, :, ordered.to(key.device)], value[:, :, ordered.to(key.device)]
        self.window = window
        self._slots = deque(enumerate(places[ordered].tolist()))  # slot and position of each token, the oldest first
        self._places = places[ordered].to(key.device)
        self._free: list[int] = []

    def add(self, key: Tensor, value: Tensor, positions: Sequence[int], first_query: int) -> None:
        """Store new tokens in slots of tokens that the first query, and so any later one, does not see."""
        while self.window is not None and self._slots and self._slots[0][1] <= first_query - self.window:
            self._free.append(self._slots.popleft()[0])
        if len(positions) > len(self._free):
            self._grow(max(len(positions) - len(self._free), _ROOM, self.key.shape[2] // 8))
        taken = [self._free.pop() for _ in positions]
        self._slots.extend(zip(taken, positions, strict=True))
        self.key[:, :, taken], self.value[:, :, taken] = key, value
        self._places[taken] = torch.tensor(positions, dtype=torch.long, device=key.device)

    def attend(
        self, query: Float[Tensor, "batch heads queries head_dim"], places: Int[Tensor, " queries"], scale: float
    ) -> tuple[Float[Tensor, "batch heads queries head_dim"], Float[Tensor, "batch heads queries"]]:
        """Return output and log-sum-exp over this rank's keys; -inf where a query sees none of them."""
        places = places.to(query.device)[:, None]
        visible = self._places <= places
        if self.window is not None:
            visible &= self._places > places - self.window
        wide = torch.promote_types(query.dtype, torch.float32)
        group = query.shape[1] // self.key.shape[1]
        # the heads of a group as queries of one head: keys are not repeated
        grouped = query.reshape(query.shape[0], self.key.shape[1], -1, query.shape[3]).to(wide)
        scores = (scale * grouped @ self.key.to(wide).mT).masked_fill(~visible.repeat(group, 1), -torch.inf)
        log_sum_exp = scores.logsumexp(-1)
        output = (scores - log_sum_exp[..., None]).exp() @ self.value.to(wide)
        return output.reshape(query.shape), log_sum_exp.reshape(query.shape[:-1])

    def since(self, first: int) -> tuple[Tensor, Tensor]:
        """Return keys and values of the tokens from a position on, in the order of their positions."""
        slots = ((self._places >= first) & (self._places != _NOWHERE)).nonzero()[:, 0]
        slots = slots[self._places[slots].argsort()]
        return self.key[:, :, slots], self.value[:, :, slots]

    def _grow(self, count: int) -> None:
        self._free += range(self.key.shape[2], self.key.shape[2] + count)
        self._places = torch.cat([self._places, self._places.new_full((count,), _NOWHERE)])
        self.key, self.value = (
            torch.cat([old, old.new_zeros(*old.shape[:2], count, old.shape[3])], dim=2)
            for old in (self.key, self.value)
        )
