"""Probes on the first k principal components: in how few dimensions a feature is readable (the paper's section 4.2).

The components come from the training rows alone. With A = U S V' the centred training features, the first k columns
of A V are the same for every k, so one decomposition serves all of them.
"""

from collections.abc import Sequence

import numpy as np
import scipy.linalg
from jaxtyping import Float

from ..errors import OctoberError
from .ridge import DEFAULT_PENALTIES, RidgeProbe

PAPER_DIMENSIONS = (2, 4, 6, 8, 10, 15, 20, 30, 40, 50, 75, 100)  # the official code's


class PrincipalComponents:
    """The principal axes of training features.

    Attributes:
        mean: [features].
        axes: [features, rank], by falling variance.
        variances: [rank].
    """

    def __init__(self, features: Float[np.ndarray, "n features"]) -> None:
        """Find all axes from the smaller of A'A and A A' (float64).

        Raises:
            OctoberError: fewer than two rows, or numbers that are not finite.
        """
        if features.ndim != 2 or len(features) < 2 or not np.isfinite(features).all():
            raise OctoberError(f"principal components need two rows or more of finite numbers, not {features.shape}")
        self.mean: np.ndarray = features.mean(axis=0, dtype=np.float64)
        centred = features - self.mean
        tall = features.shape[0] > features.shape[1]
        squares, vectors = scipy.linalg.eigh(centred.T @ centred if tall else centred @ centred.T, driver="evd")
        squares, vectors = np.clip(squares[::-1], 0.0, None), vectors[:, ::-1]
        kept = squares > squares[0] * np.finfo(np.float64).eps * max(features.shape)
        self.variances: np.ndarray = squares[kept] / len(features)
        self.axes: np.ndarray = vectors[:, kept] if tall else centred.T @ (vectors[:, kept] / np.sqrt(squares[kept]))

    def project(self, features: Float[np.ndarray, "n features"], count: int) -> Float[np.ndarray, "n count"]:
        """Return coordinates on the first `count` axes.

        Raises:
            OctoberError: there are not that many axes.
        """
        if not 1 <= count <= self.axes.shape[1]:
            raise OctoberError(f"count={count} principal components: there are {self.axes.shape[1]}")
        result: np.ndarray = (features - self.mean) @ self.axes[:, :count]
        return result


def component_predictions(
    train_features: Float[np.ndarray, "train features"],
    train_targets: Float[np.ndarray, "train targets"],
    test_features: Float[np.ndarray, "test features"],
    counts: Sequence[int] = PAPER_DIMENSIONS,
    penalties: Sequence[float] | Float[np.ndarray, " penalties"] = DEFAULT_PENALTIES,
) -> dict[int, Float[np.ndarray, "test targets"]]:
    """Return test predictions of a ridge probe on the first k components, for each k of `counts`.

    The projections are not standardised: their variances are what makes a component principal.

    Raises:
        OctoberError: a k that exceeds the rank.
    """
    components = PrincipalComponents(train_features)
    train = components.project(train_features, max(counts))
    test = components.project(test_features, max(counts))
    return {
        count: RidgeProbe(standardize=False).fit(train[:, :count], train_targets, penalties).predict(test[:, :count])
        for count in counts
    }
