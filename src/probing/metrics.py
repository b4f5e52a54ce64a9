"""How well predictions fit: R2, correlations and errors per coordinate, distances on the globe, proximity error.

Arrays are [n] or [n, targets]; per-coordinate results have one number per target. Places are (latitude, longitude)
in degrees, in that order.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import scipy.stats
from jaxtyping import Float

from ..errors import OctoberError

EARTH_RADIUS_KM = 6371.0  # the official code's value
_CHUNK_ENTRIES = 1 << 18  # distances at a time: two megabytes stay in the cache

Values = Float[np.ndarray, "n targets"]
PerTarget = Float[np.ndarray, " targets"]


def r2(truth: Values, predicted: Values) -> PerTarget:
    """Return 1 - residual / total sum of squares per coordinate; `.mean()` is the paper's R2.

    A constant truth has no R2: its value is nan.
    """
    truth, predicted = _columns(truth, predicted)
    total = np.square(truth - truth.mean(axis=0)).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total > 0, 1.0 - np.square(truth - predicted).sum(axis=0) / total, np.nan)


def mae(truth: Values, predicted: Values) -> PerTarget:
    """Return the mean absolute error per coordinate."""
    truth, predicted = _columns(truth, predicted)
    result: np.ndarray = np.abs(truth - predicted).mean(axis=0)
    return result


def rmse(truth: Values, predicted: Values) -> PerTarget:
    """Return the root of the mean squared error per coordinate."""
    truth, predicted = _columns(truth, predicted)
    result: np.ndarray = np.sqrt(np.square(truth - predicted).mean(axis=0))
    return result


def pearson(truth: Values, predicted: Values) -> PerTarget:
    """Return Pearson's correlation per coordinate; nan where a side is constant."""
    truth, predicted = _columns(truth, predicted)
    return _correlation(truth, predicted)


def spearman(truth: Values, predicted: Values) -> PerTarget:
    """Return Spearman's rank correlation per coordinate, ties at their mean rank; nan where a side is constant."""
    truth, predicted = _columns(truth, predicted)
    return _correlation(scipy.stats.rankdata(truth, axis=0), scipy.stats.rankdata(predicted, axis=0))


def kendall(truth: Values, predicted: Values) -> PerTarget:
    """Return Kendall's tau-b per coordinate."""
    truth, predicted = _columns(truth, predicted)
    pairs = zip(truth.T, predicted.T, strict=True)
    return np.array([float(scipy.stats.kendalltau(ours, theirs).statistic) for ours, theirs in pairs])


