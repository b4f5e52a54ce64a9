"""Single neurons of space and time (Figure 6): aligned with a probe, correlated with the world, missed when ablated."""

from typing import Any

import numpy as np
from pydantic import PositiveInt

from october.data import EntityHandle, EntitySet
from october.evaluation import interval_cell, paired_bootstrap_interval
from october.experiments.space_time import _common as common
from october.language_models import ModelHandle
from october.probing import RidgeProbe, spearman
from october.probing.space_time import (
    Neuron,
    ablated,
    most_aligned,
    neuron_activations,
    neuron_cosines,
    next_token_losses,
    random_neurons,
)
from october.reporting import Cell, Result, Row
from october.run import Run


def neurons(
    model: ModelHandle,
    places: EntityHandle,
    times: EntityHandle,
    num_places: PositiveInt | None,
    num_times: PositiveInt | None,
    num_texts: PositiveInt,
    num_neurons: PositiveInt,
    seeds: list[int],
    run: Run,
) -> Result:
    """Find the neurons whose weights align best with a probe's direction, and test them in two ways.

    Each target's most aligned neurons are correlated with the target over all entities; then all of a kind's are
    ablated together, against as many random ones of the same layers, and the next-token loss on sentences about the
    entities is compared, sentence by sentence.

    Args:
        model: The network, with its language-model head.
        places: Entities with coordinates.
        times: Entities with a year.
        num_places: How many of the largest places; null for all.
        num_times: How many entities with a year; null for all.
        num_texts: Sentences on which the loss is measured.
        num_neurons: Neurons ablated together.
        seeds: Of the random neurons.
        run: The run.
    """
    rows: list[Row] = []
    evidence: dict[str, Cell] = {}
    fingerprints = {model.name: model.fingerprint()}
    for kind, entities in (("places", places.load(num_places)), ("times", times.load(num_times))):
        activations = common.activations_of(model, entities)
        layer = common.chosen_layer(run, activations, entities, kind)
        probe = RidgeProbe().fit(activations.layer(layer), entities.values)
        found = run.once(f"aligned, {kind}", aligned, model, probe, entities, num_neurons)
        rows += [Row(name=neuron_name(neuron), cells=neuron_cells(neuron)) for neuron in found]
        evidence[f"Spearman of the most aligned neuron, {kind}"] = max(
            (spearman_cell(neuron) for neuron in found if neuron["rank"] == 0), key=lambda cell: cell.bounds[0]
        )
        chosen = [Neuron(neuron["layer"], neuron["index"]) for neuron in found][:num_neurons]
        texts = sentences(entities, kind)[:num_texts]
        losses = run.once(f"losses, {kind}", ablation_losses, model, chosen, texts, seeds)
        rows += ablation_rows(losses, kind)
        gain = paired_bootstrap_interval(losses["aligned"], losses["random"])
        if kind == "places":
            evidence["loss from ablating aligned over random neurons"] = interval_cell(gain, "nats")
        fingerprints[entities.name] = entities.fingerprint
    return Result(rows=rows, evidence=evidence, fingerprints=fingerprints)


def aligned(model: ModelHandle, probe: RidgeProbe, entities: EntitySet, count: int) -> list[dict[str, Any]]:
    """Return the most aligned neurons of each target, best first within a target, with their correlation."""
    network, tokenizer = model.load_backbone()
    cosines = neuron_cosines(network, probe.coefficients)
    found = []
    per_target = -(-count // len(entities.targets))
    for target, name in enumerate(entities.targets):
        best = most_aligned(cosines, target, per_target)
        outputs = neuron_activations(network, tokenizer, entities.names, [one.neuron for one in best])
        for rank, one in enumerate(best):
            correlation = float(spearman(entities.values[:, target], outputs[:, rank])[0])
            found.append(
                {
                    "target": name,
                    "rank": rank,
                    "layer": one.neuron.layer,
                    "index": one.neuron.index,
                    "side": one.side,
                    "cosine": one.cosine,
                    "spearman": correlation,
                    "entities": len(entities),
                }
            )
    return found


def sentences(entities: EntitySet, kind: str) -> list[str]:
    """Return one short sentence an entity that states where or when it is, in the set's order."""
    if kind == "places":
        countries = entities.frame["country" if "country" in entities.frame else "split_key"]
        return [f"{name} is a city in {country}." for name, country in zip(entities.names, countries, strict=True)]
    years = [f"{abs(year):.0f}{' BC' if year < 0 else ''}" for year in entities.values[:, 0]]
    return [f"{name} died in the year {year}." for name, year in zip(entities.names, years, strict=True)]


def ablation_losses(
    model: ModelHandle, chosen: list[Neuron], texts: list[str], seeds: list[int]
) -> dict[str, list[float]]:
    """Return each sentence's next-token loss: of the whole network, without the chosen neurons, without random ones.

    The random ones are drawn anew for each seed, and their losses averaged over the seeds.
    """
    network, tokenizer = model.load()
    losses = {"whole": next_token_losses(network, tokenizer, texts).tolist()}
    with ablated(network, chosen):
        losses["aligned"] = next_token_losses(network, tokenizer, texts).tolist()
    drawn = []
    for seed in seeds:
        with ablated(network, random_neurons(network, chosen, seed)):
            drawn.append(next_token_losses(network, tokenizer, texts))
    return {**losses, "random": np.mean(drawn, axis=0).tolist()}


def neuron_name(neuron: dict[str, Any]) -> str:
    """Return how a row calls a neuron."""
    return f"{neuron['target']}: layer {neuron['layer']}, neuron {neuron['index']} ({neuron['side']})"


def neuron_cells(neuron: dict[str, Any]) -> dict[str, Cell]:
    """Return a neuron's cells."""
    return {"cosine": Cell(value=neuron["cosine"]), "Spearman": spearman_cell(neuron, signed=True)}


def spearman_cell(neuron: dict[str, Any], *, signed: bool = False) -> Cell:
    """Return a neuron's rank correlation with Fisher's 95 % interval; its absolute value unless `signed`."""
    value = neuron["spearman"] if signed else abs(neuron["spearman"])
    half = 1.96 * np.sqrt(1.06 / (neuron["entities"] - 3))  # Fieller's variance of Fisher's z for ranks
    low, high = np.tanh(np.arctanh(value) - half), np.tanh(np.arctanh(value) + half)
    return Cell(value=value, n=neuron["entities"], interval=(float(low), float(high)))


def ablation_rows(losses: dict[str, list[float]], kind: str) -> list[Row]:
    """Return a row for each way of leaving neurons out: the loss in nats a token, and its rise."""
    rows = []
    for name, own in losses.items():
        rise = paired_bootstrap_interval(own, losses["whole"])
        cells = {"loss": Cell(value=float(np.mean(own)), n=len(own), unit="nats")}
        if name != "whole":
            cells["rise of loss"] = interval_cell(rise, "nats")
        label = {"whole": "no neuron", "aligned": "the aligned neurons", "random": "random neurons"}[name]
        rows.append(Row(name=f"{kind}, ablating {label}", cells=cells))
    return rows
