"""Which rows train a probe and which test it: at random, by held-out group, or from one type to another."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from ..errors import OctoberError


class Split(NamedTuple):
    """Row numbers of the two sides, each in ascending order."""

    train: Int[np.ndarray, " train"]
    test: Int[np.ndarray, " test"]


def random_split(num_rows: int, seed: int, test_fraction: float = 0.2) -> Split:
    """Return a random split; the same seed and sizes give the same rows.

    Raises:
        OctoberError: a side would have no row.
    """
    num_test = round(num_rows * test_fraction)
    if not 0 < num_test < num_rows:
        raise OctoberError(f"test_fraction={test_fraction} of {num_rows} rows leaves one side of the split empty")
    order = np.random.default_rng(seed).permutation(num_rows)
    return Split(np.sort(order[num_test:]), np.sort(order[:num_test]))


def block_splits(
    groups: Sequence[Any] | np.ndarray, min_members: int = 1, max_blocks: int | None = None
) -> Iterator[tuple[Any, Split]]:
    """Yield (group, split) with one group held out whole, for groups of at least `min_members`, largest first.

    Rows without a group (None or nan) always train.

    Raises:
        OctoberError: no group is large enough, or one holds every row.
    """
    names = np.asarray(["" if name is None or name != name else str(name) for name in groups])
    unique, counts = np.unique(names[names != ""], return_counts=True)
    large = [(int(count), str(name)) for name, count in zip(unique, counts, strict=True) if count >= min_members]
    if not large:
        raise OctoberError(f"no group has min_members={min_members} rows; the largest has {max(counts, default=0)}")
    for count, name in sorted(large, key=lambda pair: (-pair[0], pair[1]))[:max_blocks]:
        if count == len(names):
            raise OctoberError(f"group {name!r} holds every row; nothing is left to train on")
        yield name, Split(np.flatnonzero(names != name), np.flatnonzero(names == name))


def cross_type_split(types: Sequence[Any] | np.ndarray, train_type: Any, test_type: Any) -> Split:
    """Return the split that trains on one entity type and tests on another.

    Raises:
        OctoberError: a type that no row has.
    """
    labels = np.asarray(types)
    for name in (train_type, test_type):
        if not (labels == name).any():
            raise OctoberError(
                f"no row has the type {name!r}; the types are {', '.join(sorted(map(str, set(labels))))}"
            )
    return Split(np.flatnonzero(labels == train_type), np.flatnonzero(labels == test_type))
