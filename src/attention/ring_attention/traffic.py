"""Moves keys and values round the ring, and in the backward pass their gradients after them.

Every transfer is posted before the computation that it hides behind. While a rank computes on one piece it sends that
piece on and receives the next. Gradients of a piece follow one round later, each rank adding its share, and come home
to the rank whose keys they belong to.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from .kernels import accumulator_dtype
from .layouts import Run
from .plan import Journey, Round
from .transport import Exchange, Transport


def pack(key: Tensor, value: Tensor, runs: list[Run]) -> Tensor:
    """Copy some runs of keys and values [batch, kv_heads, tokens, head_dim] into one message [2, …]."""
    parts = [slice(run.offset, run.offset + run.length) for run in runs]
    batch, heads, _, head_dim = key.shape
    message = key.new_empty(2, batch, heads, sum(run.length for run in runs), head_dim)
    first = 0
    for part in parts:
        last = first + part.stop - part.start
        message[0, :, :, first:last] = key[:, :, part]
        message[1, :, :, first:last] = value[:, :, part]
        first = last
    return message


class KeyValueTraffic:
    """One pass of all keys and values round the ring, as one rank sees it."""

    def __init__(self, journey: Journey, transport: Transport, key: Tensor, value: Tensor) -> None:
        self.journey = journey
        self.transport = transport
        self._key, self._value = key, value
        self._held: dict[int, Tensor] = {}  # by source: pieces to be sent on
        self._rank = transport.rank

    def rounds(self) -> Iterator[tuple[Round | None, Tensor | None]]:
        """Yield None for the own round, then every round with its message (None where nothing arrives).

        While the body of the loop runs, the next round's messages are under way.
        """
        todo: list[Round | None] = [None, *self.journey.rounds(self._rank)]
        arrived: Tensor | None = None
        for index, current in enumerate(todo):
            following = todo[index + 1] if index + 1 < len(todo) else None
            exchange, arriving = (None, None) if following is None else self._post(following)
            yield current, arrived
            if exchange is not None:
                exchange.wait()
            arrived = arriving
            if following is not None and arriving is not None:
                self._held[following.source] = arriving

    def _post(self, following: Round) -> tuple[Exchange, Tensor | None]:
        if following.hop == 1:
            self._held = {}
            if self.journey.next(self._rank, self._rank) is not None:
                shard, _ = self.journey.piece_runs(self._rank, following.piece)
                self._held[self._rank] = pack(self._key, self._value, shard)
        receives: list[tuple[Tensor, int]] = []
        sender = self.journey.previous(following.source, self._rank)
        if sender is not None:
            receives = [(message_like(self.journey, following, self._key, self._key.dtype), sender)]
        sends = [(self._held.pop(source), to) for source, to in self.journey.sends(self._rank, following.hop)]
        exchange = self.transport.exchange(sends, receives, hop=following.hop, what="keys and values")
        return exchange, receives[0][0] if receives else None


class GradientTraffic:
    """The gradients of keys and values, following them from rank to rank and home.

    Attributes:
        key: Gradient of the rank's own keys, the own share already in it; complete after `finish`.
        value: Likewise.
    """

    def __init__(self, journey: Journey, transport: Transport, key: Tensor, value: Tensor) -> None:
        self.journey = journey
        self.transport = transport
        self.key, self.value = key, value
        self._rank = transport.rank
        self._done: dict[int, Tensor] = {}  # by source: sums to be sent on
        self._homeward: tuple[Exchange, int, Tensor | None] | None = None
        route = journey.routes[self._rank]
        self._home_from = route[-1] if len(route) > 1 else None

    def zeros(self, current: Round) -> Tensor:
        """Return a message of zeros, for a round's share of the gradients."""
        return message_like(self.journey, current, self.key, accumulator_dtype(self.key.dtype)).zero_()

    def open(self, current: Round) -> tuple[Exchange, Tensor | None]:
        """Post what travels during a round: finished sums leave, the sum of this round's piece so far arrives."""
        receives: list[tuple[Tensor, int]] = []
        sender = self.journey.previous(current.source, self._rank)
        if sender is not None and sender != current.source:
            receives = [(message_like(self.journey, current, self.key, self.key.dtype), sender)]
        arriving = receives[0][0] if receives else None
        sends = self._leaving(current.hop)
        home = None
        if self._home_from is not None and self._home_hop(self._rank) == current.hop:
            own = Round(current.piece, current.hop, self._rank)
            home = message_like(self.journey, own, self.key, self.key.dtype)
            receives.append((home, self._home_from))
        exchange = self.transport.exchange(sends, receives, hop=current.hop, what="gradients of keys and values")
        if home is not None:
            self._add_home_later(exchange, current.piece, home)
        return exchange, arriving

    def close(self, current: Round, exchange: Exchange, arrived: Tensor | None, share: Tensor | None) -> None:
        """Wait for a round's messages and add the rank's own share."""
        exchange.wait()
        self._add_home()
        if share is not None:
            self._done[current.source] = share if arrived is None else share.add_(arrived)

    def finish(self, piece: int) -> None:
        """Post the last homecoming of a piece; it is waited for with the next round, or by `wait`."""
        last = Round(piece, self.journey.world_size, self._rank)
        exchange, _ = self.open(last)
        if self._homeward is None:
            self._homeward = (exchange, piece, None)

    def wait(self) -> None:
        """Wait for the last homecoming."""
        self._add_home()

    def _leaving(self, hop: int) -> list[tuple[Tensor, int]]:
        sends = []
        for source in list(self._done):
            to = self.journey.next(source, self._rank)
            arrives = self._home_hop(source) if to is None else self.journey.hops(source, to)
            if arrives == hop:
                sends.append((self._done.pop(source), source if to is None else to))
        return sends

    def _home_hop(self, source: int) -> int:
        """Return the hop at which a source's gradients come home: one after its journey's last."""
        return self.journey.hops(source, self.journey.routes[source][-1]) + 1

    def _add_home_later(self, exchange: Exchange, piece: int, home: Tensor) -> None:
        self._add_home()
        self._homeward = (exchange, piece, home)

    def _add_home(self) -> None:
        if self._homeward is None:
            return
        exchange, piece, home = self._homeward
        self._homeward = None
        exchange.wait()
        if home is None:
            return
        shard, packed = self.journey.piece_runs(self._rank, piece)
        for there, here in zip(shard, packed, strict=True):
            tokens = slice(there.offset, there.offset + there.length)
            message = slice(here.offset, here.offset + here.length)
            self.key[:, :, tokens] += home[0, :, :, message]
            self.value[:, :, tokens] += home[1, :, :, message]


def message_like(journey: Journey, current: Round, key: Tensor, dtype: torch.dtype) -> Tensor:
    """Return an empty message [2, batch, kv_heads, tokens of the piece, head_dim]."""
    batch, heads, _, head_dim = key.shape
    length = sum(run.length for run in journey.piece_runs(current.source, current.piece)[1])
    return torch.empty(2, batch, heads, length, head_dim, dtype=dtype, device=key.device)
