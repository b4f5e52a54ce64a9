"""Ridge probes with the exact leave-one-out error of every penalty, from one eigendecomposition.

With A the centred (and scaled) features and Y the centred targets, ridge minimises ||Y - A W||² + λ ||W||², the
intercept unpenalised. Let A'A = V diag(s) V'. Then for every λ at once

    W = V diag(1 / (s + λ)) V' A'Y
    h_i = 1/n + Σ_j (A V)²_ij / (s_j + λ)          leverage of row i; 1/n is the intercept's share
    e_i = (y_i - ŷ_i) / (1 - h_i)                  the error at row i of the fit that never saw row i

so the whole grid costs two products of n d² and one decomposition of d³, and only blocks of A are ever in memory.
With fewer rows than features the n x n matrix A A' = U diag(s) U' takes the place of A'A, and 1 - h_i is a sum of
positive terms, exact even where h_i is almost 1.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from ..errors import OctoberError

DEFAULT_PENALTIES: Float[np.ndarray, " penalties"] = np.logspace(0, 7, 29)
_BLOCK_BYTES = 96 << 20  # of a block in float64; smaller ones make the products slower
_SAFE_LEVERAGE = 0.5  # below it float32 products (relative error 1e-6) move an LOO error by less than 1e-5


class RidgeProbe:
    """A linear probe whose penalty is chosen by exact leave-one-out error over all targets.

    The official code of "Language Models Represent Space and Time" standardises the targets and leaves the
    features as they are. Here the features are standardised too, by default: a few coordinates of the residual
    stream are orders of magnitude larger than the rest and would escape the penalty, and one grid then serves
    every layer and model. `standardize=False` gives the official probe.

    Attributes after `fit`:
        penalty: the chosen λ.
        penalties: the grid.
        loo_errors: mean squared leave-one-out error [penalties, targets], in units of the targets squared.
        coefficients: [features, targets], for features and targets as given.
        intercept: [targets].
    """

    penalty: float
    penalties: Float[np.ndarray, " penalties"]
    loo_errors: Float[np.ndarray, "penalties targets"]
    coefficients: Float[np.ndarray, "features targets"]
    intercept: Float[np.ndarray, " targets"]

    def __init__(self, *, standardize: bool = True) -> None:
        self.standardize = standardize

    def fit(
        self,
        features: Float[np.ndarray, "n features"],
        targets: Float[np.ndarray, "n targets"],
        penalties: Sequence[float] | Float[np.ndarray, " penalties"] = DEFAULT_PENALTIES,
    ) -> "RidgeProbe":
        """Fit all penalties at once and keep the best.

        The best has the smallest leave-one-out error summed over the targets, each divided by its variance.

        Args:
            features: dense rows, in memory or memory-mapped (read in blocks, twice).
            targets: [n, targets] or [n].
            penalties: the grid of λ.

        Raises:
            OctoberError: fewer than three rows, counts that differ, numbers that are not finite, or a penalty
                that is not positive.
        """
        targets = _as_columns(targets)
        self.penalties = _checked_penalties(penalties)
        _check_rows(features, targets)
        rows = _Rows(features)
        mean = targets.mean(axis=0)
        primal = rows.num_rows > rows.num_features
        solved = (_primal if primal else _dual)(rows, targets - mean, self.penalties, self.standardize)
        self.loo_errors = solved.loo_errors
        spread = targets.var(axis=0)
        share = self.loo_errors / np.where(spread > 0, spread, 1.0)
        best = int(share.sum(axis=1).argmin())
        self.penalty = float(self.penalties[best])
        self.coefficients = solved.coefficients(best)
        self.intercept = mean - rows.mean @ self.coefficients
        return self

    def predict(self, features: Float[np.ndarray, "n features"]) -> Float[np.ndarray, "n targets"]:
        """Return float64 predictions [n, targets].

        Raises:
            OctoberError: another number of features than in `fit`.
        """
        if features.ndim != 2 or features.shape[1] != len(self.coefficients):
            raise OctoberError(
                f"features have shape {features.shape}; this probe takes {len(self.coefficients)} columns"
            )
        blocks = [features[rows] @ self.coefficients for rows in _blocks(*features.shape)]
        return np.concatenate(blocks) + self.intercept if blocks else np.empty((0, len(self.intercept)))


@dataclass(frozen=True)
class _Solved:
    """Leave-one-out errors, and what gives the coefficients of one penalty: basis @ (weights / (s + λ))."""

    loo_errors: Float[np.ndarray, "penalties targets"]
    basis: Float[np.ndarray, "features rank"]
    weights: Float[np.ndarray, "rank targets"]
    eigenvalues: Float[np.ndarray, " rank"]
    penalties: Float[np.ndarray, " penalties"]

    def coefficients(self, index: int) -> Float[np.ndarray, "features targets"]:
        result: np.ndarray = self.basis @ (self.weights / (self.eigenvalues + self.penalties[index])[:, None])
        return result


class _Rows:
    """Centred features, block by block in float64, each in the place of the one before it (fresh pages cost time)."""

    def __init__(self, features: Any) -> None:
        self.features = features
        self.num_rows, self.num_features = features.shape
        self.mean = np.zeros(self.num_features)
        for part in self.slices():
            self.mean += np.asarray(features[part]).sum(axis=0, dtype=np.float64) / self.num_rows
        if not np.isfinite(self.mean).all():
            raise OctoberError("features hold numbers that are not finite")
        self._buffer = np.empty((0, self.num_features))

    @property
    def block_rows(self) -> int:
        return int(next(self.slices()).stop)

    def slices(self) -> Iterator[slice]:
        return _blocks(self.num_rows, self.num_features)

    def block(self, rows: slice) -> Float[np.ndarray, "block features"]:
        size = rows.stop - rows.start
        if len(self._buffer) < size:
            self._buffer = np.empty((size, self.num_features))
        np.subtract(self.features[rows], self.mean, out=self._buffer[:size], dtype=np.float64)
        return self._buffer[:size]

    def scale(self, sum_of_squares: Float[np.ndarray, " features"]) -> Float[np.ndarray, " features"]:
        """Standard deviations; 1 for a constant column, whose only variation is its mean's rounding."""
        spread = np.sqrt(sum_of_squares / self.num_rows)
        return np.where(spread > 1e-12 * np.abs(self.mean), spread, 1.0)


