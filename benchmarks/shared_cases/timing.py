"""How long a call takes, and how far calls in turn differ."""

import time
from collections.abc import Callable, Sequence


def seconds_of(call: Callable[[], object]) -> float:
    """Return how many seconds a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def spread_of(ours: Sequence[float], peer: Sequence[float]) -> tuple[float, float]:
    """Return the least and the largest of the ratios, peer over ours, of seconds that were measured in turn."""
    ratios = [theirs / own for own, theirs in zip(ours, peer, strict=True)]
    return min(ratios), max(ratios)
