"""Blocks and entity types that the probe never saw (Tables 3 and 4, Figure 4)."""

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import PositiveInt

from october.data import EntityHandle, EntitySet, coastline
from october.evaluation import bootstrap_interval, interval_cell
from october.experiments.space_time import _common as common
from october.language_models import ModelHandle
from october.probing import Activations, all_metrics, group_folds, predictions_without_own_group, r2
from october.probing.space_time import block_holdout, cross_type
from october.reporting import Cell, Result, Row, new_figure, save_figure
from october.run import Run

NUM_FOLDS = 5  # the groups are dealt out to so many probes


def generalization(
    model: ModelHandle,
    places: EntityHandle,
    other_places: EntityHandle,
    times: EntityHandle,
    num_places: PositiveInt | None,
    num_other_places: PositiveInt | None,
    num_times: PositiveInt | None,
    min_members: PositiveInt,
    min_members_times: PositiveInt,
    seeds: list[int],
    run: Run,
) -> Result:
    """Hold out each large country and century whole, and train on one type of place to test on the other.

    Args:
        model: The network.
        places: Entities of the first type, with a split key (country, or state with `places=us_cities`).
        other_places: Entities of the second type.
        times: Entities with a year, with a split key (century).
        num_places: How many of the largest places; null for all.
        num_other_places: How many of the others; null for all.
        num_times: How many entities with a year; null for all.
        min_members: Entities that a country needs to be held out.
        min_members_times: Entities that a century needs to be held out.
        seeds: Random splits (of the entity types).
        run: The run.
    """
    cities, others = places.load(num_places), other_places.load(num_other_places)
    people = times.load(num_times)
    states, other_states, people_states = (common.activations_of(model, e) for e in (cities, others, people))
    layer = common.chosen_layer(run, states, cities, cities.name)
    time_layer = common.chosen_layer(run, people_states, people, people.name)
    blocks = run.once("blocks", block_errors, states, cities, layer, min_members)
    centuries = run.once("centuries", block_errors, people_states, people, time_layer, min_members_times)
    unseen = [
        run.once(f"unseen, seed {seed}", unseen_groups, states, cities, layer, seed)
        for seed in run.progress(seeds, "held-out groups")
    ]
    pairs = [
        run.once(f"types, seed {seed}", type_pairs, states, other_states, cities, others, layer, seed)
        for seed in run.progress(seeds, "entity types")
    ]
    picture = draw(run.figures, states, cities, layer, seeds[0])
    across, within = f"{cities.name} to {others.name}", f"{others.name} to {others.name}"
    return Result(
        rows=[*unseen_rows(unseen), *type_rows(pairs), *block_rows(blocks, "km"), *block_rows(centuries, "years")],
        evidence=evidence(blocks, unseen, pairs, across, within),
        figures={"Places of countries that the probe never saw": picture},
        fingerprints={model.name: model.fingerprint(), **{e.name: e.fingerprint for e in (cities, others, people)}},
    )


def block_errors(states: Activations, entities: EntitySet, layer: int, min_members: int) -> list[dict[str, Any]]:
    """Return for each large group its errors by probes that saw others of the group, and by one that saw none."""
    groups, places = entities.frame["split_key"].to_numpy(), entities.kind == "place"
    found = block_holdout(states.layer(layer), entities.values, groups, places=places, min_members=min_members)
    return [block._asdict() for block in found]


def unseen_groups(states: Activations, cities: EntitySet, layer: int, seed: int) -> dict[str, float]:
    """Return the metrics over all places, each predicted by a probe that never saw its group.

    R2 over all places asks for more than their common mean; `longitude_r2_of_fold`, the mean of the folds' own R2, asks
    for more than the mean of the very groups that were held out together, which is much harder.
    """
    groups, values = cities.frame["split_key"].to_numpy(), cities.values
    predicted = predictions_without_own_group(states.layer(layer), values, groups, seed=seed, num_folds=NUM_FOLDS)
    folds = group_folds(groups, NUM_FOLDS, seed)
    own = [r2(values[folds == fold], predicted[folds == fold])[1] for fold in range(NUM_FOLDS)]
    return {**all_metrics(values, predicted, places=True), "longitude_r2_of_fold": float(np.mean(own))}


