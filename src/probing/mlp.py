"""A one-hidden-layer probe: what a nonlinear read-out finds that a linear one does not.

The recipe is the official code's: 256 ReLU neurons, AdamW at 1e-3, batches of 512, at most 20 epochs, a tenth of the
training rows held out, training stopped after 3 epochs without a better validation loss, weight decay chosen among
0.01, 0.03, 0.1 and 0.3 by that loss. Two things differ. The weights kept are the best epoch's, not the last one's.
Features are standardised, or a few giant coordinates of the residual stream would rule the gradient.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from ..errors import OctoberError
from .splits import random_split

WEIGHT_DECAYS = (0.01, 0.03, 0.1, 0.3)
_MIN_ROWS = 20


@dataclass(frozen=True)
class _Fit:
    loss: float
    weight_decay: float
    network: nn.Module


class MLPProbe:
    """A multilayer perceptron with one hidden layer, trained with early stopping; same seed, same probe.

    Args:
        hidden: neurons.
        weight_decays: candidates, chosen by validation loss.
        learning_rate: of AdamW.
        max_epochs: passes over the training rows.
        patience: epochs without a better validation loss before training stops.
        batch_size: rows a step.
        seed: of the weights, the validation rows and the order of batches.

    Attributes after `fit`:
        weight_decay: the chosen one.
        validation_loss: its mean squared error on the held-out tenth, in standardised targets.
    """

    weight_decay: float
    validation_loss: float

    def __init__(
        self,
        *,
        hidden: int = 256,
        weight_decays: Sequence[float] = WEIGHT_DECAYS,
        learning_rate: float = 1e-3,
        max_epochs: int = 20,
        patience: int = 3,
        batch_size: int = 512,
        seed: int = 0,
    ) -> None:
        if hidden < 1 or max_epochs < 1 or batch_size < 1 or not weight_decays:
            raise OctoberError("an MLP probe needs at least one neuron, epoch, row a batch and weight decay")
        self.hidden = hidden
        self.weight_decays = tuple(weight_decays)
        self.learning_rate = learning_rate
        self.max_epochs = max_epochs
        self.patience = patience
        self.batch_size = batch_size
        self.seed = seed

    def fit(self, features: Float[np.ndarray, "n features"], targets: Float[np.ndarray, "n targets"]) -> "MLPProbe":
        """Train one network per weight decay and keep the one with the smallest validation loss.

        Raises:
            OctoberError: fewer than 20 rows, counts that differ, or numbers that are not finite.
        """
        targets = np.asarray(targets, dtype=np.float64)
        targets = targets[:, None] if targets.ndim == 1 else targets
        _check(features, targets)
        split = random_split(len(features), self.seed, test_fraction=0.1)
        self._features = _Standard(features[split.train])
        self._targets = _Standard(targets[split.train])
        inputs, outputs = self._features.apply(features), self._targets.apply(targets)
        train = inputs[split.train], outputs[split.train]
        held_out = inputs[split.test], outputs[split.test]
        best = min((self._train(train, held_out, decay) for decay in self.weight_decays), key=lambda fit: fit.loss)
        self._network, self.weight_decay, self.validation_loss = best.network, best.weight_decay, best.loss
        return self

    def predict(self, features: Float[np.ndarray, "n features"]) -> Float[np.ndarray, "n targets"]:
        """Return float64 predictions [n, targets], in the targets' units."""
        if features.ndim != 2 or features.shape[1] != len(self._features.mean):
            raise OctoberError(
                f"features have shape {features.shape}; the probe takes {len(self._features.mean)} columns"
            )
        with torch.inference_mode():
            return self._targets.undo(self._network(self._features.apply(features)))

    def _train(
        self, train: tuple[torch.Tensor, torch.Tensor], held_out: tuple[torch.Tensor, torch.Tensor], decay: float
    ) -> _Fit:
        with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they were
            torch.manual_seed(self.seed)
            network = _network(train[0].shape[1], self.hidden, train[1].shape[1])
            optimizer = torch.optim.AdamW(network.parameters(), self.learning_rate, weight_decay=decay, foreach=True)
            best_loss, best_weights, waited = float("inf"), network.state_dict(), 0
            for _ in range(self.max_epochs):
                self._epoch(network, optimizer, *train)
                with torch.inference_mode():
                    loss = float(nn.functional.mse_loss(network(held_out[0]), held_out[1]))
                waited += 1
                if loss < best_loss:
                    best_loss, waited = loss, 0
                    best_weights = {name: weight.clone() for name, weight in network.state_dict().items()}
                if waited >= self.patience:
                    break
        network.load_state_dict(best_weights)
        return _Fit(best_loss, decay, network)

    def _epoch(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, inputs: torch.Tensor, outputs: torch.Tensor
    ) -> None:
        order = torch.randperm(len(inputs))
        for first in range(0, len(inputs), self.batch_size):
            rows = order[first : first + self.batch_size]
            optimizer.zero_grad()
            torch.autograd.backward(nn.functional.mse_loss(network(inputs[rows]), outputs[rows]))
            optimizer.step()


class _Standard:
    """Columns brought to zero mean and unit variance, by the numbers of the training rows."""

    def __init__(self, rows: np.ndarray) -> None:
        self.mean = rows.mean(axis=0, dtype=np.float64)
        spread = rows.std(axis=0, dtype=np.float64)
        self.scale = np.where(spread > 1e-12 * np.abs(self.mean), spread, 1.0)

    def apply(self, rows: np.ndarray) -> Float[torch.Tensor, "n columns"]:
        return torch.from_numpy(((rows - self.mean) / self.scale).astype(np.float32))

    def undo(self, rows: torch.Tensor) -> Float[np.ndarray, "n columns"]:
        result: np.ndarray = rows.double().numpy() * self.scale + self.mean
        return result


def _network(inputs: int, hidden: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


def _check(features: np.ndarray, targets: np.ndarray) -> None:
    if features.ndim != 2 or len(features) != len(targets):
        raise OctoberError(f"features {features.shape} and targets {targets.shape} do not have the same rows")
    if len(features) < _MIN_ROWS:
        raise OctoberError(f"an MLP probe needs at least {_MIN_ROWS} rows, not {len(features)}")
    if not (np.isfinite(features).all() and np.isfinite(targets).all()):
        raise OctoberError("features or targets hold numbers that are not finite")
