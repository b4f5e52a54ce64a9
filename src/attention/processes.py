"""Worker processes that form one torch.distributed group, for methods that need several devices.

    with Processes(4) as processes:
        sums = processes.run(my_function, argument)      # my_function(argument) on every rank, results by rank

The parent hands out work and collects results over pipes; the workers talk to each other over gloo (or nccl)::

    parent ──pipe──> rank 0 ─┐
           ──pipe──> rank 1 ─┼─ torch.distributed, meeting in a file: no port to choose
           ──pipe──> rank 2 ─┘
"""

import atexit
import importlib
import importlib.util
import io
import multiprocessing
import os
import pickle
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import connection
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

from ..errors import OctoberError

_SECONDS_TO_MEET = 300.0
_SECONDS_AFTER_A_FAILURE = 1.0


class Outcome(NamedTuple):
    """What became of one rank's call: a value, or the one line that says why there is none."""

    rank: int
    value: Any = None
    failure: str | None = None
    trace: str = ""
    seconds: float = 0.0
    idle: bool = True


class Address(NamedTuple):
    """Where a worker finds a module-level function: its module, the module's file, its name there."""

    module: str
    file: str | None
    name: str

    @classmethod
    def of(cls, function: Callable[..., Any]) -> "Address":
        """Return the address of `function`; raise `OctoberError` if a worker could not find it there."""
        module, name = function.__module__, function.__qualname__
        home = sys.modules.get(module)
        file = getattr(home, "__file__", None)
        if "<" in name or home is None or (module == "__main__" and file is None):
            raise OctoberError(
                f"function={name}: only a function at the top level of a file can run in other processes"
            )
        return cls(module, file, name)

    def load(self) -> Callable[..., Any]:
        """Return the function, importing its module by name or, where the name leads elsewhere, from its file."""
        module = sys.modules.get(self.module) or self._imported()
        for part in self.name.split("."):
            module = getattr(module, part)
        return module  # type: ignore[return-value]

    def _imported(self) -> Any:
        try:
            spec = importlib.util.find_spec(self.module)
        except (ImportError, ValueError):
            spec = None
        if self.file is None or (spec is not None and spec.origin == self.file):
            return importlib.import_module(self.module)
        spec = importlib.util.spec_from_file_location(self.module, self.file)
        if spec is None or spec.loader is None:
            raise OctoberError(f"{self.file}: a worker process cannot import it")
        module = sys.modules[self.module] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


