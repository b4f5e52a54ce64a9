"""The pictures of this paper: R2 by layer, and the map of true and predicted places."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from october.data import EntitySet, coastline
from october.evaluation import t_interval
from october.experiments.space_time._common import TEST_FRACTION, Scores
from october.probing import Activations, fit_layer, random_split
from october.reporting import line_with_band, new_figure, save_figure


def r2_by_layer(
    folder: Path,
    scores: Mapping[str, Sequence[Scores]],
    controls: Mapping[str, Sequence[Scores]],
    targets: Sequence[str],
) -> Path:
    """Draw test R2 by relative depth for each network, a panel per target, the controls as dashed lines.

    Args:
        folder: Where the picture goes.
        scores: By network, each split's `curve`.
        controls: By name, each split's metrics.
        targets: 'latitude', 'longitude' or a time.
    """
    figure, axes = new_figure(1, len(targets), width=5.2 * len(targets), height=3.8)
    for place, (panel, target) in enumerate(zip(axes, targets, strict=True)):
        for name, splits in scores.items():
            curves = np.array([split["curve"][place] for split in splits])
            depth = np.linspace(0, 100, curves.shape[1])
            intervals = [t_interval(layer, test_fraction=TEST_FRACTION) for layer in np.clip(curves.T, -1, None)]
            low, high = ([max(i.low, -1) for i in intervals], [min(i.high, 1) for i in intervals])
            line_with_band(panel, depth, [i.value for i in intervals], low, high, name)
        for style, (name, splits) in zip((":", "--", "-."), controls.items(), strict=False):
            metric = f"{target}_r2" if f"{target}_r2" in splits[0] else "r2"
            panel.axhline(np.mean([split[metric] for split in splits]), color="0.45", linestyle=style, label=name)
        panel.set(xlabel="depth (% of layers)", ylabel="test R²", title=target.replace("_", " "), ylim=(-0.25, 1))
    axes[0].legend(fontsize=8)
    return save_figure(figure, folder, "r2_by_layer")


def world_map(folder: Path, places: EntitySet, activations: Activations, layer: int, seed: int) -> Path:
    """Draw the held-out places of one split where they are and where the probe puts them.

    Args:
        folder: Where the picture goes.
        places: The first rows of `activations`.
        activations: Of the network.
        layer: Where to probe.
        seed: The split.
    """
    split = random_split(len(places), seed, TEST_FRACTION)
    _, predicted = fit_layer(activations.layer(layer)[: len(places)], places.values, split)
    truth = places.values[split.test]
    figure, axes = new_figure(2, 1, width=8.2, height=7.4)
    titles = (f"{len(truth):,} held-out places, where they are", "where a linear probe puts them")
    for panel, points, title in zip(axes, (truth, predicted), titles, strict=True):
        for line in coastline():
            panel.plot(*line.T, color="0.7", linewidth=0.5)
        panel.scatter(points[:, 1], points[:, 0], c=truth[:, 1], cmap="turbo", s=5, linewidths=0)
        panel.set(xlim=(-180, 180), ylim=(-60, 80), aspect="equal", title=title, xlabel="coloured by true longitude")
    return save_figure(figure, folder, "map")
