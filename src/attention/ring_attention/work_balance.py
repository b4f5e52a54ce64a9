"""Who attends to whom: pairs of a query and a key, by the ranks that hold them, under a causal mask.

Position p attends to the min(p + 1, W) positions up to itself, so the last rank of a contiguous split has nearly twice
the mean work, while striped and zigzag layouts share it almost evenly (`layouts` draws the three).
"""

import numpy as np
from jaxtyping import Int

from .activation_memory import check_positive
from .layouts import Layout, shard_runs


def attended_pairs(
    sequence: int, world_size: int, layout: Layout, sliding_window: int | None = None
) -> Int[np.ndarray, "query_ranks key_ranks"]:
    """Count the pairs that the causal mask, and a window if there is one, leaves between every two ranks.

    At hop h rank i computes entry [i, (i - h) % N]; the sum of row i is all of its work.

    Args:
        sequence: Positions, at least one for each rank.
        world_size: Ranks in the ring, N.
        layout: How the sequence is dealt out.
        sliding_window: How many positions a query sees, itself included; None for all before it.

    Raises:
        OctoberError: An unknown layout, or a size that is not positive.
    """
    check_positive(sequence=sequence, world_size=world_size)
    window = sequence if sliding_window is None else sliding_window
    check_positive(sliding_window=window)
    held = [_positions(sequence, rank, world_size, layout) for rank in range(world_size)]
    return np.array([[_pairs(queries, keys, window) for keys in held] for queries in held])


def imbalance(pairs: Int[np.ndarray, "query_ranks key_ranks"]) -> float:
    """Return the busiest rank's work relative to the mean: 1 where all have the same."""
    work = pairs.sum(axis=1)
    return float(work.max() / work.mean())


def _pairs(queries: Int[np.ndarray, " queries"], keys: Int[np.ndarray, " keys"], window: int) -> int:
    up_to = np.searchsorted(keys, queries, side="right")  # keys at or before each query
    out_of_reach = np.searchsorted(keys, queries - window, side="right")
    return int((up_to - out_of_reach).sum())


def _positions(sequence: int, rank: int, world_size: int, layout: Layout) -> Int[np.ndarray, " block"]:
    """Return a rank's positions, ascending."""
    runs = shard_runs(sequence, rank, world_size, layout)
    return np.sort(np.array([position for run in runs for position in run.positions], dtype=np.int64))