def _primal(rows: _Rows, targets: np.ndarray, penalties: np.ndarray, standardize: bool) -> _Solved:
    """Solve through A'A, for n > d."""
    gram = np.zeros((rows.num_features, rows.num_features))
    moment = np.zeros((rows.num_features, targets.shape[1]))
    product = np.empty_like(gram)
    for part in rows.slices():
        block = rows.block(part)
        gram += np.matmul(block.T, block, out=product)
        moment += block.T @ targets[part]
    eigenvalues, basis = _scaled_eigh(gram, rows.scale(gram.diagonal()) if standardize else None)
    weights = basis.T @ moment
    inverse = 1.0 / (eigenvalues[:, None] + penalties)
    errors = _primal_errors(rows, targets, basis, inverse, weights)
    return _Solved(errors, basis, weights, eigenvalues, penalties)


def _primal_errors(
    rows: _Rows,
    targets: Float[np.ndarray, "n targets"],
    basis: Float[np.ndarray, "features rank"],
    inverse: Float[np.ndarray, "rank penalties"],
    weights: Float[np.ndarray, "rank targets"],
) -> Float[np.ndarray, "penalties targets"]:
    """Return the mean squared leave-one-out errors, the leverages in float32 where that is safe."""
    fits = basis @ (inverse[:, :, None] * weights[:, None, :]).reshape(len(weights), -1)
    low_basis, low_inverse = basis.astype(np.float32), inverse.astype(np.float32)
    total = np.zeros((inverse.shape[1], targets.shape[1]))
    low, rotated = np.empty((2, rows.block_rows, rows.num_features), dtype=np.float32)
    for part in rows.slices():
        block = rows.block(part)
        low[: len(block)] = block
        leverage = _leverage(low[: len(block)], low_basis, low_inverse, rotated[: len(block)])
        if not leverage.max() < _SAFE_LEVERAGE:
            leverage = _leverage(block, basis, inverse, np.empty_like(block))
        residuals = targets[part, None, :] - (block @ fits).reshape(len(block), *total.shape)
        total += _squared_errors(residuals, 1.0 - 1.0 / rows.num_rows - leverage)
    total /= rows.num_rows
    return total


