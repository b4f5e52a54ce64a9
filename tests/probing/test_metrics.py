import math

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from october.errors import OctoberError
from october.probing import metrics


def drawn(num_rows, num_targets=2, seed=0, ties=False):
    rng = np.random.default_rng(seed)
    truth, predicted = rng.standard_normal((2, num_rows, num_targets))
    predicted = predicted + truth
    return (truth.round(), predicted.round()) if ties else (truth, predicted)


def places(num_rows, seed=0):
    rng = np.random.default_rng(seed)
    truth = np.stack([rng.uniform(-90, 90, num_rows), rng.uniform(-180, 180, num_rows)], axis=1)
    return truth, truth + rng.normal(0, 15, truth.shape)  # some predictions leave the map


@settings(deadline=None, max_examples=25)
@given(st.integers(3, 60), st.integers(1, 3), st.integers(0, 99), st.booleans())
def test_per_target_metrics_equal_scipy_and_scikit_learn(num_rows, num_targets, seed, ties):
    truth, predicted = drawn(num_rows, num_targets, seed, ties)
    if (truth.std(axis=0) == 0).any() or (predicted.std(axis=0) == 0).any():
        return
    raw = {"multioutput": "raw_values"}
    np.testing.assert_allclose(metrics.r2(truth, predicted), sklearn.metrics.r2_score(truth, predicted, **raw))
    np.testing.assert_allclose(
        metrics.mae(truth, predicted), sklearn.metrics.mean_absolute_error(truth, predicted, **raw)
    )
    np.testing.assert_allclose(
        metrics.rmse(truth, predicted), sklearn.metrics.root_mean_squared_error(truth, predicted, **raw)
    )
    for ours, theirs in (
        (metrics.pearson, scipy.stats.pearsonr),
        (metrics.spearman, scipy.stats.spearmanr),
        (metrics.kendall, scipy.stats.kendalltau),
    ):
        expected = [theirs(truth[:, k], predicted[:, k])[0] for k in range(num_targets)]
        np.testing.assert_allclose(ours(truth, predicted), expected, atol=1e-12)


def test_constants_have_no_r2_and_no_correlation():
    truth, predicted = np.ones(4), np.arange(4.0)
    assert np.isnan(metrics.r2(truth, predicted)).all()
    assert np.isnan(metrics.pearson(truth, predicted)).all()
    assert np.isnan(metrics.spearman(predicted, truth)).all()


def test_known_distances():
    london, paris, sydney = [51.5074, -0.1278], [48.8566, 2.3522], [-33.8688, 151.2093]
    found = metrics.haversine_km(np.array([london, london, [0, 0]]), np.array([paris, sydney, [0, 180]]))
    np.testing.assert_allclose(found, [343.6, 16993.9, math.pi * 6371], rtol=1e-3)


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 30), st.integers(0, 99))
def test_haversine_equals_the_law_of_cosines_off_the_map_too(num_rows, seed):
    truth, predicted = places(num_rows, seed)
    expected = []
    for (lat1, lon1), (lat2, lon2) in zip(np.radians(truth), np.radians(predicted), strict=True):
        dot = math.sin(lat1) * math.sin(lat2) + math.cos(lat1) * math.cos(lat2) * math.cos(lon1 - lon2)
        expected.append(6371 * math.acos(max(-1.0, min(1.0, dot))))
    np.testing.assert_allclose(metrics.haversine_km(truth, predicted), expected, atol=1e-2)
    assert metrics.haversine_mae(truth, predicted) == pytest.approx(np.mean(expected), abs=1e-2)


def test_haversine_r2_by_hand():
    truth, predicted = places(20)
    mean = np.tile(truth.mean(axis=0), (20, 1))
    residual = sum(metrics.haversine_km(truth, predicted) ** 2)
    assert metrics.haversine_r2(truth, predicted) == pytest.approx(
        1 - residual / sum(metrics.haversine_km(truth, mean) ** 2)
    )


def slow_proximity(truth, predicted, candidates, distance):
    shares = []
    for row in range(len(truth)):
        own = distance(truth[row], predicted[row])
        shares.append(np.mean([distance(truth[row], other) < own for other in candidates]))
    return shares


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 25), st.integers(1, 30), st.integers(0, 99))
def test_proximity_error_on_the_globe_equals_a_loop(num_rows, num_candidates, seed):
    truth, predicted = places(num_rows, seed)
    candidates = places(num_candidates, seed + 1)[1]

    def distance(first, second):
        return metrics.haversine_km(first[None], second[None])[0]

    found = metrics.proximity_error(truth, predicted, candidates)
    np.testing.assert_array_equal(found, slow_proximity(truth, predicted, candidates, distance))


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 25), st.integers(1, 30), st.integers(0, 99))
def test_proximity_error_of_times_equals_a_loop_with_ties(num_rows, num_candidates, seed):
    rng = np.random.default_rng(seed)
    truth, predicted = rng.integers(1900, 1910, (2, num_rows)).astype(float)
    candidates = rng.integers(1895, 1915, num_candidates).astype(float)
    found = metrics.proximity_error(truth, predicted, candidates, distance="absolute")
    np.testing.assert_array_equal(found, slow_proximity(truth, predicted, candidates, lambda a, b: abs(a - b)))


def test_proximity_error_ends(monkeypatch):
    truth, predicted = places(300)
    assert (metrics.proximity_error(truth, truth) == 0).all()
    one_by_one = metrics.proximity_error(truth, predicted)
    monkeypatch.setattr(metrics, "_CHUNK_ENTRIES", 700)
    np.testing.assert_array_equal(metrics.proximity_error(truth, predicted), one_by_one)
    shuffled = np.random.default_rng(0).permutation(truth)  # knows the map but not where anything is
    assert metrics.proximity_error(truth, shuffled).mean() == pytest.approx(0.5, abs=0.03)


def test_all_metrics_of_places_and_of_times():
    truth, predicted = places(40)
    scores = metrics.all_metrics(truth, predicted, places=True)
    assert scores["r2"] == pytest.approx(np.mean([scores["latitude_r2"], scores["longitude_r2"]]))
    assert scores["longitude_spearman"] == pytest.approx(scipy.stats.spearmanr(truth[:, 1], predicted[:, 1])[0])
    assert scores["haversine_mae"] == metrics.haversine_mae(truth, predicted)
    times = metrics.all_metrics(truth[:, 0], predicted[:, 0], places=False)
    assert times["mae"] == pytest.approx(np.abs(truth[:, 0] - predicted[:, 0]).mean())
    assert "haversine_mae" not in times
    assert 0 < times["proximity_error"] < 1


def test_bad_shapes_are_named():
    with pytest.raises(OctoberError, match="must have one shape"):
        metrics.r2(np.ones(3), np.ones(4))
    with pytest.raises(OctoberError, match="pairs"):
        metrics.haversine_km(np.ones((3, 3)), np.ones((3, 3)))
    with pytest.raises(OctoberError, match="one target"):
        metrics.proximity_error(np.ones((3, 2)), np.ones((3, 2)), distance="absolute")