def type_pairs(
    states: Activations, other_states: Activations, cities: EntitySet, others: EntitySet, layer: int, seed: int
) -> dict[str, dict[str, float]]:
    """Return the metrics of training on one type of place and testing on another, for all four pairs."""
    features = {cities.name: states.layer(layer), others.name: other_states.layer(layer)}
    found = cross_type(features, {cities.name: cities.values, others.name: others.values}, places=True, seed=seed)
    return {f"{source} to {target}": scores for (source, target), scores in found.items()}


def block_rows(blocks: list[dict[str, Any]], unit: str) -> list[Row]:
    """Return a row for each held-out group: its errors (km or years) when held out and when seen, largest first."""
    metric = "haversine_mae" if unit == "km" else "mae"
    rows = []
    for block in blocks:
        seen, unseen = block["nominal"], block["held_out"]
        cells = {
            "entities": Cell(value=block["members"]),
            "error": Cell(value=unseen[metric], unit=unit),
            "error if seen": Cell(value=seen[metric], unit=unit),
            "proximity error": Cell(value=unseen["proximity_error"]),
            "proximity error if seen": Cell(value=seen["proximity_error"]),
        }
        rows.append(Row(name=f"held out: {block['block']}", cells=cells))
    return rows


def unseen_rows(unseen: list[dict[str, float]]) -> list[Row]:
    """Return the row of all places, each predicted by a probe that never saw its group."""
    within = {"R2 longitude within fold": common.cell(common.column(unseen, "longitude_r2_of_fold"))}
    return [Row(name="all, each group held out once", cells={**common.metric_cells(unseen, places=True), **within})]


def type_rows(pairs: list[dict[str, dict[str, float]]]) -> list[Row]:
    """Return a row for each pair of types."""
    return [Row(name=name, cells=common.metric_cells([pair[name] for pair in pairs], places=True)) for name in pairs[0]]


def evidence(
    blocks: list[dict[str, Any]],
    unseen: list[dict[str, float]],
    pairs: list[dict[str, dict[str, float]]],
    across: str,
    within: str,
) -> dict[str, Cell]:
    """Return what decides the claims: R2 and proximity error on unseen groups, R2 across types over half of within."""
    proximity = bootstrap_interval([block["held_out"]["proximity_error"] for block in blocks])
    gains = [pair[across]["r2"] - 0.5 * pair[within]["r2"] for pair in pairs]
    return {
        "longitude R2, held-out countries": common.cell(common.column(unseen, "longitude_r2")),
        "longitude R2 within a held-out fifth": common.cell(common.column(unseen, "longitude_r2_of_fold")),
        "proximity error, held-out countries": interval_cell(proximity),
        "airports from cities over half of airports from airports": common.cell(gains),
    }


def draw(folder: Path, states: Activations, cities: EntitySet, layer: int, seed: int) -> Path:
    """Draw the 12 largest groups: each group's true centre, and where a probe that never saw it puts its places."""
    groups = cities.frame["split_key"].to_numpy()
    predicted = predictions_without_own_group(states.layer(layer), cities.values, groups, seed=seed)
    figure, (axes,) = new_figure(width=8.2, height=4.2)
    for line in coastline():
        axes.plot(*line.T, color="0.75", linewidth=0.5)
    for group in cities.frame["split_key"].value_counts().index[:12]:
        mine = groups == group
        (latitude, longitude), (own_latitude, own_longitude) = (
            np.median(values[mine], axis=0) for values in (predicted, cities.values)
        )
        (dot,) = axes.plot(own_longitude, own_latitude, "o", markersize=5)
        axes.annotate(
            "",
            (longitude, latitude),
            (own_longitude, own_latitude),
            arrowprops={"arrowstyle": "->", "color": dot.get_color(), "linewidth": 1.5},
        )
        axes.annotate(str(group), (own_longitude, own_latitude), (3, 4), textcoords="offset points", fontsize=7)
    axes.set(xlim=(-180, 180), ylim=(-60, 80), aspect="equal", title="from the true centre to the predicted one")
    return save_figure(figure, folder, "held_out")
