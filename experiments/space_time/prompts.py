"""Probes under different prompts (Figure 3), and probes read on another prompt than they were trained on (appendix)."""

from typing import Any

import numpy as np
from pydantic import PositiveInt

from october.data import EntityHandle, EntitySet
from october.experiments.space_time import _common as common
from october.language_models import ModelHandle
from october.probing import Activations, RidgeProbe, r2, random_split, spearman
from october.probing.space_time import Prompt, prompt_named
from october.reporting import Cell, Result, Row
from october.run import Run

PARTS = ("r2", "same", "other")


def prompts(
    model: ModelHandle,
    data: EntityHandle,
    num_entities: PositiveInt | None,
    names: list[str],
    seeds: list[int],
    run: Run,
) -> Result:
    """Probe the same entities on the same splits under every prompt of their kind, at the bare name's best layer.

    Args:
        model: The network.
        data: Entities.
        num_entities: How many of the largest; null for all.
        names: Prompts of `october.probing.space_time.PROMPTS`; `empty`, the bare name, is among them.
        seeds: Random splits.
        run: The run.
    """
    entities = data.load(num_entities)
    known = {name: prompt_named(name, entities.kind) for name in names}
    activations = {name: common.activations_of(model, entities, prompt) for name, prompt in known.items()}
    layer = common.chosen_layer(run, activations["empty"], entities, "empty")
    splits = [
        run.once(f"seed {seed}", every_pair, activations, entities, layer, seed)
        for seed in run.progress(seeds, f"prompts, layer {layer}")
    ]
    rows = [row(name, prompt, splits) for name, prompt in known.items()]
    fingerprints = {model.name: model.fingerprint(), entities.name: entities.fingerprint}
    return Result(rows=rows, evidence=evidence(known, splits), fingerprints=fingerprints)


def every_pair(activations: dict[str, Activations], entities: EntitySet, layer: int, seed: int) -> dict[str, Any]:
    """Train on each prompt, test on each: R2 on the prompt itself, Spearman's correlation on it and on the others."""
    split = random_split(len(entities), seed, common.TEST_FRACTION)
    features = {name: states.layer(layer) for name, states in activations.items()}
    truth = entities.values[split.test]
    found: dict[str, Any] = {}
    for source in features:
        probe = RidgeProbe().fit(features[source][split.train], entities.values[split.train])
        predicted = {name: probe.predict(states[split.test]) for name, states in features.items()}
        ranks = {name: float(spearman(truth, values).mean()) for name, values in predicted.items()}
        found[source] = {
            "r2": float(r2(truth, predicted[source]).mean()),
            "same": ranks.pop(source),
            "other": float(np.mean(list(ranks.values()))),
        }
    return found


def row(name: str, prompt: Prompt, splits: list[dict[str, Any]]) -> Row:
    """Return a prompt's row: what it says, R2, and both correlations."""
    r2_cell, same, other = (common.cell([split[name][part] for split in splits]) for part in PARTS)
    return Row(
        name=name,
        cells={
            "prompt": Cell(value=wording(prompt)),
            "R2": r2_cell,
            "same prompt": same,
            "different prompt": other,
        },
    )


def wording(prompt: Prompt) -> str:
    """Return a prompt with X for the entity."""
    random = f"[{prompt.num_random_tokens} random tokens] " if prompt.num_random_tokens else ""
    return f"{random}{prompt.before}{'X (in capitals)' if prompt.capitals else 'X'}{prompt.after}"


def evidence(known: dict[str, Prompt], splits: list[dict[str, Any]]) -> dict[str, Cell]:
    """Return what words, random tokens and capitals cost against the bare name, and what a change of prompt costs."""
    bare = [split["empty"]["r2"] for split in splits]

    def over_bare(names: list[str]) -> Cell:
        return common.difference([min(split[name]["r2"] for name in names) for split in splits], bare)

    worded = [name for name, prompt in known.items() if prompt.before and not prompt.capitals]
    random = [name for name, prompt in known.items() if prompt.num_random_tokens]
    capitals = [name for name, prompt in known.items() if prompt.capitals and not prompt.before]
    named = {"worst prompt of words": worded, "random tokens": random, "capitals": capitals}
    found = {f"{name} over the bare name": over_bare(names) for name, names in named.items() if names}
    same, other = ([np.mean([split[name][part] for name in worded]) for split in splits] for part in ("same", "other"))
    return {**found, "Spearman, other prompts over the same prompt": common.difference(other, same)}
