"""Times, by layer and network (Figure 2): when people died, from the last token of their names.

The same as for places, with one target. Films and headlines, the paper's other sets, need its own files
(`experiment=space_time/time_paper`).
"""

from pydantic import PositiveInt

from october.data import EntityHandle
from october.experiments.space_time import _common as common
from october.experiments.space_time import _figures as figures
from october.language_models import ModelHandle
from october.probing.space_time import prompt_named
from october.reporting import Result
from october.run import Run


def time(
    model: ModelHandle,
    untrained: ModelHandle | None,
    smaller: ModelHandle | None,
    data: EntityHandle,
    num_entities: PositiveInt | None,
    prompt: str,
    seeds: list[int],
    run: Run,
) -> Result:
    """Probe for the year.

    Args:
        model: The network of the headline row.
        untrained: The same network with random weights.
        smaller: A smaller network, for the claim that larger ones are better.
        data: Entities with one year each.
        num_entities: How many of them; null for all.
        prompt: The words around a name.
        seeds: Random splits.
        run: The run.
    """
    entities = data.load(num_entities)
    words = prompt_named(prompt, entities.kind)
    handles = [handle for handle in (model, untrained, smaller) if handle is not None]
    label = entities.name
    scores = {
        handle.name: common.network_scores(
            run, common.activations_of(handle, entities, words), entities, f"{handle.name}, {label}", seeds
        )
        for handle in handles
    }
    controls = common.control_scores(run, entities, label, seeds)
    ngrams = common.column(controls["character n-grams"], "r2")
    evidence = {"gain over spelling": common.difference(common.column(scores[model.name], "r2"), ngrams)}
    evidence |= common.depth_evidence(scores[model.name])
    evidence |= common.comparison_evidence(scores, model, untrained, smaller)
    curves = figures.r2_by_layer(run.figures, scores, controls, entities.targets)
    return Result(
        rows=common.table_rows(
            {**scores, **controls}, label, places=False, beside={model.name: common.BESIDE.get(entities.name)}
        ),
        evidence=evidence,
        figures={f"Test R² of linear probes by layer, {label}": curves},
        fingerprints={entities.name: entities.fingerprint, **{h.name: h.fingerprint() for h in handles}},
    )
