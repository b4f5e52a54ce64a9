import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor

from october.errors import OctoberError
from october.probing import NGramControl, controls, name_vectorizer, nearest_neighbour, r2

ENDINGS = ["burg", "ville", "stad", "grad", "polis"]


def made_up_places(count, seed=0):
    """Names whose ending tells the first target, and nothing the second."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, len(ENDINGS), count)
    stems = ["".join(rng.choice(list("abcdefghiklmnoprstu"), 5)) for _ in range(count)]
    names = [stem.capitalize() + ENDINGS[kind] for stem, kind in zip(stems, kinds, strict=True)]
    return names, np.stack([kinds * 10.0 + 1900, rng.standard_normal(count)], axis=1)


def test_spelling_tells_what_it_can_and_no_more():
    names, targets = made_up_places(400)
    predicted = NGramControl().fit(names[:300], targets[:300]).predict(names[300:])
    lat, lon = r2(targets[300:], predicted)
    assert lat > 0.95
    assert lon < 0.1


def test_equals_an_exact_dense_ridge_with_the_same_penalty():
    names, targets = made_up_places(120)
    control = NGramControl().fit(names[:100], targets[:100])
    vectorizer = name_vectorizer().fit(names[:100])
    mean, spread = targets[:100].mean(axis=0), targets[:100].std(axis=0)
    dense = Ridge(control.penalty, solver="svd").fit(
        vectorizer.transform(names[:100]).toarray(), (targets[:100] - mean) / spread
    )
    expected = dense.predict(vectorizer.transform(names[100:]).toarray()) * spread + mean
    np.testing.assert_allclose(control.predict(names[100:]), expected, atol=0.02)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 40), st.integers(1, 30), st.integers(1, 8), st.integers(0, 99))
def test_nearest_neighbour_equals_scikit_learn(num_train, num_test, width, seed):
    rng = np.random.default_rng(seed)
    train, test = rng.standard_normal((num_train, width)), rng.standard_normal((num_test, width))
    if width == 1:
        train, test = np.abs(train) + 1, np.abs(test) + 1
        train, test = np.hstack([train, train**2]), np.hstack([test, test**2])
    targets = rng.standard_normal((num_train, 2))
    theirs = KNeighborsRegressor(1, metric="cosine", algorithm="brute").fit(train, targets).predict(test)
    np.testing.assert_array_equal(nearest_neighbour(train, targets, test), theirs)


def test_nearest_name_in_chunks(monkeypatch):
    names, targets = made_up_places(60)
    vectorizer = name_vectorizer().fit(names)
    rows = vectorizer.transform(names)
    whole = nearest_neighbour(rows[:40], targets[:40], rows[40:])
    monkeypatch.setattr(controls, "_CHUNK_ENTRIES", 100)
    np.testing.assert_array_equal(nearest_neighbour(rows[:40], targets[:40], rows[40:]), whole)
    dense = nearest_neighbour(rows[:40].toarray(), targets[:40], rows[40:].toarray())
    np.testing.assert_array_equal(dense, whole)
    np.testing.assert_array_equal(nearest_neighbour(rows, targets, rows), targets)


def test_too_few_names_are_refused():
    with pytest.raises(OctoberError, match="needs 5 names or more"):
        NGramControl().fit(["a", "b"], np.ones(2))
    with pytest.raises(OctoberError, match="each with targets"):
        NGramControl().fit(["a"] * 6, np.ones(5))
