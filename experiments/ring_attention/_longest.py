"""Search for the longest context whose measured peak fits a budget: growing, then narrowing down between two lengths.

Memory is close to linear in the length for all methods but vanilla, so the next length to try is where the straight
line through the two nearest measurements meets the budget, or twice the last one if that is less: a step's time grows
with the square of its length, and what does not fit is run for nothing. The search ends when the next length up does
not fit.

What does not grow (weights, gradients, the buckets that add them up) can hide what does on short sequences, so that
memory grows faster the longer they are, never slower. A line through measured lengths then lies below the memory beyond
them: an extrapolated context is the most that could fit.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Longest:
    """What a search found.

    Attributes:
        context: Tokens; 0 where not even the shortest fits.
        extrapolated: Whether it lies beyond the lengths that were run, on the line through the longest two: then no
            longer context fits, and perhaps not even this one.
        peaks: Every length that was run, with its peak in bytes.
    """

    context: int
    extrapolated: bool
    peaks: dict[int, int]


def longest_context(peak_at: Callable[[int], int], budget: int, step: int, start: int, longest_run: int) -> Longest:
    """Find the longest context, a multiple of `step`, whose peak is within the budget.

    Args:
        peak_at: Runs a training step on so many tokens and returns its peak in bytes.
        budget: In bytes.
        step: Lengths are multiples of it.
        start: The first length that is tried, rounded to steps.
        longest_run: The longest that is run; beyond it memory is extrapolated.
    """
    peaks: dict[int, int] = {}

    def fits(length: int) -> bool:
        if length not in peaks:
            peaks[length] = peak_at(length)
        return peaks[length] <= budget

    limit = max(2 * step, longest_run // step * step)
    low, high = 0, min(_multiple(start, step), _multiple(limit // 2, step))  # two are run before any is extrapolated
    while fits(high):
        if high == limit:
            return Longest(_extrapolated(peaks, budget, step), True, peaks)
        low, high = high, min(_beyond(peaks, budget, step), limit)
    while high - low > step:
        middle = _crossing(peaks, low, high, budget, step)
        low, high = (middle, high) if fits(middle) else (low, middle)
    return Longest(low, False, peaks)


def _crossing(peaks: dict[int, int], low: int, high: int, budget: int, step: int) -> int:
    """Return the length between two measured ones at which the line through them meets the budget."""
    if low == 0:
        return _multiple((low + high) // 2, step)
    share = (budget - peaks[low]) / (peaks[high] - peaks[low])
    guess = int((low + share * (high - low)) // step * step)
    return min(max(guess, low + step), high - step)


def _beyond(peaks: dict[int, int], budget: int, step: int) -> int:
    """Return the length to try after the longest measured one, which fits."""
    *shorter, longest = sorted(peaks)
    if not shorter or peaks[longest] <= peaks[shorter[-1]]:  # nothing is known of the growth
        return 2 * longest
    return max(longest + step, min(2 * longest, _extrapolated(peaks, budget, step)))


def _extrapolated(peaks: dict[int, int], budget: int, step: int) -> int:
    """Return where the line through the two longest measured lengths meets the budget."""
    *_, first, last = sorted(peaks)
    slope = (peaks[last] - peaks[first]) / (last - first)
    return int((last + (budget - peaks[last]) / slope) // step * step)


def _multiple(length: int, step: int) -> int:
    return max(step, length // step * step)
