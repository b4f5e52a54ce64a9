"""Linear against nonlinear probes at the best layer (Table 2)."""

from typing import Any

import numpy as np
from pydantic import PositiveInt

from october.data import EntityHandle, EntitySet
from october.experiments.space_time import _common as common
from october.language_models import ModelHandle
from october.probing import Activations, MLPProbe, fit_layer, r2, random_split
from october.reporting import Cell, Result, Row
from october.run import Run


def linearity(
    model: ModelHandle,
    places: EntityHandle,
    times: EntityHandle,
    num_places: PositiveInt | None,
    num_times: PositiveInt | None,
    hidden: PositiveInt,
    seeds: list[int],
    run: Run,
) -> Result:
    """Fit a ridge probe and an MLP probe to the same rows of the same layer.

    Args:
        model: The network.
        places: Entities with coordinates.
        times: Entities with a year.
        num_places: How many of the largest places; null for all.
        num_times: How many entities with a year; null for all.
        hidden: Neurons of the MLP's one hidden layer (256 in the paper).
        seeds: Random splits; also of the MLP's weights.
        run: The run.
    """
    rows: dict[str, dict[str, Cell]] = {"linear": {}, "MLP": {}}
    evidence: dict[str, Cell] = {}
    fingerprints = {model.name: model.fingerprint()}
    for column, entities in (("places", places.load(num_places)), ("times", times.load(num_times))):
        activations = common.activations_of(model, entities)
        layer = common.chosen_layer(run, activations, entities, column)
        splits = [
            run.once(
                f"{column}, seed {seed}",
                both_probes,
                activations,
                entities,
                layer,
                hidden,
                seed,
            )
            for seed in run.progress(seeds, f"{column}, layer {layer}")
        ]
        for name, cells in rows.items():
            cells[column] = common.cell(common.column(splits, name))
            cells[f"{column}, layer"] = Cell(value=layer)
        linear, mlp = common.column(splits, "linear"), common.column(splits, "MLP")
        evidence[f"linear over MLP, {column}"] = common.difference(linear, mlp)
        fingerprints[entities.name] = entities.fingerprint
    table = [Row(name=f"{model.name} {name}", cells=cells) for name, cells in rows.items()]
    return Result(rows=table, evidence=evidence, fingerprints=fingerprints)


def both_probes(activations: Activations, entities: EntitySet, layer: int, hidden: int, seed: int) -> dict[str, Any]:
    """Return the test R2 of both probes on one random split, mean over the targets."""
    split = random_split(len(entities), seed, common.TEST_FRACTION)
    features, values = activations.layer(layer), entities.values
    _, linear = fit_layer(features, values, split)
    mlp = MLPProbe(hidden=hidden, seed=seed).fit(features[split.train], values[split.train])
    truth = values[split.test]
    return {
        "linear": float(np.mean(r2(truth, linear))),
        "MLP": float(np.mean(r2(truth, mlp.predict(features[split.test])))),
    }
