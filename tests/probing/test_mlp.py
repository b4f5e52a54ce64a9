import numpy as np
import pytest
import torch

from october.errors import OctoberError
from october.probing import MLPProbe, RidgeProbe, r2


def bent(num_rows, seed=0):
    """Targets that no linear probe reads: an absolute value and a product; features of very unequal size."""
    rng = np.random.default_rng(seed)
    inner = rng.standard_normal((num_rows, 6))
    targets = np.stack([1500 + 40 * np.abs(inner[:, 0]), inner[:, 1] * inner[:, 2]], axis=1)
    return inner * [1, 1e4, 1e-3, 1, 1, 1] + [0, 5e4, 0, 3, 0, 0], targets


def test_reads_what_a_linear_probe_cannot():
    features, targets = bent(4000)
    probe = MLPProbe(max_epochs=60, patience=10).fit(features[:3500], targets[:3500])
    linear = RidgeProbe().fit(features[:3500], targets[:3500])
    assert r2(targets[3500:], linear.predict(features[3500:])).max() < 0.05
    assert r2(targets[3500:], probe.predict(features[3500:])).min() > 0.8


def test_same_seed_same_probe_and_the_callers_random_numbers_stay():
    features, targets = bent(300)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = MLPProbe(seed=1, max_epochs=3).fit(features, targets).predict(features)
    np.testing.assert_array_equal(torch.rand(3), expected)
    again = MLPProbe(seed=1, max_epochs=3).fit(features, targets).predict(features)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - MLPProbe(seed=2, max_epochs=3).fit(features, targets).predict(features)).max() > 1e-3


def test_the_kept_weights_are_the_best_epochs_and_the_decay_is_the_best():
    features, targets = bent(200)
    targets = targets[:, :1]
    probe = MLPProbe(max_epochs=40, patience=40, weight_decays=(0.01, 3.0), learning_rate=0.02).fit(features, targets)
    alone = {
        decay: MLPProbe(max_epochs=40, patience=40, weight_decays=(decay,), learning_rate=0.02).fit(features, targets)
        for decay in (0.01, 3.0)
    }
    best = min(alone, key=lambda decay: alone[decay].validation_loss)
    assert (probe.weight_decay, probe.validation_loss) == (best, alone[best].validation_loss)
    shorter = [
        MLPProbe(max_epochs=epochs, patience=40, weight_decays=(best,), learning_rate=0.02).fit(features, targets)
        for epochs in range(1, 40, 6)
    ]
    assert probe.validation_loss <= min(other.validation_loss for other in shorter)


def test_one_target_and_a_constant_feature():
    features, targets = bent(60)
    features[:, 3] = 7.0
    predicted = MLPProbe(max_epochs=2).fit(features, targets[:, 0]).predict(features)
    assert predicted.shape == (60, 1)
    assert np.isfinite(predicted).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MLPProbe(hidden=0), "at least one neuron"),
        (lambda: MLPProbe().fit(np.ones((19, 2)), np.ones(19)), "at least 20 rows, not 19"),
        (lambda: MLPProbe().fit(np.ones((30, 2)), np.ones(29)), "same rows"),
        (lambda: MLPProbe().fit(np.full((30, 2), np.nan), np.ones(30)), "not finite"),
        (lambda: MLPProbe(max_epochs=1).fit(*bent(40)).predict(np.ones((3, 2))), "takes 6 columns"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(OctoberError, match=message):
        call()
