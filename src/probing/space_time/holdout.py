"""Does a probe generalise: to a block of the world or of time it never saw, and from one entity type to another?

A block's held-out error (its rows kept out of the training) stands beside its nominal error. The official code takes
the nominal one from a single random split, on the few rows of the block that fall into its test side; here it comes
from five-fold cross-validation, so both errors are over the same rows, all of the block's.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from tqdm.auto import tqdm

from ...errors import OctoberError
from ..metrics import all_metrics, proximity_error
from ..ridge import DEFAULT_PENALTIES, RidgeProbe
from ..splits import block_splits, random_split

Features = Float[np.ndarray, "n features"]
Targets = Float[np.ndarray, "n targets"]
Penalties = Sequence[float] | Float[np.ndarray, " penalties"]

_FOLDS = 5


class BlockScores(NamedTuple):
    """Metrics (names of `all_metrics`) over one block's rows.

    `nominal`: by probes that trained on other rows of the block; `held_out`: by one that saw none of them.
    Proximity errors are against the predictions of all rows.
    """

    block: str
    members: int
    nominal: dict[str, float]
    held_out: dict[str, float]


def block_holdout(
    features: Features,
    targets: Targets,
    groups: Sequence[Any] | np.ndarray,
    *,
    places: bool,
    min_members: int = 50,
    max_blocks: int | None = None,
    penalties: Penalties = DEFAULT_PENALTIES,
    seed: int = 0,
) -> Iterator[BlockScores]:
    """Yield the scores of each block, largest first.

    Args:
        features: activations of one layer.
        targets: places [n, 2] or times [n].
        groups: country, state, century … of each row; rows without one always train.
        places: (latitude, longitude) rather than a time.
        min_members: smaller groups are no blocks.
        max_blocks: stop after this many.
        penalties: grid of the ridge probes.
        seed: of the folds.

    Raises:
        OctoberError: no group is large enough.
    """
    nominal = cross_fitted(features, targets, penalties, seed)
    splits = list(block_splits(groups, min_members, max_blocks))
    for block, split in tqdm(splits, "held-out blocks", leave=False, delay=2):
        probe = RidgeProbe().fit(features[split.train], targets[split.train], penalties)
        held_out = probe.predict(features)
        scores = [_block_metrics(targets, predicted, split.test, places) for predicted in (nominal, held_out)]
        yield BlockScores(block, len(split.test), *scores)


def cross_fitted(features: Features, targets: Targets, penalties: Penalties, seed: int) -> Targets:
    """Return predictions of every row by a probe that trained on four fifths of the rows, this one not among them."""
    if len(features) < 2 * _FOLDS:
        raise OctoberError(f"cross-validation needs {2 * _FOLDS} rows or more, not {len(features)}")
    fold = np.random.default_rng(seed).permutation(len(features)) % _FOLDS
    predicted = np.empty((len(features), np.reshape(targets, (len(targets), -1)).shape[1]))
    for held_out in range(_FOLDS):
        probe = RidgeProbe().fit(features[fold != held_out], targets[fold != held_out], penalties)
        predicted[fold == held_out] = probe.predict(features[fold == held_out])
    return predicted


def _block_metrics(targets: Targets, predicted: Targets, rows: np.ndarray, places: bool) -> dict[str, float]:
    truth = np.reshape(targets, (len(targets), -1))
    scores = all_metrics(truth[rows], predicted[rows], places=places)
    distance: Literal["haversine", "absolute"] = "haversine" if places else "absolute"
    nearer = proximity_error(truth[rows], predicted[rows], predicted, distance=distance)
    return scores | {"proximity_error": float(nearer.mean())}


def cross_type(
    features: dict[str, Features],
    targets: dict[str, Targets],
    *,
    places: bool,
    penalties: Penalties = DEFAULT_PENALTIES,
    seed: int = 0,
) -> dict[tuple[str, str], dict[str, float]]:
    """Return the metrics of training on one entity type and testing on another, for all ordered pairs.

    Each type is split once; a pair trains on the first type's training side and is tested on the second's test
    side, so a column of the matrix is over the same rows, the type's own probe included.

    Args:
        features: activations by entity type, of one layer.
        targets: places or times by entity type.
        places: (latitude, longitude) rather than a time.
        penalties: grid of the ridge probes.
        seed: of the splits.

    Raises:
        OctoberError: the types of features and targets differ.
    """
    if features.keys() != targets.keys():
        raise OctoberError(f"features are of the types {sorted(features)}, targets of {sorted(targets)}")
    splits = {name: random_split(len(rows), seed) for name, rows in features.items()}
    scores = {}
    for source, split in splits.items():
        probe = RidgeProbe().fit(features[source][split.train], targets[source][split.train], penalties)
        for name, other in splits.items():
            truth = np.reshape(targets[name][other.test], (len(other.test), -1))
            scores[source, name] = all_metrics(truth, probe.predict(features[name][other.test]), places=places)
    return scores
