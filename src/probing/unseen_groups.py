"""Predictions of every row by a probe that never saw its group: what a probe knows of a country it was not shown."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ..errors import OctoberError
from .ridge import RidgeProbe


def group_folds(groups: Sequence[Any] | np.ndarray, num_folds: int, seed: int) -> Int[np.ndarray, " n"]:
    """Return each row's fold, 0 to num_folds - 1; groups stay whole and are dealt out at random.

    Raises:
        OctoberError: There are fewer groups than folds.
    """
    names, group_of_row = np.unique(np.asarray([str(group) for group in groups]), return_inverse=True)
    if len(names) < num_folds:
        raise OctoberError(f"{len(names)} groups cannot be dealt out to {num_folds} folds")
    fold_of_group = np.random.default_rng(seed).permutation(len(names)) % num_folds
    folds: np.ndarray = fold_of_group[group_of_row]
    return folds


def predictions_without_own_group(
    features: Float[np.ndarray, "n features"],
    targets: Float[np.ndarray, "n targets"],
    groups: Sequence[Any] | np.ndarray,
    *,
    seed: int,
    num_folds: int = 5,
) -> Float[np.ndarray, "n targets"]:
    """Return a prediction for every row by a ridge probe trained on the folds that do not hold its group.

    Args:
        features: Activations of one layer.
        targets: Places or times.
        groups: Country, state, century … of each row.
        seed: Of the folds.
        num_folds: How many probes; each leaves out about 1/num_folds of the groups.
    """
    fold = group_folds(groups, num_folds, seed)
    predicted = np.empty_like(targets, dtype=np.float64)
    for held_out in range(num_folds):
        train = fold != held_out
        predicted[~train] = RidgeProbe().fit(features[train], targets[train]).predict(features[~train])
    return predicted
