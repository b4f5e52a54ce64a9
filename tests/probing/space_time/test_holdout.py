import numpy as np
import pytest

from october.errors import OctoberError
from october.probing import RidgeProbe, metrics
from october.probing.space_time import block_holdout, cross_type
from october.probing.space_time.holdout import cross_fitted


def made_up_world(count=200, seed=0):
    """Four countries whose places lie together; features that tell the place linearly, and the country besides."""
    rng = np.random.default_rng(seed)
    country = np.arange(count) % 4
    targets = np.array([[50, 10], [-20, 130], [40, -100], [-10, -60]])[country] + rng.normal(0, 4, (count, 2))
    features = np.hstack([targets / 50, np.eye(4)[country], rng.standard_normal((count, 3))])
    return features + rng.normal(0, 0.05, features.shape), targets, np.array(list("abcd"))[country]


def test_cross_fitted_rows_never_train_their_own_prediction():
    features, targets, _ = made_up_world(40)
    found = cross_fitted(features, targets, [1.0], seed=3)
    fold = np.random.default_rng(3).permutation(40) % 5
    for row in (0, 7, 39):
        rest = fold != fold[row]
        probe = RidgeProbe().fit(features[rest], targets[rest], [1.0])
        np.testing.assert_allclose(found[row], probe.predict(features[[row]])[0])


def test_block_scores_equal_a_plain_computation():
    features, targets, groups = made_up_world()
    groups = groups.astype(object)
    groups[:40:4] = None  # some of country a belong to no block
    results = list(block_holdout(features, targets, groups, places=True, min_members=45, penalties=[1.0]))
    assert [result.block for result in results] == ["b", "c", "d"]
    assert [result.members for result in results] == [50, 50, 50]
    rows = groups == "c"
    held_out = RidgeProbe().fit(features[~rows], targets[~rows], [1.0]).predict(features)
    scores = results[1].held_out
    assert scores["haversine_mae"] == pytest.approx(metrics.haversine_mae(targets[rows], held_out[rows]))
    nearer = metrics.proximity_error(targets[rows], held_out[rows], held_out).mean()
    assert scores["proximity_error"] == pytest.approx(nearer)
    nominal = cross_fitted(features, targets, [1.0], 0)
    assert results[1].nominal["longitude_r2"] == pytest.approx(metrics.r2(targets[rows], nominal[rows])[1])
    assert results[1].nominal["haversine_mae"] < scores["haversine_mae"]


def test_blocks_of_time():
    features, targets, groups = made_up_world()
    years = 1900 + targets[:, 0]
    results = list(block_holdout(features, years, groups, places=False, max_blocks=2))
    assert len(results) == 2
    assert results[0].nominal["mae"] < results[0].held_out["mae"]


def test_cross_type_matrix_tests_each_column_on_the_same_rows():
    first, first_targets, _ = made_up_world(seed=1)
    second, second_targets, _ = made_up_world(100, seed=2)
    shifted = second + 3.0  # the other type lies elsewhere in the space, along every axis
    features, targets = {"city": first, "airport": shifted}, {"city": first_targets, "airport": second_targets}
    scores = cross_type(features, targets, places=True, penalties=[1.0])
    assert set(scores) == {(a, b) for a in features for b in features}
    assert scores["city", "city"]["r2"] > 0.9
    assert scores["airport", "airport"]["r2"] > 0.9
    assert scores["city", "airport"]["r2"] < scores["airport", "airport"]["r2"]
    same = cross_type({"a": first, "b": first}, {"a": first_targets, "b": first_targets}, places=True, penalties=[1.0])
    assert same["a", "b"] == same["b", "b"]


def test_bad_input_is_named():
    features, targets, groups = made_up_world(40)
    with pytest.raises(OctoberError, match="min_members=50 rows"):
        list(block_holdout(features, targets, groups, places=True))
    with pytest.raises(OctoberError, match=r"features are of the types \['a'\]"):
        cross_type({"a": features}, {"b": targets}, places=True)
    with pytest.raises(OctoberError, match="10 rows or more"):
        cross_fitted(features[:9], targets[:9], [1.0], 0)
