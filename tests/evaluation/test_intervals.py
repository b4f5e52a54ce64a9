import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from october.errors import OctoberError
from october.evaluation import (
    Interval,
    bootstrap_interval,
    paired_bootstrap_interval,
    paired_t_interval,
    t_interval,
)

scores = st.lists(st.floats(-100, 100), min_size=2, max_size=30)


@settings(deadline=None, max_examples=30)
@given(scores, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_t_interval_equals_scipy(values, confidence):
    found = t_interval(values, confidence)
    if np.std(values) > 1e-9:
        low, high = scipy.stats.t.interval(confidence, len(values) - 1, np.mean(values), scipy.stats.sem(values))
        np.testing.assert_allclose(found[:3], [np.mean(values), low, high], atol=1e-9)
    assert found.n == len(values)


def test_corrected_resampled_interval_by_hand():
    values = [0.61, 0.64, 0.66, 0.59, 0.65]
    found = t_interval(values, test_fraction=0.2)
    half = scipy.stats.t.ppf(0.975, 4) * np.sqrt((1 / 5 + 0.2 / 0.8) * np.var(values, ddof=1))
    np.testing.assert_allclose([found.low, found.high], [np.mean(values) - half, np.mean(values) + half])
    assert found.high - found.low == pytest.approx(1.5 * (t_interval(values).high - t_interval(values).low))


def test_one_score_says_nothing():
    assert t_interval([0.5]) == Interval(0.5, -np.inf, np.inf, 1)


def test_bootstrap_equals_scipy_closely_and_itself_exactly():
    values = np.random.default_rng(1).exponential(size=200)
    found = bootstrap_interval(values)
    theirs = scipy.stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=0)
    np.testing.assert_allclose(found[1:3], theirs.confidence_interval, rtol=0.01)
    assert found == bootstrap_interval(values)
    assert found != bootstrap_interval(values, seed=1)


def test_bootstrap_covers():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        interval = bootstrap_interval(rng.standard_normal(60) + 3, resamples=500, seed=trial)
        hits += interval.low <= 3 <= interval.high
    assert 0.88 <= hits / 200 <= 0.99


def test_many_scores_are_drawn_in_parts():
    values = np.random.default_rng(2).standard_normal(3_000_000)
    found = bootstrap_interval(values, resamples=20)
    assert found.low < values.mean() < found.high
    assert found.high - found.low < 5 / np.sqrt(len(values))


@settings(deadline=None, max_examples=20)
@given(scores)
def test_pairs_are_differences(values):
    theirs = np.linspace(-1, 1, len(values))
    difference = np.asarray(values) - theirs
    assert paired_t_interval(values, theirs, test_fraction=0.2) == t_interval(difference, test_fraction=0.2)
    assert paired_bootstrap_interval(values, theirs, resamples=50) == bootstrap_interval(difference, resamples=50)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: t_interval([]), "at least one score"),
        (lambda: bootstrap_interval([1.0, np.nan]), "all of them finite"),
        (lambda: t_interval([1.0, 2.0], 95), "confidence=95"),
        (lambda: t_interval([1.0, 2.0], test_fraction=1.0), "test_fraction=1.0"),
        (lambda: paired_t_interval([1.0], [1.0, 2.0]), "1 scores against 2"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(OctoberError, match=message):
        call()
