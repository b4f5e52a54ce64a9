"""The penalty sweep of a ridge probe against scikit-learn's RidgeCV: same penalty, same leave-one-out errors.

Both see the same 20,000 rows, 2 targets and 20 penalties, with two threads. RidgeCV gets the faster of its two ways
for each width (`gcv_mode="svd"` at both, `"eigen"` forms the inverse anew for every penalty), and its features ready
in float64; ours gets them as they are stored, in float32.
"""

from typing import Any

import numpy as np
import sklearn
from sklearn.linear_model import RidgeCV
from threadpoolctl import threadpool_limits

from october.probing import RidgeProbe
from october.reporting.benchmarks import Case, run_benchmark

NUM_ROWS = 20_000
PENALTIES = np.logspace(-1, 5, 20)
PEER = f"scikit-learn {sklearn.__version__}, RidgeCV(gcv_mode='svd', store_cv_results=True), float64, 2 threads"


def made_up(width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features whose variances fall by a factor of 10,000, as a residual stream's do, and standardised targets."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((width, width)) * np.geomspace(1, 1e-2, width)
    features = (rng.standard_normal((NUM_ROWS, width)) @ mixing.T).astype(np.float32)
    targets = features @ rng.standard_normal((width, 2))
    targets = targets / targets.std(axis=0) + rng.standard_normal(targets.shape)
    return features, (targets - targets.mean(axis=0)) / targets.std(axis=0)


def same(ours: RidgeProbe, theirs: Any) -> None:
    """Check the bar's first half: one penalty, and errors that agree to 1e-5."""
    assert np.isclose(ours.penalty, theirs.alpha_)
    errors = theirs.cv_results_.mean(axis=0, dtype=np.float64).T  # stored in the features' type
    np.testing.assert_allclose(ours.loo_errors, errors, rtol=1e-5)
    np.testing.assert_allclose(ours.coefficients, theirs.coef_.T, rtol=1e-4, atol=1e-7)


def case(width: int) -> Case:
    """One width's case."""
    features, targets = made_up(width)
    wide = features.astype(np.float64)
    return Case(
        name=f"penalty sweep, n = {NUM_ROWS:,}, d = {width:,}, 2 targets, 20 penalties",
        ours=lambda: RidgeProbe(standardize=False).fit(features, targets, PENALTIES),
        peer=lambda: RidgeCV(PENALTIES, gcv_mode="svd", store_cv_results=True).fit(wide, targets),
        bar=">=5",
        check=same,
        peer_settings=PEER,
    )


def main() -> None:
    """Measure both widths."""
    with threadpool_limits(2):
        run_benchmark("ridge", [case(640), case(2048)])


if __name__ == "__main__":
    main()
