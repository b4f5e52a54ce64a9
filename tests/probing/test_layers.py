"""A probe at every layer, against fitting each by hand; folds of whole groups, against a loop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from october.errors import OctoberError
from october.probing import (
    LayerScore,
    RidgeProbe,
    best_layer,
    group_folds,
    predictions_without_own_group,
    probe_every_layer,
    r2,
    random_split,
)


class Stored:
    """Activations in memory, as `Activations` gives them."""

    def __init__(self, layers: np.ndarray) -> None:
        self.layers = layers
        self.num_layers = len(layers)

    def layer(self, index: int) -> np.ndarray:
        return self.layers[index]


@pytest.fixture
def stored() -> tuple[Stored, np.ndarray]:
    generator = np.random.default_rng(0)
    values = generator.normal(size=(60, 2))
    noise = generator.normal(size=(3, 60, 8))
    strength = np.array([0.0, 2.0, 0.5])[:, None, None]
    return Stored((noise + strength * (values @ generator.normal(size=(2, 8)))).astype(np.float32)), values


def test_each_layer_is_what_a_fit_by_hand_gives(stored: tuple[Stored, np.ndarray]) -> None:
    activations, values = stored
    split = random_split(50, seed=1)
    scores = probe_every_layer(activations, values[:50], split, slice(50))  # type: ignore[arg-type]
    for layer, score in enumerate(scores):
        features = activations.layer(layer)[:50]
        probe = RidgeProbe().fit(features[split.train], values[:50][split.train])
        expected = r2(values[:50][split.test], probe.predict(features[split.test]))
        assert score.layer == layer
        np.testing.assert_allclose(score.test_r2, expected)
        errors = []
        for row in split.train:  # leave one out by refitting at the chosen penalty
            rest = split.train[split.train != row]
            one = RidgeProbe().fit(features[rest], values[rest], [probe.penalty])
            errors.append((values[row] - one.predict(features[[row]])[0]) ** 2)
        loo = 1 - np.mean(errors, axis=0) / values[split.train].var(axis=0)
        assert score.loo_r2 == pytest.approx(loo.mean(), abs=0.02)  # refits standardise without the row they leave out


def test_the_layer_with_the_signal_is_chosen(stored: tuple[Stored, np.ndarray]) -> None:
    activations, values = stored
    assert best_layer(probe_every_layer(activations, values, random_split(60, 0))).layer == 1  # type: ignore[arg-type]
    tied = [LayerScore(layer, 0.5, [0.0], 1.0) for layer in (2, 1, 3)]
    assert best_layer(tied).layer == 1


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sampled_from("abcdefg"), min_size=7, max_size=40), st.integers(2, 4), st.integers(0, 99))
def test_folds_keep_groups_whole_and_none_is_empty(groups: list[str], num_folds: int, seed: int) -> None:
    groups = [*groups, *"abcd"]
    folds = group_folds(groups, num_folds, seed)
    assert {len({fold for fold, own in zip(folds, groups, strict=True) if own == group}) for group in groups} == {1}
    assert set(folds) == set(range(num_folds))
    np.testing.assert_array_equal(folds, group_folds(groups, num_folds, seed))


def test_a_prediction_comes_from_a_probe_that_never_saw_its_group() -> None:
    generator = np.random.default_rng(0)
    features, values = generator.normal(size=(40, 5)), generator.normal(size=(40, 2))
    groups = np.repeat(list("abcdefgh"), 5)
    found = predictions_without_own_group(features, values, groups, seed=3, num_folds=4)
    folds = group_folds(groups, 4, 3)
    for row in range(40):
        rest = folds != folds[row]
        expected = RidgeProbe().fit(features[rest], values[rest]).predict(features[[row]])[0]
        np.testing.assert_allclose(found[row], expected)


def test_too_few_groups_are_refused() -> None:
    with pytest.raises(OctoberError, match="2 groups cannot be dealt out to 5 folds"):
        group_folds(["a", "b"], 5, 0)
