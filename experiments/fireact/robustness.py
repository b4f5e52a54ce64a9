"""A search that fails (Table 3, robustness): half of the calls find nothing, or a passage about something else.

What a system keeps of its exact match is the fair measure between two of which one answers much more. It tells nothing
of a system that answers next to nothing without noise: then nothing is judged.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from jaxtyping import Float
from pydantic import Field, PositiveInt

from october.agents import AgentSettings, Trajectory
from october.agents.fireact import AgentTrainingSettings
from october.data.documents import CorpusHandle, QuestionHandle
from october.evaluation import bootstrap_cell, percent_cell, points_cell
from october.experiments.fireact._agents import Agents
from october.experiments.fireact._bench import Bench, Noise, Search
from october.experiments.fireact._cells import over, scores, viewer
from october.experiments.fireact._systems import PROMPTED, TUNED, compared
from october.experiments.fireact._teaching import Teaching
from october.language_models import ModelHandle
from october.reporting import Cell, Result, Row, draw_rows
from october.run import Run

NORMAL = "no noise"
KINDS = {"nothing": "none", "random": "random"}
LEAST_EM = 10.0  # percent, of the prompted model without noise
TOO_LITTLE = f"the prompted model answers less than {LEAST_EM:g} % without noise"


def robustness(
    model: ModelHandle,
    data: QuestionHandle,
    corpus: CorpusHandle,
    search: Search,
    compositions: list[str] | None,
    teaching: Teaching,
    training: AgentTrainingSettings,
    agent: AgentSettings,
    num_test: PositiveInt | None,
    num_examples: PositiveInt,
    probability: Annotated[float, Field(ge=0, le=1)],
    noise_seed: int,
    run: Run,
) -> Result:
    """Ask a prompted and a tuned model where searches fail; both meet the same failures where they search alike.

    Args:
        model: As in `finetuning`, like all that is not named here.
        data: As in `finetuning`.
        corpus: As in `finetuning`.
        search: As in `finetuning`.
        compositions: Of the test questions; null takes all.
        teaching: As in `finetuning`.
        training: As in `finetuning`.
        agent: As in `finetuning`.
        num_test: Questions of the table; null takes all.
        num_examples: As in `finetuning`.
        probability: Of a search's failing.
        noise_seed: Of the failures.
        run: The run.
    """
    bench = Bench(data, corpus, search, compositions, num_test)
    agents = Agents(bench, agent)
    noises = {name: Noise(kind, probability, noise_seed) for name, kind in KINDS.items()}
    given: dict[str, dict[str, Sequence[Trajectory]]] = {}
    for name, system in compared(model, bench, teaching, training, num_examples).items():
        given[name] = {
            kind: agents.ask(*system, noise=noise)
            for kind, noise in run.progress([(NORMAL, None), *noises.items()], name)
        }
    beside = run.table == "robustness"  # the other is the paper's own scale
    rows = [system_row(bench, name, made, name if beside else None) for name, made in given.items()]
    found = evidence(bench, given)
    return Result(
        rows=rows,
        evidence=found,
        undecided={} if answers_enough(bench, given) else dict.fromkeys(found, TOO_LITTLE),
        figures={
            f"What is answered where searches find {kind}": draw_rows(run.figures, f"robustness_{kind}", rows, kind)
            for kind in KINDS
        }
        | viewer(run.figures, every_one(given), bench.questions),
        fingerprints={**bench.fingerprints(), model.name: model.fingerprint()},
    )


def every_one(given: Mapping[str, Mapping[str, Sequence[Trajectory]]]) -> dict[str, Sequence[Trajectory]]:
    """Return what each system did by each search, under one name."""
    return {f"{name}, {kind}": made for name, by_kind in given.items() for kind, made in by_kind.items()}


def system_row(bench: Bench, name: str, made: Mapping[str, Sequence[Trajectory]], published: str | None) -> Row:
    """Return a system's exact match without noise and with it, what noise takes, and how often it searched."""
    cells = {kind: percent_cell(scores(bench, some)) for kind, some in made.items()}
    cells |= {f"lost to {kind}": over(bench, made[NORMAL], made[kind]) for kind in KINDS}
    cells |= {f"searches, {kind}": bootstrap_cell([each.num_searches for each in some]) for kind, some in made.items()}
    return Row(name=name, cells=cells, published=published)


def evidence(bench: Bench, given: Mapping[str, Mapping[str, Sequence[Trajectory]]]) -> dict[str, Cell]:
    """Return what decides the claims, where enough is answered."""
    found = {}
    for kind in KINDS:
        kept = {
            name: kept_shares(scores(bench, made[NORMAL]), scores(bench, made[kind])) for name, made in given.items()
        }
        found[f"EM kept where searches find {kind}, FireAct over prompted"] = points_cell(kept[TUNED], kept[PROMPTED])
        found[f"EM where searches find {kind}, FireAct over prompted"] = over(
            bench, given[TUNED][kind], given[PROMPTED][kind]
        )
    return found


def answers_enough(bench: Bench, given: Mapping[str, Mapping[str, Sequence[Trajectory]]]) -> bool:
    """Return whether the prompted model answers enough questions without noise for noise to cost it any."""
    return bool(100 * scores(bench, given[PROMPTED][NORMAL]).mean() >= LEAST_EM)


def kept_shares(
    normal: Float[np.ndarray, " questions"], noisy: Float[np.ndarray, " questions"]
) -> Float[np.ndarray, " questions"]:
    """Return what each question adds to mean(noisy) / mean(normal), such that the mean is this share.

    A ratio has no score for each question; these are its linearisation at the means, so that intervals over questions
    are those of the delta method. Nothing is kept of nothing.
    """
    if not normal.any():
        return np.zeros_like(normal)
    share = noisy.mean() / normal.mean()
    return share + (noisy - share * normal) / normal.mean()
