"""What the tables of this paper share: activations by name, cells from per-split scores, rows from both."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from october.data import EntitySet
from october.evaluation import interval_cell, paired_t_interval, t_interval
from october.files import data_home
from october.language_models import ModelHandle
from october.probing import (
    Activations,
    NGramControl,
    all_metrics,
    best_layer,
    cached_activations,
    fit_layer,
    name_vectorizer,
    nearest_neighbour,
    probe_every_layer,
    random_split,
)
from october.probing.space_time import Prompt
from october.reporting import Cell, Row
from october.run import Run

TEST_FRACTION = 0.2  # as in the paper
PLACE_COLUMNS = {  # what a table shows, and the metric it shows
    "R2": "r2",
    "R2 latitude": "latitude_r2",
    "R2 longitude": "longitude_r2",
    "Spearman latitude": "latitude_spearman",
    "Spearman longitude": "longitude_spearman",
    "error": "haversine_mae",
    "proximity error": "proximity_error",
}
PLACE_UNITS = {"error": "km"}
TIME_COLUMNS = {"R2": "r2", "Spearman": "spearman", "error": "mae", "proximity error": "proximity_error"}
TIME_UNITS = {"error": "years"}
BESIDE = {  # the published rows beside which a set's rows stand: the smallest of the paper's models
    "world_cities": "Llama-2-7B world",
    "world_places": "Llama-2-7B world",
    "us_cities": "Llama-2-7B USA",
    "us_places": "Llama-2-7B USA",
    "nyc_places": "Llama-2-7B NYC",
    "wikipedia_people": "Llama-2-7B historical figures",
    "wordnet_people": "Llama-2-7B historical figures",
    "historical_figures": "Llama-2-7B historical figures",
    "art": "Llama-2-7B entertainment",
    "headlines": "Llama-2-7B headlines",
}
BARE = Prompt("bare")  # the name alone
Scores = dict[str, Any]  # one split's numbers: metric to value


def activations_of(model: ModelHandle, entities: EntitySet, prompt: Prompt = BARE) -> Activations:
    """Return the activations of every entity's last token under a prompt, from the cache where they are there.

    Args:
        model: The network; an encoder (MiniLM) gives the mean over its tokens, which is what it was trained for.
        entities: What the prompt is filled with.
        prompt: The words around the entity.
    """
    texts, spans = prompt.fill(entities.names)
    return cached_activations(
        data_home() / "activations",
        {"model": model.fingerprint()},
        model.load_backbone,
        texts,
        entity_spans=spans,
        random_tokens=prompt.num_random_tokens,
        position="last_entity_token" if model.kind == "causal_lm" else "mean",
        max_batch_tokens=model.max_batch_tokens,
    )


def cell(scores: Sequence[float], unit: str | None = None) -> Cell:
    """Return the mean of scores over random splits with its 95 % interval, corrected for the splits' overlap."""
    return interval_cell(t_interval(scores, test_fraction=TEST_FRACTION), unit)


def difference(ours: Sequence[float], theirs: Sequence[float]) -> Cell:
    """Return the mean paired difference over random splits with its 95 % interval, corrected likewise."""
    return interval_cell(paired_t_interval(ours, theirs, test_fraction=TEST_FRACTION))


def column(scores: Sequence[dict[str, Any]], name: str) -> list[float]:
    """Return one metric of several splits."""
    return [float(score[name]) for score in scores]


def layer_scores(activations: Activations, values: np.ndarray, rows: slice, seed: int, places: bool) -> Scores:
    """Probe every layer on one random split and take every metric at the layer that the training rows choose.

    Returns:
        `curve` (test R2 by layer, one list per target), `loo` (leave-one-out R2 by layer), `layer` (the chosen one),
        and every metric of `all_metrics` at that layer.
    """
    split = random_split(len(values), seed, TEST_FRACTION)
    scores = probe_every_layer(activations, values, split, rows)
    chosen = best_layer(scores).layer
    _, predicted = fit_layer(activations.layer(chosen)[rows], values, split)
    return {
        "curve": np.array([score.test_r2 for score in scores]).T.tolist(),
        "loo": [score.loo_r2 for score in scores],
        "layer": chosen,
        **all_metrics(values[split.test], predicted, places=places),
    }


