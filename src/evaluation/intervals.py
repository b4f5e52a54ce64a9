"""Intervals for means over seeds, splits or questions, and for differences of pairs.

`t` intervals are for a handful of independent runs, bootstrap ones for many scores of any shape. Repeated random
splits of one data set share rows, so their scores vary less than those of fresh data would: pass `test_fraction` to
widen their interval by the corrected resampled variance (1/n + n_test/n_train) s² of Nadeau and Bengio (2003).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Float

from ..errors import OctoberError

Scores = Sequence[float] | Float[np.ndarray, " n"]


class Interval(NamedTuple):
    """A mean with the ends of its interval, and the number of scores behind it."""

    value: float
    low: float
    high: float
    n: int


def t_interval(scores: Scores, confidence: float = 0.95, *, test_fraction: float | None = None) -> Interval:
    """Return the mean with Student's t interval; a single score has an infinite one.

    Args:
        scores: one number per seed or split.
        confidence: coverage.
        test_fraction: give it when the scores come from repeated random splits of the same rows; corrects the
            variance for their overlap.

    Raises:
        OctoberError: no scores, one that is not finite, or a share that is not between 0 and 1.
    """
    values = _checked(scores, confidence)
    n, mean = len(values), float(values.mean())
    if n == 1:
        return Interval(mean, -np.inf, np.inf, 1)
    if test_fraction is not None and not 0 < test_fraction < 1:
        raise OctoberError(f"test_fraction={test_fraction} must lie between 0 and 1")
    overlap = 0.0 if test_fraction is None else test_fraction / (1 - test_fraction)
    error = float(values.std(ddof=1)) * np.sqrt(1 / n + overlap)
    half = float(scipy.stats.t.ppf((1 + confidence) / 2, n - 1)) * float(error)
    return Interval(mean, mean - half, mean + half, n)


def bootstrap_interval(scores: Scores, confidence: float = 0.95, *, resamples: int = 10_000, seed: int = 0) -> Interval:
    """Return the mean with its percentile bootstrap interval.

    Args:
        scores: one number per question, entity …
        confidence: coverage.
        resamples: samples drawn with replacement.
        seed: of the draws.

    Raises:
        OctoberError: as `t_interval`.
    """
    values = _checked(scores, confidence)
    generator = np.random.default_rng(seed)
    size = max(1, 4_000_000 // len(values))  # draws held at a time
    means = [
        values[generator.integers(0, len(values), (min(size, resamples - first), len(values)))].mean(axis=1)
        for first in range(0, resamples, size)
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(values.mean()), float(low), float(high), len(values))


def paired_t_interval(
    ours: Scores, theirs: Scores, confidence: float = 0.95, *, test_fraction: float | None = None
) -> Interval:
    """Return the mean of ours - theirs, pair by pair, with Student's t interval; see `t_interval`."""
    return t_interval(_differences(ours, theirs), confidence, test_fraction=test_fraction)


def paired_bootstrap_interval(
    ours: Scores, theirs: Scores, confidence: float = 0.95, *, resamples: int = 10_000, seed: int = 0
) -> Interval:
    """Return the mean of ours - theirs, pair by pair, with its bootstrap interval; see `bootstrap_interval`."""
    return bootstrap_interval(_differences(ours, theirs), confidence, resamples=resamples, seed=seed)


def _differences(ours: Scores, theirs: Scores) -> Float[np.ndarray, " n"]:
    if len(ours) != len(theirs):
        raise OctoberError(f"a paired interval needs pairs, not {len(ours)} scores against {len(theirs)}")
    return np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64)


def _checked(scores: Scores, confidence: float) -> Float[np.ndarray, " n"]:
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise OctoberError("an interval needs at least one score, and all of them finite")
    if not 0 < confidence < 1:
        raise OctoberError(f"confidence={confidence} must lie between 0 and 1")
    return values