def _correlation(first: Values, second: Values) -> PerTarget:
    first = first - first.mean(axis=0)
    second = second - second.mean(axis=0)
    scale = np.sqrt(np.square(first).sum(axis=0) * np.square(second).sum(axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(scale > 0, (first * second).sum(axis=0) / scale, np.nan)


def haversine_km(first: Float[np.ndarray, "n 2"], second: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
    """Return great-circle distances in km; coordinates off the map (a probe's latitude of 95) wrap round the globe."""
    (lat1, lon1), (lat2, lon2) = np.radians(_places(first)).T, np.radians(_places(second)).T
    half_chord = np.sin((lat1 - lat2) / 2) ** 2 + np.cos(lat1) * np.cos(lat2) * np.sin((lon1 - lon2) / 2) ** 2
    distances: np.ndarray = 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(half_chord, 0.0, 1.0)))
    return distances


def haversine_mae(truth: Float[np.ndarray, "n 2"], predicted: Float[np.ndarray, "n 2"]) -> float:
    """Return the mean great-circle error in km."""
    return float(haversine_km(truth, predicted).mean())


def haversine_r2(truth: Float[np.ndarray, "n 2"], predicted: Float[np.ndarray, "n 2"]) -> float:
    """Return R2 with great-circle distances for residuals, against the mean coordinates (official code)."""
    truth = _places(truth)
    total = np.square(haversine_km(truth, truth.mean(axis=0, keepdims=True))).sum()
    return float(1.0 - np.square(haversine_km(truth, predicted)).sum() / total)


def proximity_error(
    truth: Float[np.ndarray, "n targets"],
    predicted: Float[np.ndarray, "n targets"],
    candidates: Float[np.ndarray, "m targets"] | None = None,
    *,
    distance: Literal["haversine", "absolute"] = "haversine",
) -> Float[np.ndarray, " n"]:
    """Return, for each point, the share of candidates nearer to its truth than its own prediction is.

    0 is best; a prediction that knows nothing has about 0.5. This is the paper's definition (the share of entities
    predicted to be closer to the target point than the prediction of the target entity) and the official code's:
    the candidates are the predictions of all points, its own included, which never counts as nearer. Exact, in
    chunks; ties are not nearer.

    Args:
        truth: true places (degrees) or times (years).
        predicted: the predictions of the same points.
        candidates: predictions to compare with; by default `predicted`.
        distance: great circle for places, absolute difference for times.
    """
    truth, predicted = _columns(truth, predicted)
    candidates = (
        predicted if candidates is None else np.asarray(candidates, dtype=np.float64).reshape(len(candidates), -1)
    )
    count = {"haversine": _nearer_on_globe, "absolute": _nearer_on_line}[distance]
    return count(truth, predicted, candidates) / len(candidates)


def _nearer_on_globe(truth: Values, predicted: Values, candidates: Values) -> Float[np.ndarray, " n"]:
    """Count by squared chords between unit vectors, which grow with the great-circle distance."""
    own = np.square(_unit_vectors(truth) - _unit_vectors(predicted)).sum(axis=1)
    points, others = _unit_vectors(truth), _unit_vectors(candidates)
    counts = np.empty(len(truth))
    size = max(1, _CHUNK_ENTRIES // len(others))
    for first in range(0, len(truth), size):
        part = slice(first, first + size)
        chords = np.zeros((len(points[part]), len(others)))
        for axis in range(3):
            chords += np.square(points[part, axis, None] - others[:, axis])
        counts[part] = (chords < own[part, None]).sum(axis=1)
    return counts


def _nearer_on_line(truth: Values, predicted: Values, candidates: Values) -> Float[np.ndarray, " n"]:
    """Count the candidates strictly between truth - error and truth + error in their sorted order."""
    if truth.shape[1] != 1:
        raise OctoberError(f"the absolute distance is for one target, not {truth.shape[1]}")
    points, others = truth[:, 0], np.sort(candidates[:, 0])
    error = np.abs(points - predicted[:, 0])
    below = np.searchsorted(others, points - error, side="right")
    between = np.searchsorted(others, points + error, side="left") - below
    counts: np.ndarray = np.maximum(between, 0).astype(np.float64)
    return counts


def _unit_vectors(places: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 3"]:
    latitude, longitude = np.radians(_places(places)).T
    flat = np.cos(latitude)
    return np.stack([flat * np.cos(longitude), flat * np.sin(longitude), np.sin(latitude)], axis=1)


def _places(places: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    places = np.asarray(places, dtype=np.float64)
    if places.ndim != 2 or places.shape[1] != 2:
        raise OctoberError(f"places are (latitude, longitude) pairs, not an array of shape {places.shape}")
    return places


def _columns(truth: Values, predicted: Values) -> tuple[Values, Values]:
    truth, predicted = np.asarray(truth, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if truth.shape != predicted.shape or truth.ndim not in (1, 2) or not len(truth):
        raise OctoberError(f"truth {truth.shape} and predictions {predicted.shape} must have one shape, with rows")
    return truth.reshape(len(truth), -1), predicted.reshape(len(truth), -1)


def all_metrics(truth: Values, predicted: Values, *, places: bool) -> dict[str, float]:
    """Return every metric of the paper's tables by name: means over the coordinates and, for places, each of the two.

    Args:
        truth: places [n, 2] or times [n].
        predicted: the same shape.
        places: (latitude, longitude) rather than a time.
    """
    per_target: dict[str, Callable[[Values, Values], PerTarget]] = {
        "r2": r2, "mae": mae, "rmse": rmse, "pearson": pearson, "spearman": spearman, "kendall": kendall
    }  # fmt: skip
    scores: dict[str, float] = {}
    for name, metric in per_target.items():
        values = metric(truth, predicted)
        scores[name] = float(values.mean())
        if places:
            scores[f"latitude_{name}"], scores[f"longitude_{name}"] = map(float, values)
    if places:
        scores["haversine_mae"] = haversine_mae(truth, predicted)
        scores["haversine_r2"] = haversine_r2(truth, predicted)
    kind: Literal["haversine", "absolute"] = "haversine" if places else "absolute"
    scores["proximity_error"] = float(proximity_error(truth, predicted, distance=kind).mean())
    return scores
