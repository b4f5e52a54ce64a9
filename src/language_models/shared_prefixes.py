"""Which sequences begin alike, and are worth reading together up to where they part.

Behind what all sequences of a call share there may be more that only some do: several answers to one prompt, several
questions about one passage. Sequences that begin alike stand next to each other when they are sorted; the best way to
cut the sorted row into groups is found by dynamic programming:

    best(end) = max over start of  best(start) + (end - start - 1) * (tokens shared by start .. end - 1)
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

_WORTH_SHARING = 16  # tokens; for fewer, caches are not worth their copies
_LARGEST_GROUP = 64


class PrefixGroup(NamedTuple):
    """Sequences, by their indices, whose first `length` tokens are the same; of a single one, what it has alone."""

    members: list[int]
    length: int


def prefix_groups(sequences: Sequence[list[int]], limits: Sequence[int], base: int) -> list[PrefixGroup]:
    """Divide sequences into groups that share a beginning.

    Args:
        sequences: Token ids.
        limits: Of each sequence, the most tokens that may be shared.
        base: Tokens that all of them are known to share, and that are paid for already.
    """
    order = sorted(range(len(sequences)), key=sequences.__getitem__)
    alike = [_num_alike(sequences[one], sequences[other], base) for one, other in pairwise(order)]
    saved, starts, lengths = [0], [0], [0]
    for end in range(1, len(order) + 1):
        length = limits[order[end - 1]]
        best = (saved[end - 1], end - 1, length)
        for start in range(end - 2, max(end - _LARGEST_GROUP, 0) - 1, -1):
            length = min(length, alike[start], limits[order[start]])
            if length - base < _WORTH_SHARING:
                break
            best = max(best, (saved[start] + (end - start - 1) * (length - base), start, length))
        for values, value in zip((saved, starts, lengths), best, strict=True):
            values.append(value)
    groups, end = [], len(order)
    while end:
        groups.append(PrefixGroup(order[starts[end] : end], lengths[end]))
        end = starts[end]
    return groups[::-1]


def _num_alike(one: list[int], other: list[int], known: int) -> int:
    """Return how many first tokens are the same, of which `known` need not be looked at."""
    pairs = enumerate(zip(one[known:], other[known:], strict=False), known)
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))
