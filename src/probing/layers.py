"""A probe at every layer, and the layer that training data alone would choose.

The layer is chosen by leave-one-out error on the training rows, so that the test rows decide nothing.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from tqdm.auto import tqdm

from .activations import Activations
from .metrics import r2
from .ridge import RidgeProbe
from .splits import Split


@dataclass(frozen=True)
class LayerScore:
    """A linear probe's fit at one layer.

    Attributes:
        layer: 0 is the embedding, the last one is after the final norm.
        loo_r2: Leave-one-out R2 on the training rows, mean over the targets.
        test_r2: R2 on the test rows, one per target.
        penalty: The penalty that leave-one-out chose.
    """

    layer: int
    loo_r2: float
    test_r2: list[float]
    penalty: float


def fit_layer(
    features: Float[np.ndarray, "n width"], values: Float[np.ndarray, "n targets"], split: Split
) -> tuple[RidgeProbe, Float[np.ndarray, "test targets"]]:
    """Fit a probe on the training rows of one layer; return it with its predictions for the test rows."""
    probe = RidgeProbe().fit(features[split.train], values[split.train])
    return probe, probe.predict(features[split.test])


def loo_r2(probe: RidgeProbe, values: Float[np.ndarray, "n targets"]) -> float:
    """Return the leave-one-out R2 of a fitted probe on the values it was fitted to, mean over the targets."""
    chosen = int(np.flatnonzero(probe.penalties == probe.penalty)[0])
    return float((1.0 - probe.loo_errors[chosen] / values.var(axis=0)).mean())


def probe_every_layer(
    activations: Activations, values: Float[np.ndarray, "n targets"], split: Split, rows: slice = slice(None)
) -> list[LayerScore]:
    """Fit and test a linear probe at every layer.

    Args:
        activations: Of all texts.
        values: Targets of the texts in `rows`.
        split: Which of those rows train and which test.
        rows: The texts to use, say the first 2,000.
    """
    scores = []
    for layer in tqdm(range(activations.num_layers), "probing layers", leave=False, delay=2):
        features = activations.layer(layer)[rows]
        probe, predicted = fit_layer(features, values, split)
        test_r2 = r2(values[split.test], predicted).tolist()
        scores.append(LayerScore(layer, loo_r2(probe, values[split.train]), test_r2, probe.penalty))
    return scores


def best_layer(scores: list[LayerScore]) -> LayerScore:
    """Return the layer with the highest leave-one-out R2, the earliest of equals."""
    return max(scores, key=lambda score: (score.loo_r2, -score.layer))