class Processes:
    """A pool of `world_size` processes that form one torch.distributed group; a context manager.

    Args:
        world_size: Number of processes, at least 1.
        threads_per_process: Threads of torch (and OpenMP) in each.
        backend: `gloo`, or `nccl` with one CUDA device per process.

    Raises:
        OctoberError: An argument is out of range, or the processes do not come up.
    """

    def __init__(self, world_size: int, *, threads_per_process: int = 1, backend: str = "gloo") -> None:
        if world_size < 1 or threads_per_process < 1:
            raise OctoberError(f"world_size={world_size}, threads_per_process={threads_per_process}: both at least 1")
        if backend not in ("gloo", "nccl"):
            raise OctoberError(f"backend={backend}: gloo or nccl")
        self.world_size = world_size
        self.threads_per_process = threads_per_process
        self.backend = backend
        self._folder = tempfile.TemporaryDirectory(prefix="october-processes-")
        self._groups_made = 0
        self._workers: list[_Worker] = []
        self._in_step = False

    def __enter__(self) -> "Processes":
        """Start the processes and wait until they form a group."""
        self._restart()
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes and remove the temporary folder."""
        self.close()

    @property
    def process_ids(self) -> list[int]:
        """The operating system's ids of the processes, by rank."""
        return [worker.process.pid or 0 for worker in self._workers]

    def run(self, function: Callable[..., Any], *arguments: Any, time_limit: float | None = None) -> list[Any]:
        """Call `function(*arguments)` on every rank and return the results by rank.

        Tensors in arguments and results travel by value and arrive on the CPU, without a graph.

        Raises:
            OctoberError: A rank raised, died, or did not end within `time_limit` seconds. An `OctoberError` raised
                on a rank keeps its line; any other error comes with the rank's trace.
        """
        outcomes = self.outcomes(function, *arguments, time_limit=time_limit)
        failed = [outcome for outcome in outcomes if outcome.failure is not None]
        if failed:
            raise _error(failed)
        return [outcome.value for outcome in outcomes]

    def outcomes(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        time_limit: float | None = None,
        patience: float = _SECONDS_AFTER_A_FAILURE,
    ) -> list[Outcome]:
        """Call `function(*arguments)` on every rank and say what became of each, failures included.

        After the first failure the other ranks have `patience` seconds to end; those that don't are ended.
        """
        message = _dumps((Address.of(function), _dumps(arguments)))
        self._get_in_step()
        outcomes = self._call(message, time_limit, patience)
        self._in_step = all(outcome.failure is None for outcome in outcomes)
        return outcomes

    def close(self) -> None:
        """End the processes; calling it again does nothing."""
        for worker in self._workers:
            worker.end()
        self._workers = []
        self._in_step = False
        self._folder.cleanup()

    def _call(self, message: bytes, time_limit: float | None, patience: float) -> list[Outcome]:
        for worker in self._workers:
            worker.send(message)
        outcomes: dict[int, Outcome] = {}
        deadline = float("inf") if time_limit is None else time.monotonic() + time_limit
        late = f"did not end within {time_limit} s"
        while waiting := [worker for worker in self._workers if worker.rank not in outcomes]:
            ready = _ready(waiting, deadline)
            for worker in ready:
                outcomes[worker.rank] = outcome = worker.receive()
                if outcome.failure is not None and time.monotonic() + patience < deadline:
                    deadline = time.monotonic() + patience
                    late = f"was still waiting {patience} s after rank {worker.rank} had failed"
            if not ready:
                for worker in waiting:
                    outcomes[worker.rank] = worker.stuck(late)
        return [outcomes[rank] for rank in range(self.world_size)]

    def _get_in_step(self) -> None:
        if self._in_step:
            return
        if self._workers and all(worker.idle() for worker in self._workers) and self._meet():
            return
        self._restart()

    def _meet(self) -> bool:
        """Have the running processes form a new group; return whether they did."""
        self._groups_made += 1
        store = str(Path(self._folder.name) / f"store-{self._groups_made}")
        outcomes = self._call(_dumps((Address.of(_form_group), _dumps((store, self.backend)))), _SECONDS_TO_MEET, 1.0)
        self._in_step = all(outcome.failure is None for outcome in outcomes)
        self._meeting = outcomes
        return self._in_step

    def _restart(self) -> None:
        for worker in self._workers:
            worker.end()
        with _environment(self.threads_per_process):
            self._workers = [
                _Worker(rank, self.world_size, self.threads_per_process) for rank in range(self.world_size)
            ]
        if not self._meet():
            self.close()
            raise _error([outcome for outcome in self._meeting if outcome.failure is not None])


