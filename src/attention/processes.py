"""Processes that form one torch.distributed group, for methods that need several devices.

    with Processes(4) as processes:
        results = processes.run(function, argument)        # function(argument) on every rank, results by rank

The parent hands out calls and collects results over pipes; the workers talk to each other over gloo (or nccl)::

    parent ──pipe── rank 0 ─┐
           ──pipe── rank 1 ─┼─ torch.distributed; they meet in a file, so there is no port to choose
           ──pipe── rank 2 ─┘
"""

import atexit
import contextlib
import multiprocessing
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from ..errors import OctoberError
from .workers import Address, Outcome, form_group, keep_freed_memory, outcome_of, packed, unpacked, work

_SECONDS_TO_START = 300.0  # importing torch, on a busy machine or a slow disk
_SECONDS_TO_MEET = 20.0  # processes that run already
_PATIENCE = 1.0


class Processes:
    """A pool of processes that form one torch.distributed group; a context manager that starts and ends them.

    Args:
        world_size: Number of processes, at least 1.
        threads_per_process: Threads of torch in each, at least 1.
        backend: `gloo`, or `nccl` with a CUDA device for each process.

    Raises:
        OctoberError: An argument is out of range, or the processes do not start.
    """

    def __init__(self, world_size: int, *, threads_per_process: int = 1, backend: str = "gloo") -> None:
        _check(world_size, threads_per_process, backend)
        self.world_size = world_size
        self.threads_per_process = threads_per_process
        self.backend = backend
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._workers: list[_Worker] = []
        self._groups_formed = 0
        self._in_step = False

    def __enter__(self) -> "Processes":
        """Start the processes and wait until they have formed a group."""
        self._folder = tempfile.TemporaryDirectory(prefix="october-processes-")
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes and remove the temporary folder."""
        self.close()

    @property
    def process_ids(self) -> list[int]:
        """The operating system's ids of the processes, by rank."""
        return [worker.process_id for worker in self._workers]

    def run(self, function: Callable[..., Any], *arguments: Any, time_limit: float | None = None) -> list[Any]:
        """Call `function(*arguments)` on every rank and return the results by rank.

        A rank learns its number from torch.distributed. The function stands at the top level of a file, which need
        not be importable by name. Tensors travel by value, and results arrive on the CPU.

        Args:
            function: What every rank calls.
            arguments: What it is called with, the same on every rank.
            time_limit: Seconds, or None for no limit.

        Raises:
            OctoberError: A rank raised an `OctoberError` (its line is kept), died, or was not done in time.
            RuntimeError: A rank raised another error; the message holds the rank's trace.
        """
        outcomes = self.outcomes(function, *arguments, time_limit=time_limit)
        _raise_failure(function, outcomes)
        return [outcome.value for outcome in outcomes]

    def outcomes(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        time_limit: float | None = None,
        patience: float = _PATIENCE,
    ) -> list[Outcome]:
        """Call `function(*arguments)` on every rank and return what became of each: failures are told, not raised.

        Ranks that have not ended `patience` seconds after the first failure are ended. After a failure the
        processes form a new group before the next call, and start anew where one has ended.
        """
        if self._folder is None:
            raise OctoberError("the processes do not run: use `with Processes(...) as processes:`")
        address, data = Address.of(function), packed(arguments)
        self._get_in_step()
        self._in_step = False
        outcomes = self._call(address, data, time_limit, patience)
        self._in_step = all(outcome.failure is None for outcome in outcomes)
        return outcomes

    def close(self) -> None:
        """End the processes; a second time it does nothing."""
        for worker in self._workers:
            worker.end()
        self._workers = []
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _call(self, address: Address, data: bytes, time_limit: float | None, patience: float) -> list[Outcome]:
        deadline = float("inf") if time_limit is None else time.monotonic() + time_limit
        late = f"was not done within {time_limit} s"
        outcomes: list[Outcome] = []
        with self._ended_if_interrupted():
            for worker in self._workers:
                worker.send(packed((worker.rank, address, data)))
            waiting = list(self._workers)
            while ready := _ready(waiting, deadline):
                outcomes += [worker.receive() for worker in ready]
                waiting = [worker for worker in waiting if worker not in ready]
                if (failed := _failures(outcomes)) and time.monotonic() + patience < deadline:
                    deadline = time.monotonic() + patience
                    late = f"was still waiting {patience} s after rank {failed[0].rank} had failed"
            outcomes += [worker.give_up(late) for worker in waiting]
        return sorted(outcomes, key=lambda outcome: outcome.rank)

    @contextmanager
    def _ended_if_interrupted(self) -> Iterator[None]:
        """End the workers if the parent leaves the block early: their answers would be taken for the next call's."""
        try:
            yield
        except BaseException:
            for worker in self._workers:
                worker.end()
            raise

    def _get_in_step(self) -> None:
        """After a failure a rank may hold half of an exchange: form a new group, with new processes if one ended."""
        if self._in_step:
            return
        if not all(worker.is_alive() for worker in self._workers) or _failures(self._form_group(_SECONDS_TO_MEET)):
            self._start()

    def _start(self) -> None:
        for worker in self._workers:
            worker.end()
        with _environment(self.threads_per_process):
            self._workers = [_Worker(rank, self.threads_per_process) for rank in range(self.world_size)]
        for outcome in _failures(self._form_group(_SECONDS_TO_START)):
            guard = "; a script must start processes under `if __name__ == '__main__':`" if outcome.died else ""
            raise OctoberError(f"world_size={self.world_size}: no group was formed: {outcome.failure}{guard}")

    def _form_group(self, seconds: float) -> list[Outcome]:
        assert self._folder is not None
        self._groups_formed += 1
        store = str(Path(self._folder.name) / f"store-{self._groups_formed}")
        ranks = {worker.process_id: worker.rank for worker in self._workers}
        data = packed((store, self.backend, ranks, seconds))
        return self._call(Address.of(form_group), data, seconds, _PATIENCE)


