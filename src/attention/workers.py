"""What runs inside the worker processes of `processes.py`, and what travels between them and their parent.

A call travels as the function's address and its pickled arguments; what became of it travels back as an `Outcome`.
Tensors travel as bytes: torch's own way through pipes keeps a file descriptor open for each of them.
"""

import ctypes
import importlib
import importlib.util
import io
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing import connection
from types import ModuleType
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

from ..errors import OctoberError

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's names of its options
_LARGEST_TRIM_THRESHOLD, _LARGEST_MMAP_THRESHOLD = (1 << 31) - 1, 1 << 25  # bytes


class Outcome(NamedTuple):
    """What became of one rank's call: a value, or the line that says why there is none.

    Attributes:
        rank: The rank.
        value: What the function returned.
        failure: Why it did not return, in one line; None if it did.
        trace: The rank's trace, for an error that was not an `OctoberError`.
        died: Whether the process ended by itself or was killed by someone else.
        seconds: How long the call took on that rank; infinite if it did not end.
    """

    rank: int
    value: Any = None
    failure: str | None = None
    trace: str = ""
    died: bool = False
    seconds: float = 0.0


class Address(NamedTuple):
    """Where a worker finds a function: its module, the module's file, and its name there."""

    module: str
    file: str | None
    name: str

    @classmethod
    def of(cls, function: Callable[..., Any]) -> "Address":
        """Return the address of `function`.

        Raises:
            OctoberError: It is not at the top level of a file, so another process could not find it.
        """
        module = getattr(function, "__module__", None) or ""
        name = getattr(function, "__qualname__", repr(function))
        file = getattr(sys.modules.get(module), "__file__", None)
        if file is None or not name.isidentifier():
            raise OctoberError(f"function={name}: only a function at the top level of a file runs in other processes")
        return cls(module, file, name)

    def load(self) -> Callable[..., Any]:
        """Return the function; its module is imported by name or, where that leads elsewhere, from its file."""
        module = sys.modules.get(self.module) or self._import()
        function: Callable[..., Any] = getattr(module, self.name)
        return function

    def _import(self) -> ModuleType:
        try:
            spec = importlib.util.find_spec(self.module)
        except (ImportError, ValueError):
            spec = None
        if spec is None or spec.origin != self.file:
            _name_parents(self.module)
            spec = importlib.util.spec_from_file_location(self.module, self.file)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[self.module] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[self.module]
            raise
        return module


def _name_parents(module: str) -> None:
    """Give a module that is loaded from its file the packages in its name: pickle imports them before its classes."""
    parts = module.split(".")
    for length in range(1, len(parts)):
        parent = ".".join(parts[:length])
        try:
            importlib.import_module(parent)
        except ImportError:
            package = sys.modules[parent] = ModuleType(parent)
            package.__path__ = []


def outcome_of(rank: int, call: Callable[[], Any]) -> Outcome:
    """Run `call` and return what became of it."""
    start = time.perf_counter()
    try:
        value = call()
    except OctoberError as error:
        return Outcome(rank, failure=str(error), seconds=time.perf_counter() - start)
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"
        return Outcome(rank, failure=failure, trace=traceback.format_exc(), seconds=time.perf_counter() - start)
    return Outcome(rank, value, seconds=time.perf_counter() - start)


def keep_freed_memory() -> None:
    """Let the C library keep what tensors free, where it can: fetched anew, each page costs a fault and is zeroed."""
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        set_option(_TRIM_THRESHOLD, _LARGEST_TRIM_THRESHOLD)


def work(pipe: "connection.Connection[bytes, bytes]", threads: int) -> None:
    """Serve one call after the other until the parent closes the pipe or dies: the body of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    keep_freed_memory()
    while True:
        try:
            message = pipe.recv_bytes()
        except (EOFError, OSError):
            os._exit(0)
        pipe.send_bytes(_answer(message))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def _answer(message: bytes) -> bytes:
    rank, address, arguments = unpacked(message)

    def call() -> Any:
        function = address.load()  # before its arguments, which may be of classes of its module
        return function(*unpacked(arguments))

    outcome = outcome_of(rank, call)
    try:
        return packed(outcome)
    except Exception as error:
        failure = f"a result of type {type(outcome.value).__name__} cannot be sent: {error}"
        return packed(Outcome(rank, failure=failure, trace=traceback.format_exc()))


def form_group(store: str, backend: str, ranks: dict[int, int], seconds: float) -> None:
    """Leave the group that there is and form a new one with the processes that meet in the file `store`.

    Args:
        store: A file that no group has used before.
        backend: The backend of torch.distributed.
        ranks: The rank of each process by its id.
        seconds: How long to wait for the others.
    """
    if dist.is_initialized():
        dist.destroy_process_group()
    rank, world_size = ranks[os.getpid()], len(ranks)
    if backend == "nccl":
        torch.cuda.set_device(rank)
    meeting = dist.FileStore(store, world_size)  # type: ignore[attr-defined]
    limit = timedelta(seconds=seconds)
    dist.init_process_group(backend, store=meeting, rank=rank, world_size=world_size, timeout=limit)


def packed(value: Any) -> bytes:
    """Return `value` as bytes, its tensors included: on the CPU, each a copy of its own, without a graph."""
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    return buffer.getvalue()


def unpacked(data: bytes) -> Any:
    """Return what `packed` was given; only for bytes from this process's own workers or parent."""
    return pickle.loads(data)  # noqa: S301


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        """Send a plain tensor as its bytes; a view brings its own elements, not the storage behind it."""
        if type(value) is not torch.Tensor or value.layout is not torch.strided:
            return NotImplemented
        flat = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        requires_grad = value.is_leaf and value.requires_grad
        return _tensor, (bytearray(flat.numpy()), value.dtype, tuple(value.shape), requires_grad)


def _tensor(data: bytearray, dtype: torch.dtype, shape: tuple[int, ...], requires_grad: bool) -> torch.Tensor:
    flat = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
    return flat.reshape(shape).requires_grad_(requires_grad)