def in_processes(
    function: Callable[..., Any], world_size: int, *arguments: Any, threads_per_process: int = 1
) -> list[Any]:
    """Call `function(*arguments)` in `world_size` processes that form a group; return the results by rank.

    Under torchrun (`RANK` and `WORLD_SIZE` are set) the processes are those given: the function runs here, on the
    default group (nccl where there is CUDA, else gloo), and every rank returns the results of all.

    Raises:
        OctoberError: A rank failed, or torchrun's world size is another.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        with Processes(world_size, threads_per_process=threads_per_process) as processes:
            return processes.run(function, *arguments)
    if int(os.environ["WORLD_SIZE"]) != world_size:
        raise OctoberError(
            f"world_size={world_size}: torchrun started {os.environ['WORLD_SIZE']} processes; start {world_size}"
        )
    _join_given_group()
    own = _outcome(dist.get_rank(), lambda: function(*arguments))
    everyone: list[Any] = [None] * world_size
    dist.all_gather_object(everyone, _dumps(own))
    outcomes: list[Outcome] = [pickle.loads(data) for data in everyone]
    failed = [outcome for outcome in outcomes if outcome.failure is not None]
    if failed:
        raise _error(failed)
    return [outcome.value for outcome in outcomes]


def _join_given_group() -> None:
    if dist.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    atexit.register(lambda: dist.is_initialized() and dist.destroy_process_group())


def _error(failed: list[Outcome]) -> OctoberError:
    """One error for what failed: an `OctoberError` raised on a rank keeps its line, others bring a trace."""
    first = failed[0]
    also = f" (and ranks {', '.join(str(outcome.rank) for outcome in failed[1:])})" if len(failed) > 1 else ""
    if first.trace:
        return OctoberError(f"rank {first.rank}{also}: {first.failure}\n{first.trace}")
    return OctoberError(str(first.failure))


def _outcome(rank: int, call: Callable[[], Any]) -> Outcome:
    start = time.perf_counter()
    try:
        value = call()
    except OctoberError as error:
        return Outcome(rank, failure=str(error), seconds=time.perf_counter() - start)
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"
        return Outcome(rank, failure=failure, trace=traceback.format_exc(), seconds=time.perf_counter() - start)
    return Outcome(rank, value, seconds=time.perf_counter() - start)


@dataclass
class _Worker:
    """The parent's side of one process: its handle and the pipe to it."""

    rank: int
    world_size: int
    threads: int

    def __post_init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=_work, args=(theirs, self.rank, self.world_size, self.threads), daemon=True, name=f"rank {self.rank}"
        )
        self.process.start()
        theirs.close()

    def send(self, message: bytes) -> None:
        try:
            self.pipe.send_bytes(message)
        except OSError:
            pass  # it is dead: receive() says so

    def receive(self) -> Outcome:
        try:
            outcome: Outcome = pickle.loads(self.pipe.recv_bytes())
            return outcome
        except (EOFError, OSError):
            self.process.join(5)
            code = self.process.exitcode
            how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with status {code}"
            return Outcome(self.rank, failure=f"rank {self.rank}: its process {how}", idle=False)

    def stuck(self, why: str) -> Outcome:
        self.end()
        return Outcome(self.rank, failure=f"rank {self.rank} {why}", idle=False)

    def idle(self) -> bool:
        return self.process.is_alive()

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _ready(workers: list[_Worker], deadline: float) -> list[_Worker]:
    """Return the workers that have an answer or died, waiting for one until the deadline."""
    timeout = None if deadline == float("inf") else max(0.0, deadline - time.monotonic())
    sources: dict[Any, _Worker] = {worker.pipe: worker for worker in workers}
    sources |= {worker.process.sentinel: worker for worker in workers}
    ready = {sources[source].rank: sources[source] for source in connection.wait(list(sources), timeout)}
    return list(ready.values())


@contextmanager
def _environment(threads: int) -> Iterator[None]:
    """Set what a starting process reads before it imports torch: its threads and the loopback interface."""
    loopback = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), None)
    wanted = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    if loopback is not None:
        wanted["GLOO_SOCKET_IFNAME"] = os.environ.get("GLOO_SOCKET_IFNAME", loopback)
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


# What follows runs in the worker processes.


def _work(pipe: "connection.Connection[bytes, bytes]", rank: int, world_size: int, threads: int) -> None:
    """Serve calls until the parent closes the pipe or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    _place.update(rank=rank, world_size=world_size)
    while True:
        try:
            message = pipe.recv_bytes()
        except (EOFError, OSError):
            os._exit(0)
        outcome = _outcome(rank, lambda message=message: _answer(message))  # type: ignore[misc]
        pipe.send_bytes(_packed(outcome))


_place: dict[str, int] = {}


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def _answer(message: bytes) -> Any:
    address, arguments = pickle.loads(message)
    function = address.load()  # before the arguments, which may be of classes of its module
    return function(*pickle.loads(arguments))


def _packed(outcome: Outcome) -> bytes:
    try:
        return _dumps(outcome)
    except Exception as error:
        failure = f"rank {outcome.rank}: a result of type {type(outcome.value).__name__} cannot be sent: {error}"
        return _dumps(Outcome(outcome.rank, failure=failure))


def _form_group(store: str, backend: str) -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
    rank, world_size = _place["rank"], _place["world_size"]
    if backend == "nccl":
        torch.cuda.set_device(rank)
    meeting = dist.FileStore(store, world_size)
    limit = timedelta(seconds=_SECONDS_TO_MEET)
    dist.init_process_group(backend, store=meeting, rank=rank, world_size=world_size, timeout=limit)


# Tensors travel as bytes: torch's own way through pipes keeps a file descriptor open for each.


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        if type(value) is not torch.Tensor or value.layout is not torch.strided:
            return NotImplemented
        flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        return _tensor, (flat.numpy().tobytes(), value.dtype, tuple(value.shape), value.requires_grad)


def _tensor(data: bytes, dtype: torch.dtype, shape: tuple[int, ...], requires_grad: bool) -> torch.Tensor:
    if not data:
        return torch.empty(shape, dtype=dtype, requires_grad=requires_grad)
    return torch.frombuffer(bytearray(data), dtype=dtype).reshape(shape).requires_grad_(requires_grad)


def _dumps(value: Any) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    return buffer.getvalue()
