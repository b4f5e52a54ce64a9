"""Memory while a piece of code runs: live tensors counted to the byte, and what the process grows by besides.

    with TensorMemory(query, key, value) as memory:            # what the caller holds counts too
        output = ring_attention(query, key, value)
    memory.peak_bytes

A tensor is counted when an operation returns it and discounted when its storage is freed; views share a storage and
count once. Buffers inside a kernel are no tensors: `AnonymousMemory` sees them as growth of the process.
"""

import ctypes
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_STATUS = Path("/proc/self/status")
_SECONDS_BETWEEN_SAMPLES = 0.002


class TensorMemory(TorchDispatchMode):
    """Counts the bytes of live tensors, on every device together, while it is entered; backward passes too.

    Args:
        held: Tensors that were there before and are to be counted as long as they live.

    Attributes:
        live_bytes: Now.
        peak_bytes: The most since it was entered, or since `reset_peak`.
    """

    def __init__(self, *held: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live_bytes = self.peak_bytes = 0
        self._releases: dict[int, weakref.finalize[..., Any]] = {}  # by the address of a living storage
        for tensor in held:
            self.hold(tensor)

    def hold(self, tensor: Tensor) -> None:
        """Count a tensor from now on, once however many operations return views of it; not one without a storage."""
        if tensor.layout is not torch.strided:
            return
        storage = tensor.untyped_storage()
        address, size = storage._cdata, storage.nbytes()
        if address in self._releases:
            return
        release = weakref.finalize(storage, self._release, address, size)
        release.atexit = False
        self._releases[address] = release
        self.live_bytes += size
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)

    def reset_peak(self) -> None:
        """Start a new peak from what is alive now, say between the forward and the backward pass."""
        self.peak_bytes = self.live_bytes

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation and count the tensors that it returns."""
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.hold(leaf)
        return result

    def __exit__(self, *details: Any) -> None:
        """Stop counting; the numbers stay as they are."""
        super().__exit__(*details)  # type: ignore[no-untyped-call]
        for release in self._releases.values():
            release.detach()
        self._releases = {}

    def _release(self, address: int, size: int) -> None:
        if self._releases.pop(address, None) is not None:
            self.live_bytes -= size


class AnonymousMemory:
    """Samples how far the process's anonymous memory grows above where it was on entering, kernels' buffers included.

    Attributes:
        growth_bytes: The largest growth seen; None where the system does not tell (it needs Linux).
    """

    def __init__(self) -> None:
        self.growth_bytes: int | None = None
        self._stop = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        """Give freed memory back to the system, so that its reuse shows, and begin."""
        if (start := _after_trimming()) is not None:
            self._start, self.growth_bytes = start, 0
            self._sampler.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take a last sample and end."""
        if self.growth_bytes is not None:
            self._stop.set()
            self._sampler.join()

    def _sample(self) -> None:
        while True:
            last = self._stop.wait(_SECONDS_BETWEEN_SAMPLES)
            self.growth_bytes = max(self.growth_bytes or 0, (_anonymous_bytes() or 0) - self._start)
            if last:
                return


def _after_trimming() -> int | None:
    """Return the anonymous memory once the C library has given back what it kept, where it can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    return _anonymous_bytes()


def _anonymous_bytes() -> int | None:
    if not _STATUS.exists():
        return None
    for line in _STATUS.read_text().splitlines():
        if line.startswith("RssAnon:"):
            return 1024 * int(line.split()[1])
    return None
