"""Messages between the ranks of a ring: posted before the computation they hide behind, bounded in time, counted.

    exchange = transport.exchange([(k, next)], [(k_buffer, previous)], hop=0, what="keys and values")
    ...compute on what is already here...                                       # the message is under way
    exchange.wait()                                                             # k_buffer holds the next block

A link that carries B bytes a second is hidden when a block of c tokens computes for longer than its keys and
values travel: 4 d c² FLOPs at F a second against 4 c d bytes (two bytes a number), so c ≥ F / B (section 3).
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from ...errors import OctoberError

_POLL = 50e-6  # seconds between two looks at an nccl operation


class RingError(OctoberError):
    """A message of the ring did not arrive or was not taken: one line that names the peer and the hop."""


class Event(NamedTuple):
    """A span of a rank's timeline, in seconds of `time.perf_counter()`."""

    what: str
    hop: int
    start: float
    end: float


class Transport:
    """One rank's links to the other ranks of a process group.

    Peers are ranks *in the group*. After a failure the group is out of step: every further exchange raises at once.

    Args:
        group: The group of the ring; None is the default group, or this process alone where there is none.
        time_limit: Seconds from posting a message within which it must have arrived.
        bytes_per_second: Slow the link down to this rate, as if each received message took that long.

    Raises:
        OctoberError: A number is not positive, this process is not in the group, or there is no group though
            there are several processes.
    """

    def __init__(
        self,
        group: dist.ProcessGroup | None = None,
        *,
        time_limit: float = 300.0,
        bytes_per_second: float | None = None,
    ) -> None:
        if not time_limit > 0:
            raise OctoberError(f"time_limit={time_limit}: seconds, more than 0")
        if bytes_per_second is not None and not bytes_per_second > 0:
            raise OctoberError(f"bytes_per_second={bytes_per_second}: more than 0, or null for the link as it is")
        self.group = group
        self.time_limit = time_limit
        self.bytes_per_second = bytes_per_second
        self.rank, self.world_size, self.backend = _place(group)
        self.events: list[Event] | None = None
        self.failure: RingError | None = None
        self.agreed: set[str] = set()
        self._link_free_at = 0.0
        self.reset_counters()

    def reset_counters(self) -> None:
        """Set the counts of bytes and messages to zero."""
        self.bytes_sent = self.bytes_received = self.messages_sent = 0

    def exchange(
        self,
        sends: Sequence[tuple[Tensor, int]],
        receives: Sequence[tuple[Tensor, int]],
        *,
        hop: int,
        what: str,
        tag: int = 0,
    ) -> "Exchange":
        """Post receives, then sends, of (tensor, peer) pairs and return at once.

        Empty tensors are skipped, on both sides. A tensor must not be written (a sent one) or read (a received one)
        before `wait` returns. Between two ranks messages of one tag arrive in the order in which they were posted.

        Args:
            sends: Contiguous tensors and the ranks in the group that get them.
            receives: Contiguous tensors to be filled and the ranks in the group they come from.
            hop: Which hop of the ring this is, for messages and timelines.
            what: What travels, for messages and timelines: "keys and values".
            tag: Keeps apart kinds of messages between the same ranks (gloo only).

        Raises:
            RingError: An earlier exchange failed, or a peer has closed its connection.
        """
        if self.failure is not None:
            raise RingError(f"{self}: the group cannot be used after a failure ({self.failure})")
        for tensor, peer in (*sends, *receives):
            if not tensor.is_contiguous():
                raise ValueError(f"{what} of hop {hop}, rank {peer}: a message must be contiguous")
        sends = [(tensor, peer) for tensor, peer in sends if tensor.numel()]
        receives = [(tensor, peer) for tensor, peer in receives if tensor.numel()]
        exchange = Exchange(self, sends, receives, hop, what)
        exchange._post(tag)
        self.bytes_sent += sum(tensor.nbytes for tensor, _ in sends)
        self.bytes_received += exchange.bytes_received
        self.messages_sent += len(sends)
        return exchange

    @contextmanager
    def record(self, what: str, hop: int) -> Iterator[None]:
        """Put the time spent in the block on the timeline, if there is one."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._note(what, hop, start)

    def __str__(self) -> str:
        return f"ring attention, rank {self.rank}"

    def _note(self, what: str, hop: int, start: float) -> None:
        if self.events is not None:
            self.events.append(Event(what, hop, start, time.perf_counter()))

    def _global(self, peer: int) -> int:
        return peer if self.group is None else dist.get_global_rank(self.group, peer)

    def _arrives_at(self, posted: float, size: int) -> float:
        """When the slowed link has carried `size` bytes; it carries one message at a time."""
        if self.bytes_per_second is None or size == 0:
            return posted
        self._link_free_at = max(self._link_free_at, posted) + size / self.bytes_per_second
        return self._link_free_at

    def _fail(self, line: str, cause: BaseException | None = None) -> None:
        self.failure = RingError(line)
        raise self.failure from cause


class _Operation(NamedTuple):
    work: Any
    peer: int
    is_receive: bool


class Exchange:
    """Messages under way. It keeps their tensors alive until they have been waited for."""

    def __init__(
        self,
        transport: Transport,
        sends: Sequence[tuple[Tensor, int]],
        receives: Sequence[tuple[Tensor, int]],
        hop: int,
        what: str,
    ) -> None:
        self.hop = hop
        self.what = what
        self.bytes_received = sum(tensor.nbytes for tensor, _ in receives)
        self._transport = transport
        self._sends = sends
        self._receives = receives
        self._operations: list[_Operation] = []
        self._landings: list[tuple[Tensor, Tensor]] = []
        self._done = False
        self._posted = time.perf_counter()
        self._ready_at = transport._arrives_at(self._posted, self.bytes_received)

    def wait(self) -> None:
        """Return when everything has arrived and left; calling it again does nothing.

        Raises:
            RingError: Something has not, within the time limit since posting, or a peer closed its connection.
        """
        if self._done:
            return
        start = time.perf_counter()
        for operation in self._operations:
            self._finish(operation)
        for target, landed in self._landings:
            target.copy_(landed)
        self._wait_for_slow_link()
        self._transport._note(f"waiting for {self.what}", self.hop, start)
        self._transport._note(self.what, self.hop, self._posted)
        self._done = True
        self._sends = self._receives = self._operations = self._landings = []

    def _post(self, tag: int) -> None:
        if self._transport.backend == "nccl":
            self._post_batch()
            return
        for tensor, peer in self._receives:
            landing = tensor if tensor.device.type == "cpu" else torch.empty_like(tensor, device="cpu")
            if landing is not tensor:  # gloo sends and receives in main memory only
                self._landings.append((tensor, landing))
            self._start(dist.irecv, landing, peer, tag, is_receive=True)
        self._sends = [(tensor.cpu(), peer) for tensor, peer in self._sends]
        for tensor, peer in self._sends:
            self._start(dist.isend, tensor, peer, tag, is_receive=False)

    def _start(self, function: Any, tensor: Tensor, peer: int, tag: int, *, is_receive: bool) -> None:
        transport = self._transport
        try:
            work = function(tensor, transport._global(peer), transport.group, tag)
        except RuntimeError as error:
            transport._fail(self._failure(peer, is_receive, error), error)
        self._operations.append(_Operation(work, peer, is_receive))

    def _post_batch(self) -> None:
        """On nccl the operations must be one batch: one after the other they could wait for each other."""
        transport = self._transport
        kinds = [(dist.irecv, pair) for pair in self._receives] + [(dist.isend, pair) for pair in self._sends]
        batch = [dist.P2POp(kind, tensor, transport._global(peer), transport.group) for kind, (tensor, peer) in kinds]
        if batch:
            peer = kinds[0][1][1]
            is_receive = bool(self._receives)
            works = dist.batch_isend_irecv(batch)
            self._operations = [_Operation(work, peer, is_receive) for work in works]

    def _finish(self, operation: _Operation) -> None:
        transport = self._transport
        remaining = self._posted + transport.time_limit - time.perf_counter()
        try:
            if transport.backend == "nccl":
                _poll(operation.work, remaining)
            else:
                operation.work.wait(timedelta(milliseconds=max(1, round(1000 * remaining))))
        except RuntimeError as error:
            transport._fail(self._failure(operation.peer, operation.is_receive, error), error)

    def _failure(self, peer: int, is_receive: bool, error: RuntimeError) -> str:
        limit = self._transport.time_limit
        if "Timed out" in str(error):
            if is_receive:
                return f"{self._transport}: no {self.what} from rank {peer} (hop {self.hop}) within {limit:g} s"
            return f"{self._transport}: rank {peer} did not take {self.what} (hop {self.hop}) within {limit:g} s"
        return f"{self._transport}: rank {peer} closed the connection at hop {self.hop} ({self.what})"

    def _wait_for_slow_link(self) -> None:
        limit = self._posted + self._transport.time_limit
        time.sleep(max(0.0, min(self._ready_at, limit) - time.perf_counter()))
        if self._ready_at > limit and self._receives:
            peer = self._receives[0][1]
            self._transport._fail(self._failure(peer, True, RuntimeError("Timed out on the slowed link")))


def _poll(work: Any, seconds: float) -> None:
    """Wait for an nccl operation without handing it the thread: its own wait has no time limit on the host."""
    deadline = time.perf_counter() + seconds
    while not work.is_completed():
        if time.perf_counter() > deadline:
            raise RuntimeError("Timed out")
        time.sleep(_POLL)
    work.wait()


def _place(group: dist.ProcessGroup | None) -> tuple[int, int, str]:
    """Return this process's rank in the group, the group's size and its backend."""
    if not dist.is_available() or not dist.is_initialized():
        if group is None and int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return 0, 1, "none"
        raise OctoberError("ring attention: call torch.distributed.init_process_group before it")
    rank = dist.get_rank(group)
    if rank < 0:
        raise OctoberError(f"ring attention: this process (global rank {dist.get_rank()}) is not in the group")
    return rank, dist.get_world_size(group), str(dist.get_backend(group))