def spelling_scores(names: Sequence[str], values: np.ndarray, seed: int, places: bool) -> Scores:
    """Return every metric of the two controls that see only spelling: n-gram ridge and the nearest training name."""
    split = random_split(len(values), seed, TEST_FRACTION)
    train, test = [names[i] for i in split.train], [names[i] for i in split.test]
    ngrams = NGramControl(seed=seed).fit(train, values[split.train]).predict(test)
    vectorizer = name_vectorizer().fit(train)
    nearest = nearest_neighbour(vectorizer.transform(train), values[split.train], vectorizer.transform(test))
    return {
        "character n-grams": all_metrics(values[split.test], ngrams, places=places),
        "nearest name": all_metrics(values[split.test], nearest, places=places),
    }


def network_scores(
    run: Run, activations: Activations, part: EntitySet, label: str, seeds: Sequence[int]
) -> list[Scores]:
    """Return `layer_scores` for each split of the first `len(part)` entities, each a step of the run."""
    places = part.kind == "place"
    return [
        run.once(
            f"{label}, seed {seed}",
            layer_scores,
            activations,
            part.values,
            slice(len(part)),
            seed,
            places,
        )
        for seed in run.progress(seeds, label)
    ]


def control_scores(run: Run, part: EntitySet, label: str, seeds: Sequence[int]) -> dict[str, list[Scores]]:
    """Return `spelling_scores` for each split, by control, each split a step of the run."""
    places = part.kind == "place"
    splits = [
        run.once(
            f"spelling, {label}, seed {seed}",
            spelling_scores,
            part.names,
            part.values,
            seed,
            places,
        )
        for seed in run.progress(seeds, f"spelling, {label}")
    ]
    return {name: [split[name] for split in splits] for name in splits[0]}


def metric_cells(splits: Sequence[Scores], places: bool) -> dict[str, Cell]:
    """Return a row's cells over splits, with the mean of the chosen layers where layers were chosen."""
    columns, units = (PLACE_COLUMNS, PLACE_UNITS) if places else (TIME_COLUMNS, TIME_UNITS)
    cells = {shown: cell(column(splits, metric), units.get(shown)) for shown, metric in columns.items()}
    if "layer" in splits[0]:
        cells["layer"] = Cell(value=float(np.mean(column(splits, "layer"))), n=len(splits))
    return cells


def subset(entities: EntitySet, size: int | None) -> tuple[EntitySet, str]:
    """Return the `size` largest entities (all for None) and what a row calls them."""
    if size is None or size > len(entities):
        return entities, f"all {len(entities):,}"
    return entities.largest(size), f"{size:,} largest"


def table_rows(
    scores: Mapping[str, Sequence[Scores]], label: str, places: bool, beside: Mapping[str, str | None]
) -> list[Row]:
    """Return a row for each network or control, beside the published row that `beside` gives a network."""
    return [
        Row(name=f"{name}, {label}", cells=metric_cells(splits, places), published=beside.get(name))
        for name, splits in scores.items()
    ]


def depth_evidence(scores: Sequence[Scores]) -> dict[str, Cell]:
    """Return how R2 grows with depth: from the embedding to 60 % of the layers, and from there to the best layer."""
    curves = [np.mean(score["curve"], axis=0) for score in scores]
    at_60 = [curve[round(0.6 * (len(curve) - 1))] for curve in curves]
    return {
        "R2 at 60 % depth over embedding": difference(at_60, [curve[0] for curve in curves]),
        "best R2 over R2 at 60 % depth": difference([max(curve) for curve in curves], at_60),
    }


def comparison_evidence(
    scores: Mapping[str, Sequence[Scores]],
    model: ModelHandle,
    untrained: ModelHandle | None,
    smaller: ModelHandle | None,
) -> dict[str, Cell]:
    """Return what training and size are worth: R2 of the untrained network, and R2 over the smaller one's."""
    evidence = {}
    if untrained is not None:
        evidence["R2 of the untrained network"] = cell(column(scores[untrained.name], "r2"))
    if smaller is not None:
        ours, theirs = column(scores[model.name], "r2"), column(scores[smaller.name], "r2")
        evidence["R2 over the smaller network"] = difference(ours, theirs)
    return evidence


def chosen_layer(run: Run, activations: Activations, entities: EntitySet, label: str) -> int:
    """Return the layer that leave-one-out on a random 80 % of the entities chooses (the first split of seed 0)."""
    return run.once(f"layer, {label}", _chosen_layer, activations, entities)


def _chosen_layer(activations: Activations, entities: EntitySet) -> int:
    split = random_split(len(entities), 0, TEST_FRACTION)
    return best_layer(probe_every_layer(activations, entities.values, split)).layer
