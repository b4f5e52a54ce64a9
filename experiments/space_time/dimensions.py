"""Probes on the first k principal components (Figure 5): in how few directions of variance space and time lie."""

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import PositiveInt

from october.data import EntityHandle, EntitySet
from october.experiments.space_time import _common as common
from october.language_models import ModelHandle
from october.probing import Activations, component_predictions, fit_layer, r2, random_split
from october.reporting import Cell, Result, Row, line_with_band, new_figure, save_figure
from october.run import Run


def dimensions(
    model: ModelHandle,
    places: EntityHandle,
    times: EntityHandle,
    num_places: PositiveInt | None,
    num_times: PositiveInt | None,
    counts: list[PositiveInt],
    seeds: list[int],
    run: Run,
) -> Result:
    """Fit ridge probes to the first k components, for each k, and to all dimensions.

    Args:
        model: The network.
        places: Entities with coordinates.
        times: Entities with a year.
        num_places: How many of the largest places; null for all.
        num_times: How many entities with a year; null for all.
        counts: The values of k; 100 is among them where the claim is to be judged.
        seeds: Random splits.
        run: The run.
    """
    rows: list[Row] = []
    evidence: dict[str, Cell] = {}
    curves: dict[str, list[dict[str, Any]]] = {}
    fingerprints = {model.name: model.fingerprint()}
    for kind, entities in (("places", places.load(num_places)), ("times", times.load(num_times))):
        activations = common.activations_of(model, entities)
        layer = common.chosen_layer(run, activations, entities, kind)
        splits = [
            run.once(
                f"{kind}, seed {seed}",
                by_count,
                activations,
                entities,
                layer,
                counts,
                seed,
            )
            for seed in run.progress(seeds, f"{kind}, layer {layer}")
        ]
        curves[kind] = splits
        cells = {str(count): common.cell(common.column(splits, str(count))) for count in counts}
        rows.append(
            Row(name=f"{model.name}, {kind}", cells={**cells, "all": common.cell(common.column(splits, "all"))})
        )
        if 100 in counts:
            shares = [split["100"] / split["all"] for split in splits]
            evidence[f"share of R2 in 100 components, {kind}"] = common.cell(shares)
        fingerprints[entities.name] = entities.fingerprint
    pictures = {"Test R² by number of principal components": draw(run.figures, curves, counts)}
    return Result(rows=rows, evidence=evidence, figures=pictures, fingerprints=fingerprints)


def by_count(
    activations: Activations, entities: EntitySet, layer: int, counts: list[int], seed: int
) -> dict[str, float]:
    """Return the test R2 for each number of components, and for all dimensions, on one random split."""
    split = random_split(len(entities), seed, common.TEST_FRACTION)
    features, values = activations.layer(layer), entities.values
    truth = values[split.test]
    found = component_predictions(features[split.train], values[split.train], features[split.test], counts)
    _, full = fit_layer(features, values, split)
    scores = {str(count): float(np.mean(r2(truth, predicted))) for count, predicted in found.items()}
    return {**scores, "all": float(np.mean(r2(truth, full)))}


def draw(folder: Path, curves: dict[str, list[dict[str, Any]]], counts: list[int]) -> Path:
    """Draw R2 against the number of components, and the full probes' R2 as dashed lines."""
    figure, (axes,) = new_figure()
    for kind, splits in curves.items():
        cells = [common.cell(common.column(splits, str(count))) for count in counts]
        low, high = ([cell.bounds[end] for cell in cells] for end in (0, 1))
        line_with_band(axes, counts, [float(cell.value or 0) for cell in cells], low, high, kind)
        axes.axhline(np.mean(common.column(splits, "all")), color=axes.lines[-1].get_color(), linestyle="--")
    axes.set(xscale="log", xlabel="principal components", ylabel="test R²")
    axes.legend()
    return save_figure(figure, folder, "dimensions")
