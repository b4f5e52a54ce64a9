import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge, RidgeCV

from october.errors import OctoberError
from october.probing import RidgeProbe, ridge


def made_up(num_rows, num_features, num_targets=2, seed=0):
    """Features of unequal size and offset, targets that depend on them."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((num_rows, num_features)) * rng.uniform(0.1, 30, num_features)
    features += rng.uniform(-50, 50, num_features)
    targets = features @ rng.standard_normal((num_features, num_targets)) / num_features
    return features, targets + rng.standard_normal(targets.shape) + 7


def brute_force(features, targets, penalty, standardize):
    """Leave-one-out errors by refitting without each row, in the units of the probe's penalty."""
    scale = features.std(axis=0) if standardize else np.ones(features.shape[1])
    scale = np.where(scale > 1e-12, scale, 1.0)
    errors = []
    for left_out in range(len(features)):
        rest = np.arange(len(features)) != left_out
        fit = Ridge(alpha=penalty, solver="svd").fit((features / scale)[rest], targets[rest])
        errors.append(targets[left_out] - fit.predict((features / scale)[[left_out]])[0])
    return np.square(errors).mean(axis=0)


@settings(deadline=None, max_examples=25)
@given(st.integers(3, 24), st.integers(1, 24), st.integers(1, 3), st.booleans(), st.integers(0, 99))
def test_leave_one_out_equals_refitting(num_rows, num_features, num_targets, standardize, seed):
    features, targets = made_up(num_rows, num_features, num_targets, seed)
    penalties = [0.3, 20.0, 4000.0]
    probe = RidgeProbe(standardize=standardize).fit(features, targets, penalties)
    for penalty, errors in zip(penalties, probe.loo_errors, strict=True):
        np.testing.assert_allclose(errors, brute_force(features, targets, penalty, standardize), rtol=1e-5)


@pytest.mark.parametrize(("num_rows", "num_features"), [(60, 7), (20, 20), (21, 20), (12, 40)])
def test_parity_with_scikit_learn(num_rows, num_features):
    features, targets = made_up(num_rows, num_features)
    targets /= targets.std(axis=0)
    penalties = np.logspace(-1, 5, 20)
    ours = RidgeProbe(standardize=False).fit(features, targets, penalties)
    theirs = RidgeCV(penalties, store_cv_results=True).fit(features, targets)
    assert ours.penalty == theirs.alpha_
    np.testing.assert_allclose(ours.loo_errors, theirs.cv_results_.mean(axis=0).T, rtol=1e-6)
    np.testing.assert_allclose(ours.coefficients, theirs.coef_.T, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(ours.intercept, theirs.intercept_, rtol=1e-6)
    np.testing.assert_allclose(ours.predict(features), theirs.predict(features), rtol=1e-6)


def test_primal_and_dual_meet():
    features, targets = made_up(30, 29)
    wide = np.hstack([features, np.zeros((30, 1))])  # 30 columns: the dual way, with nothing more to learn from
    tall = RidgeProbe().fit(features, targets)
    other = RidgeProbe().fit(wide, targets)
    np.testing.assert_allclose(tall.loo_errors, other.loo_errors, rtol=1e-6)
    np.testing.assert_allclose(tall.coefficients, other.coefficients[:-1], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("num_rows", [8, 40])
def test_constant_columns_change_nothing(num_rows):
    features, targets = made_up(num_rows, 10)
    constant = np.full((num_rows, 2), 1e5 / 3)
    plain = RidgeProbe().fit(features, targets)
    padded = RidgeProbe().fit(np.hstack([features, constant]), targets)
    np.testing.assert_allclose(plain.loo_errors, padded.loo_errors, rtol=1e-6)
    assert np.abs(padded.coefficients[-2:]).max() < 1e-6
    np.testing.assert_allclose(plain.predict(features), padded.predict(np.hstack([features, constant])), rtol=1e-6)


def test_float32_memory_map_in_small_blocks_equals_one_float64_block(tmp_path, monkeypatch):
    features, targets = made_up(500, 11)
    np.save(tmp_path / "features.npy", features.astype(np.float32))
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    whole = RidgeProbe().fit(np.asarray(mapped, dtype=np.float64), targets)
    monkeypatch.setattr(ridge, "_BLOCK_BYTES", 8 * 11 * 33)
    blocks = RidgeProbe().fit(mapped, targets)
    np.testing.assert_allclose(whole.loo_errors, blocks.loo_errors, rtol=1e-9)
    np.testing.assert_allclose(whole.predict(mapped), blocks.predict(mapped), rtol=1e-9)


@pytest.mark.parametrize("safe", [0.0, 2.0])
def test_leverage_precision_keeps_the_bar(monkeypatch, safe):
    """Float32 leverages (always, never) against the exact errors of the singular value decomposition."""
    features, targets = made_up(900, 120)
    monkeypatch.setattr(ridge, "_SAFE_LEVERAGE", safe)
    ours = RidgeProbe(standardize=False).fit(features, targets, np.logspace(0, 6, 20))
    theirs = RidgeCV(np.logspace(0, 6, 20), store_cv_results=True, gcv_mode="svd").fit(features, targets)
    np.testing.assert_allclose(ours.loo_errors, theirs.cv_results_.mean(axis=0).T, rtol=1e-5)


def test_penalty_weighs_targets_by_their_variance():
    features, targets = made_up(80, 30)
    one_unit = RidgeProbe().fit(features, targets)
    another = RidgeProbe().fit(features, targets * [1.0, 1e4])
    assert one_unit.penalty == another.penalty
    np.testing.assert_allclose(another.loo_errors, one_unit.loo_errors * [1.0, 1e8], rtol=1e-8)


def test_one_target_and_a_constant_target():
    features, targets = made_up(50, 4)
    single = RidgeProbe().fit(features, targets[:, 0])
    assert single.predict(features).shape == (50, 1)
    flat = RidgeProbe().fit(features, np.full((50, 1), 3.0))
    np.testing.assert_allclose(flat.predict(features), 3.0)


@pytest.mark.parametrize(
    ("features", "targets", "penalties", "message"),
    [
        (np.ones((4, 2)), np.ones((5, 1)), [1.0], "same rows"),
        (np.ones((2, 2)), np.ones((2, 1)), [1.0], "three rows"),
        (np.ones((4, 2)), np.array([1.0, 2, 3, np.nan]), [1.0], "targets hold"),
        (np.array([[1.0], [2], [np.inf], [3]]), np.arange(4.0), [1.0], "features hold"),
        (np.arange(4.0)[:, None], np.arange(4.0), [1.0, 0.0], "penalties must be positive"),
        (np.arange(4.0)[:, None], np.arange(4.0), [], "penalties must be positive"),
    ],
)
def test_bad_input_is_named(features, targets, penalties, message):
    with pytest.raises(OctoberError, match=message):
        RidgeProbe().fit(features, targets, penalties)


def test_predict_refuses_other_columns():
    features, targets = made_up(20, 5)
    with pytest.raises(OctoberError, match="takes 5 columns"):
        RidgeProbe().fit(features, targets).predict(features[:, :4])