def in_processes(
    function: Callable[..., Any], world_size: int, *arguments: Any, threads_per_process: int = 1
) -> list[Any]:
    """Call `function(*arguments)` in `world_size` processes that form a group; return the results by rank.

    Under torchrun (`RANK` and `WORLD_SIZE` are set) the processes are those given: the function runs here, on the
    default group, which is made if there is none (nccl where there is CUDA, else gloo), and every rank returns the
    results of all.

    Raises:
        OctoberError: As `Processes.run`; or torchrun has started another number of processes.
        RuntimeError: As `Processes.run`.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        with Processes(world_size, threads_per_process=threads_per_process) as processes:
            return processes.run(function, *arguments)
    given = os.environ["WORLD_SIZE"]
    if given != str(world_size):
        raise OctoberError(f"world_size={world_size}: torchrun has started {given} processes; start {world_size}")
    torch.set_num_threads(threads_per_process)
    keep_freed_memory()
    _join_given_group()
    everyone: list[Any] = [None] * world_size
    own = packed(outcome_of(dist.get_rank(), lambda: function(*arguments)))
    dist.all_gather_object(everyone, own)
    outcomes = [unpacked(data) for data in everyone]
    _raise_failure(function, outcomes)
    return [outcome.value for outcome in outcomes]


def _join_given_group() -> None:
    """Make torchrun's default group, once: it stays for later calls, since its store serves one group only."""
    if dist.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    atexit.register(_leave_group)


def _leave_group() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _check(world_size: int, threads_per_process: int, backend: str) -> None:
    if world_size < 1:
        raise OctoberError(f"world_size={world_size}: at least 1 process")
    if threads_per_process < 1:
        raise OctoberError(f"threads_per_process={threads_per_process}: at least 1")
    if backend not in ("gloo", "nccl"):
        raise OctoberError(f"backend={backend}: gloo or nccl")
    if backend == "nccl" and torch.cuda.device_count() < world_size:
        found = torch.cuda.device_count()
        raise OctoberError(f"backend=nccl: {world_size} processes need as many CUDA devices; found {found}")


def _failures(outcomes: Iterable[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.failure is not None]


def _raise_failure(function: Callable[..., Any], outcomes: list[Outcome]) -> None:
    """Raise the failure that explains the others: a death, then an unforeseen error, then the earliest."""
    failed = sorted(_failures(outcomes), key=lambda outcome: (not outcome.died, not outcome.trace, outcome.seconds))
    if not failed:
        return
    first = failed[0]
    if first.trace:
        raise RuntimeError(f"{function.__qualname__} on rank {first.rank}: {first.failure}\n{first.trace}")
    raise OctoberError(str(first.failure))


class _Worker:
    """The parent's side of one process: its handle and the pipe to it."""

    def __init__(self, rank: int, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.rank = rank
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, threads), daemon=True, name=f"rank {rank}")
        self._process.start()
        self.process_id: int = self._process.pid or 0
        theirs.close()

    @property
    def sources(self) -> list[Any]:
        """What becomes ready when the process has answered or ended."""
        return [self._pipe, self._process.sentinel]

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def send(self, message: bytes) -> None:
        with contextlib.suppress(OSError):  # it has ended, as `receive` will tell
            self._pipe.send_bytes(message)

    def receive(self) -> Outcome:
        try:
            data = self._pipe.recv_bytes()
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode or 0
            how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
            return Outcome(self.rank, failure=f"rank {self.rank}: its process {how}", died=True)
        try:
            outcome: Outcome = unpacked(data)
        except Exception as error:
            return Outcome(self.rank, failure=f"rank {self.rank}: its result cannot be read: {error}")
        return outcome

    def give_up(self, why: str) -> Outcome:
        self.end()
        return Outcome(self.rank, failure=f"rank {self.rank} {why}", seconds=float("inf"))

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _ready(workers: list[_Worker], deadline: float) -> list[_Worker]:
    """Return the workers that have answered or ended, once one has; none after the deadline, or where none wait."""
    if not workers:
        return []
    seconds = None if deadline == float("inf") else max(0.0, deadline - time.monotonic())
    ready = connection.wait([source for worker in workers for source in worker.sources], seconds)
    return [worker for worker in workers if any(source in ready for source in worker.sources)]


@contextmanager
def _environment(threads: int) -> Iterator[None]:
    """Set what a starting process reads before it imports torch: its threads, and the interface gloo listens on."""
    wanted = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    loopback = [name for _, name in socket.if_nameindex() if name in ("lo", "lo0")]
    if loopback:  # the processes are all here: no port need be open to the network
        wanted["GLOO_SOCKET_IFNAME"] = loopback[0]
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
