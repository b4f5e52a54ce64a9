import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from october.errors import OctoberError
from october.probing import PrincipalComponents, RidgeProbe, component_predictions


def drawn(num_rows, num_features, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((num_rows, num_features)) * rng.uniform(0.5, 20, num_features) + 100


@settings(deadline=None, max_examples=25)
@given(st.integers(3, 30), st.integers(1, 30), st.integers(0, 99))
def test_projections_equal_scikit_learn_up_to_sign(num_rows, num_features, seed):
    features = drawn(num_rows, num_features, seed)
    ours = PrincipalComponents(features)
    rank = min(num_rows - 1, num_features)
    assert ours.axes.shape == (num_features, rank)
    theirs = PCA(rank, svd_solver="full").fit(features)
    np.testing.assert_allclose(ours.variances, theirs.explained_variance_ * (num_rows - 1) / num_rows, rtol=1e-6)
    np.testing.assert_allclose(ours.axes.T @ ours.axes, np.eye(rank), atol=1e-7)
    fresh = drawn(5, num_features, seed + 1)
    scale = np.abs(theirs.transform(fresh)).max()
    np.testing.assert_allclose(
        np.abs(ours.project(fresh, rank)) / scale, np.abs(theirs.transform(fresh)) / scale, atol=1e-5
    )


def test_each_count_equals_its_own_fit_on_training_rows_alone():
    features, targets = drawn(80, 12), np.random.default_rng(1).standard_normal((80, 2))
    train, test = features[:60], features[60:]
    found = component_predictions(train, targets[:60], test, counts=(1, 3, 12))
    for count, predicted in found.items():
        reference = PCA(count, svd_solver="full").fit(train)
        probe = RidgeProbe(standardize=False).fit(reference.transform(train), targets[:60])
        np.testing.assert_allclose(predicted, probe.predict(reference.transform(test)), atol=1e-8)


def test_all_components_are_the_plain_probe():
    features, targets = drawn(80, 12), np.random.default_rng(1).standard_normal((80, 1))
    whole = component_predictions(features[:60], targets[:60], features[60:], counts=(12,))[12]
    plain = RidgeProbe(standardize=False).fit(features[:60], targets[:60]).predict(features[60:])
    np.testing.assert_allclose(whole, plain, atol=1e-8)


def test_bad_input_is_named():
    with pytest.raises(OctoberError, match="count=6 principal components: there are 5"):
        PrincipalComponents(drawn(20, 5)).project(drawn(20, 5), 6)
    with pytest.raises(OctoberError, match="two rows or more"):
        PrincipalComponents(np.ones((1, 4)))
