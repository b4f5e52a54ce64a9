"""What a probe must beat: the spelling of the name, and the nearest labelled neighbour."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge
from sklearn.preprocessing import normalize
from sklearn.utils.extmath import safe_sparse_dot

from ..errors import OctoberError

_PENALTIES = np.logspace(-1, 1, 9)
_FOLDS = 5
_CHUNK_ENTRIES = 1 << 23


class NGramControl:
    """Ridge on the tf-idf of a name's character 1- to 4-grams, all of them: what spelling alone tells.

    The features are sparse and many more than the rows, so the penalty is chosen by five-fold cross-validation
    and the solver is conjugate gradients, which never forms a dense matrix.

    Attributes after `fit`:
        penalty: the chosen one.
    """

    penalty: float

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed

    def fit(self, names: Sequence[str], targets: Float[np.ndarray, "n targets"]) -> "NGramControl":
        """Fit on training names.

        Raises:
            OctoberError: fewer names than folds, or counts that differ.
        """
        targets = np.asarray(targets, dtype=np.float64)
        targets = targets[:, None] if targets.ndim == 1 else targets
        if len(names) != len(targets) or len(names) < _FOLDS:
            raise OctoberError(f"the n-gram control needs {_FOLDS} names or more, each with targets, not {len(names)}")
        self._vectorizer = name_vectorizer()
        features = self._vectorizer.fit_transform(names)
        self._mean, self._scale = targets.mean(axis=0), np.where(targets.std(axis=0) > 0, targets.std(axis=0), 1.0)
        standard = (targets - self._mean) / self._scale
        self.penalty = self._chosen(features, standard)
        self._ridge = _sparse_ridge(self.penalty).fit(features, standard)
        return self

    def predict(self, names: Sequence[str]) -> Float[np.ndarray, "n targets"]:
        """Return predictions [n, targets] in the targets' units."""
        standard: np.ndarray = self._ridge.predict(self._vectorizer.transform(names)).reshape(len(names), -1)
        result: np.ndarray = standard * self._scale + self._mean
        return result

    def _chosen(self, features: Any, targets: np.ndarray) -> float:
        fold = np.random.default_rng(self.seed).permutation(len(targets)) % _FOLDS
        errors = np.zeros(len(_PENALTIES))
        for held_out in range(_FOLDS):
            train, test = fold != held_out, fold == held_out
            for place, penalty in enumerate(_PENALTIES):
                fit = _sparse_ridge(float(penalty)).fit(features[train], targets[train])
                predicted = fit.predict(features[test]).reshape(test.sum(), -1)
                errors[place] += np.square(predicted - targets[test]).sum()
        return float(_PENALTIES[errors.argmin()])


def name_vectorizer() -> Any:
    """Return the tf-idf of character 1- to 4-grams, word boundaries marked, as an unfitted transformer."""
    return TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True, dtype=np.float64)


def _sparse_ridge(penalty: float) -> Any:
    return Ridge(alpha=penalty, solver="sparse_cg", tol=1e-4)


def nearest_neighbour(
    train_features: Any, train_targets: Float[np.ndarray, "train targets"], test_features: Any
) -> Float[np.ndarray, "test targets"]:
    """Return each test row's targets from the training row of the largest cosine; the first one wins a tie.

    Args:
        train_features: dense or sparse [train, features]: activations, or names through `name_vectorizer`.
        train_targets: [train, targets] or [train].
        test_features: the same columns.
    """
    train, test = normalize(train_features), normalize(test_features)
    found: np.ndarray = np.asarray(train_targets)[_most_similar(train, test)]
    return found


def _most_similar(train: Any, test: Any) -> Int[np.ndarray, " test"]:
    size = max(1, _CHUNK_ENTRIES // train.shape[0])
    parts = [test[first : first + size] for first in range(0, test.shape[0], size)]
    return np.concatenate([safe_sparse_dot(part, train.T, dense_output=True).argmax(axis=1) for part in parts])
