"""Messages between the ranks of a ring: posted before the computation they hide behind, bounded in time, counted.

    exchange = transport.exchange([(k, next)], [(k_buffer, previous)], hop=0, what="keys and values")
    ...compute on what is already here...                                       # the message is under way
    exchange.wait()                                                             # k_buffer holds the next block

A link that carries B bytes a second is hidden when a block of c tokens computes for longer than its keys and
values travel: 4 d c² FLOPs at F a second against 4 c d bytes (two bytes a number), so c ≥ F / B (section 3).
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from ...errors import OctoberError, reason_of

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

    Attributes:
        rank: This process's rank in the group.
        world_size: Processes in the group.
        backends: The group's backend for each type of device.
        bytes_sent: Since the counters were reset; likewise `bytes_received` and `messages_sent`.
        events: The timeline; set it to a list to have one.
        agreed: Signatures that all ranks have agreed on (`agreement.py`).
        tag: Of the signature in use: a rank that uses another finds no message of its peers, instead of reading one.
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
        self.rank, self.world_size, self.backends = _place(group)
        self.events: list[Event] | None = None
        self.failure: RingError | None = None
        self.agreed: set[str] = set()
        self.tag = 0
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
        tag: int | None = None,
    ) -> "Exchange":
        """Post receives, then sends, of (tensor, peer) pairs and return at once.

        Empty tensors are skipped, on both sides. A tensor must not be written (a sent one) or read (a received one)
        before `wait` returns. Between two ranks messages of one tag arrive in the order in which they were posted.

        Args:
            sends: Contiguous tensors and the ranks in the group that get them.
            receives: Contiguous tensors to be filled and the ranks in the group they come from.
            hop: Which hop of the ring this is, for messages and timelines.
            what: What travels, for messages and timelines: "keys and values".
            tag: Keeps kinds of messages apart between the same ranks (gloo; nccl has no tags); the transport's if None.

        Raises:
            RingError: An earlier exchange failed, or a peer has closed its connection.
            ValueError: A tensor is not contiguous.
        """
        if self.failure is not None:
            raise RingError(f"{self}: the group cannot be used after a failure ({self.failure})")
        for tensor, peer in (*sends, *receives):
            if not tensor.is_contiguous():
                raise ValueError(f"{what} of hop {hop}, to or from rank {peer}: a message must be contiguous")
        exchange = Exchange(self, _not_empty(sends), _not_empty(receives), hop, what)
        exchange._post(self.tag if tag is None else tag)
        self.bytes_sent += sum(tensor.nbytes for tensor, _ in sends)
        self.bytes_received += sum(tensor.nbytes for tensor, _ in receives)
        self.messages_sent += len(_not_empty(sends))
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

    def _failed(self, line: str) -> RingError:
        self.failure = RingError(line)
        return self.failure


class _Operation(NamedTuple):
    work: Any
    peer: int
    is_receive: bool


class Exchange:
    """Messages under way; it keeps their tensors alive until they have been waited for."""

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
        self._transport = transport
        self._sends = sends
        self._receives = receives
        self._copies: list[tuple[Tensor, Tensor]] = []
        self._operations: list[_Operation] = []
        self._is_nccl = any(transport.backends.get(pair[0].device.type) == "nccl" for pair in (*sends, *receives))
        self._done = False
        self._posted = time.perf_counter()
        self._ready_at = transport._arrives_at(self._posted, sum(tensor.nbytes for tensor, _ in receives))

    def wait(self) -> None:
        """Return when everything has arrived and been taken; calling it again does nothing.

        Raises:
            RingError: That has not happened within the time limit since posting, or a peer closed its connection.
        """
        if self._done:
            return
        start = time.perf_counter()
        for operation in self._operations:
            self._finish(operation)
        for target, copy in self._copies:
            target.copy_(copy)
        self._wait_for_slow_link()
        self._transport._note(f"waiting for {self.what}", self.hop, start)
        self._transport._note(self.what, self.hop, self._posted)
        self._done = True
        self._sends, self._receives, self._copies, self._operations = [], [], [], []

    def _post(self, tag: int) -> None:
        if self._is_nccl:
            self._post_batch()
            return
        for tensor, peer in self._receives:
            self._start(dist.irecv, self._in_main_memory(tensor), peer, tag)
        self._sends = [(tensor.cpu(), peer) for tensor, peer in self._sends]
        for tensor, peer in self._sends:
            self._start(dist.isend, tensor, peer, tag)

    def _in_main_memory(self, tensor: Tensor) -> Tensor:
        """Return where gloo, which knows main memory only, puts what `tensor` is to hold after `wait`."""
        if tensor.device.type == "cpu":
            return tensor
        copy = torch.empty_like(tensor, device="cpu")
        self._copies.append((tensor, copy))
        return copy

    def _start(self, function: Callable[..., Any], tensor: Tensor, peer: int, tag: int) -> None:
        transport = self._transport
        is_receive = function is dist.irecv
        try:
            work = function(tensor, transport._global(peer), transport.group, tag)
        except RuntimeError as error:
            raise transport._failed(self._failure(peer, is_receive, error)) from error
        self._operations.append(_Operation(work, peer, is_receive))

    def _post_batch(self) -> None:
        """Post everything as one nccl operation: one after the other, two ranks' could wait for each other."""
        transport = self._transport
        batch = [
            dist.P2POp(function, tensor, transport._global(peer), transport.group)
            for function, pairs in ((dist.irecv, self._receives), (dist.isend, self._sends))
            for tensor, peer in pairs
        ]
        _, peer = (*self._receives, *self._sends)[0]
        works = dist.batch_isend_irecv(batch)
        self._operations = [_Operation(work, peer, bool(self._receives)) for work in works]

    def _finish(self, operation: _Operation) -> None:
        transport = self._transport
        seconds = self._posted + transport.time_limit - time.perf_counter()
        try:
            if self._is_nccl:
                _poll(operation.work, seconds)
            else:
                operation.work.wait(timedelta(milliseconds=max(1, round(1000 * seconds))))
        except RuntimeError as error:
            raise transport._failed(self._failure(operation.peer, operation.is_receive, error)) from error

    def _failure(self, peer: int, is_receive: bool, error: RuntimeError | None = None) -> str:
        """Return the line that says what did not happen at which hop, and which rank was waited for."""
        if error is not None and "Timed out" not in str(error):
            line = f"{self._transport}: rank {peer} closed the connection at hop {self.hop} ({self.what})"
            return f"{line}: {reason_of(error)}"
        limit = f"(hop {self.hop}) within {self._transport.time_limit:g} s"
        if is_receive:
            return f"{self._transport}: no {self.what} from rank {peer} {limit}"
        return f"{self._transport}: rank {peer} did not take {self.what} {limit}"

    def _wait_for_slow_link(self) -> None:
        latest = self._posted + self._transport.time_limit
        time.sleep(max(0.0, min(self._ready_at, latest) - time.perf_counter()))
        if self._ready_at > latest:
            raise self._transport._failed(self._failure(self._receives[0][1], is_receive=True))