def _leverage(
    block: Float[np.ndarray, "block features"],
    basis: Float[np.ndarray, "features rank"],
    inverse: Float[np.ndarray, "rank penalties"],
    rotated: Float[np.ndarray, "block rank"],
) -> Float[np.ndarray, "block penalties"]:
    np.matmul(block, basis, out=rotated)
    result: np.ndarray = (np.square(rotated, out=rotated) @ inverse).astype(np.float64, copy=False)
    return result


def _dual(rows: _Rows, targets: np.ndarray, penalties: np.ndarray, standardize: bool) -> _Solved:
    """Solve through A A', for n <= d; W = A' U diag(1 / (s + λ)) U'Y."""
    block = rows.block(slice(0, rows.num_rows))
    scale = rows.scale(np.square(block).sum(axis=0)) if standardize else np.ones(rows.num_features)
    block /= scale
    eigenvalues, vectors = _eigh(block @ block.T)
    weights = vectors.T @ targets
    kept = penalties / (eigenvalues[:, None] + penalties)  # the share of each direction that the fit leaves
    residuals = vectors @ (kept[:, :, None] * weights[:, None, :]).reshape(len(weights), -1)
    left = np.square(vectors) @ kept - 1.0 / rows.num_rows
    errors = _squared_errors(residuals.reshape(*left.shape, -1), left) / rows.num_rows
    return _Solved(errors, (block.T @ vectors) / scale[:, None], weights, eigenvalues, penalties)


def _squared_errors(
    residuals: Float[np.ndarray, "n penalties targets"], left: Float[np.ndarray, "n penalties"]
) -> Float[np.ndarray, "penalties targets"]:
    result: np.ndarray = np.square(residuals / left[:, :, None]).sum(axis=0)
    return result


def _scaled_eigh(
    gram: Float[np.ndarray, "d d"], scale: Float[np.ndarray, " d"] | None
) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "d d"]]:
    """Decompose the Gram matrix of the columns divided by `scale`; the basis is for the columns as they are."""
    if scale is None:
        return _eigh(gram)
    gram /= scale
    gram /= scale[:, None]
    eigenvalues, vectors = _eigh(gram)
    vectors /= scale[:, None]
    return eigenvalues, vectors


def _eigh(matrix: Float[np.ndarray, "m m"]) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, "m m"]]:
    eigenvalues, vectors = np.linalg.eigh(matrix)  # scipy's would set a second pool of threads against numpy's
    return np.clip(eigenvalues, 0.0, None), vectors


def _blocks(num_rows: int, num_features: int) -> Iterator[slice]:
    size = max(1, _BLOCK_BYTES // (8 * max(1, num_features)))
    return (slice(first, min(first + size, num_rows)) for first in range(0, num_rows, size))


def _as_columns(targets: np.ndarray) -> Float[np.ndarray, "n targets"]:
    targets = np.asarray(targets, dtype=np.float64)
    return targets[:, None] if targets.ndim == 1 else targets


def _checked_penalties(penalties: Any) -> Float[np.ndarray, " penalties"]:
    grid = np.atleast_1d(np.asarray(penalties, dtype=np.float64))
    if not len(grid) or not (np.isfinite(grid) & (grid > 0)).all():
        raise OctoberError(f"penalties must be positive numbers, not {np.asarray(penalties).tolist()}")
    return grid


def _check_rows(features: np.ndarray, targets: np.ndarray) -> None:
    if features.ndim != 2 or features.shape[0] != targets.shape[0]:
        raise OctoberError(f"features {features.shape} and targets {targets.shape} do not have the same rows")
    if features.shape[0] < 3 or features.shape[1] < 1:
        raise OctoberError(f"a ridge probe needs at least three rows and a feature, not {features.shape}")
    if not np.isfinite(targets).all():
        raise OctoberError("targets hold numbers that are not finite")
