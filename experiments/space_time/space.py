"""Places, by layer and network (Figure 2), the maps (Figure 1), and controls that the paper does not have.

For every network, subset and split: a linear probe at each layer, the layer chosen by leave-one-out error on the
training rows, every metric on the test rows at that layer. Beside it what spelling alone gives (character n-grams,
the nearest training name) and what the same network gives untrained.
"""

from pydantic import PositiveInt

from october.data import EntityHandle
from october.experiments.space_time import _common as common
from october.experiments.space_time import _figures as figures
from october.language_models import ModelHandle
from october.probing.space_time import prompt_named
from october.reporting import Cell, Result, Row
from october.run import Run


def space(
    model: ModelHandle,
    untrained: ModelHandle | None,
    smaller: ModelHandle | None,
    data: EntityHandle,
    subsets: list[PositiveInt | None],
    prompt: str,
    seeds: list[int],
    run: Run,
) -> Result:
    """Probe for latitude and longitude.

    Args:
        model: The network of the headline rows.
        untrained: The same network with random weights.
        smaller: A smaller network, for the claim that larger ones are better.
        data: Places.
        subsets: How many of the largest places; null for all.
        prompt: The words around a place's name.
        seeds: Random splits.
        run: The run.
    """
    sizes = [size for size in subsets if size is not None]
    entities = data.load(max(sizes) if len(sizes) == len(subsets) else None)
    if sizes:
        entities = entities.largest(len(entities))  # each subset is then a prefix, and one extraction serves all
    words = prompt_named(prompt, entities.kind)
    handles = [handle for handle in (model, untrained, smaller) if handle is not None]
    activations = {handle.name: common.activations_of(handle, entities, words) for handle in handles}
    rows: list[Row] = []
    evidence: dict[str, Cell] = {}
    for size in subsets:
        part, label = common.subset(entities, size)
        scores = {
            name: common.network_scores(run, states, part, f"{name}, {label}", seeds)
            for name, states in activations.items()
        }
        controls = common.control_scores(run, part, label, seeds)
        rows += common.table_rows(
            {**scores, **controls}, label, places=True, beside={model.name: common.BESIDE.get(entities.name)}
        )
        evidence[f"gain over spelling, {label}"] = gain_over_spelling(scores[model.name], controls)
    evidence |= common.depth_evidence(scores[model.name])
    evidence |= common.comparison_evidence(scores, model, untrained, smaller)
    pictures = {
        f"Test R² of linear probes by layer, {label}": figures.r2_by_layer(
            run.figures, scores, controls, entities.targets
        ),
        f"Held-out places on the map, {label}, {model.name}": figures.world_map(
            run.figures, part, activations[model.name], scores[model.name][0]["layer"], seeds[0]
        ),
    }
    fingerprints = {entities.name: entities.fingerprint, **{h.name: h.fingerprint() for h in handles}}
    return Result(rows=rows, evidence=evidence, figures=pictures, fingerprints=fingerprints)


def gain_over_spelling(ours: list[common.Scores], controls: dict[str, list[common.Scores]]) -> Cell:
    """Return how far R2 lies above the n-grams', in the coordinate where it is less, split by split."""
    gains = [
        min(our[metric] - their[metric] for metric in ("latitude_r2", "longitude_r2"))
        for our, their in zip(ours, controls["character n-grams"], strict=True)
    ]
    return common.cell(gains)