def _not_empty(pairs: Sequence[tuple[Tensor, int]]) -> list[tuple[Tensor, int]]:
    return [(tensor, peer) for tensor, peer in pairs if tensor.numel()]


def _poll(work: Any, seconds: float) -> None:
    """Wait for an nccl operation by looking at it: its own `wait` only makes the device wait, without a limit."""
    deadline = time.perf_counter() + seconds
    while not work.is_completed():
        if time.perf_counter() > deadline:
            raise RuntimeError("Timed out")
        time.sleep(_POLL)
    work.wait()


def _place(group: dist.ProcessGroup | None) -> tuple[int, int, dict[str, str]]:
    """Return this process's rank in the group, the group's size, and its backend for each type of device."""
    if not dist.is_available() or not dist.is_initialized():
        started = os.environ.get("WORLD_SIZE", "1")
        if started == "1":
            return 0, 1, {"cpu": "none"}
        raise OctoberError(
            f"ring attention: WORLD_SIZE={started}, but the processes form no group: "
            "call torch.distributed.init_process_group first"
        )
    rank = dist.get_rank(group)
    if rank < 0:
        raise OctoberError(f"ring attention: group: the process of global rank {dist.get_rank()} is not in it")
    backends = dict(pair.split(":") for pair in dist.get_backend_config(group).split(","))
    return rank, dist.get_world_size(group), backends
