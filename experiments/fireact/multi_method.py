"""Students of several methods (Table 4): who learned ReAct, CoT and Reflexion chooses for each question by itself.

As in the paper, trajectories of further methods are added to those of ReAct; each is about a question of its own.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import PositiveInt

from october.agents import AgentSettings, Trajectory
from october.agents.fireact import INSTRUCTED, AgentTrainingSettings, method_of
from october.data.documents import CorpusHandle, QuestionHandle
from october.errors import OctoberError
from october.evaluation import exact_cell, percent_cell, points_cell
from october.experiments.fireact._agents import Agents, tuned_agent
from october.experiments.fireact._bench import Bench, Search
from october.experiments.fireact._cells import METHOD_NAMES, agent_row, left_out_cells, over
from october.experiments.fireact._teaching import Teaching, check_first
from october.language_models import ModelHandle
from october.reporting import Cell, Result, draw_rows
from october.run import Run

METHODS = ("react", "cot", "reflexion")
MIXES = (("react",), ("react", "cot"), ("react", "reflexion"), METHODS)
ALONE, ALL = "ReAct", "ReAct, CoT, Reflexion"


def multi_method(
    model: ModelHandle,
    data: QuestionHandle,
    corpus: CorpusHandle,
    search: Search,
    compositions: list[str] | None,
    teaching: Teaching,
    training: AgentTrainingSettings,
    agent: AgentSettings,
    num_test: PositiveInt | None,
    run: Run,
) -> Result:
    """Ask students that were taught by one method, two, or all three.

    Args:
        model: As in `finetuning`, like all that is not named here.
        data: As in `finetuning`.
        corpus: As in `finetuning`.
        search: As in `finetuning`.
        compositions: Of the test questions; null takes all.
        teaching: As in `finetuning`; must give trajectories of all three methods.
        training: As in `finetuning`.
        agent: As in `finetuning`.
        num_test: Questions of the table; null takes all.
        run: The run.
    """
    bench = Bench(data, corpus, search, compositions, num_test)
    check_first(bench, teaching, num_examples=0)
    agents, chosen = Agents(bench, agent), teaching.trajectories(bench)
    missing = set(METHODS) - {each.method for each in chosen.kept}
    if missing:
        raise OctoberError(f"teaching: it gives no trajectories of {', '.join(sorted(missing))}")
    given: dict[str, list[Trajectory]] = {}
    taught: dict[str, int] = {}
    for mix in run.progress(MIXES, "students"):
        some = chosen._replace(kept=[each for each in chosen.kept if each.method in mix])
        tuned, _ = tuned_agent(model, some, training)
        name = ", ".join(METHOD_NAMES[method] for method in mix)
        given[name], taught[name] = agents.ask(tuned, INSTRUCTED), len(some.kept)
    beside = run.table == "multi_method"  # the other is the paper's own scale
    rows = [agent_row(bench, name, made, name if beside else None) for name, made in given.items()]
    for row in rows:
        row.cells.update({"taught": exact_cell(taught[row.name]), **method_cells(given[row.name])})
    rows[-1].cells.update(left_out_cells(chosen))  # of all methods
    return Result(
        rows=rows,
        evidence={
            **{f"EM, {name} over {ALONE}": over(bench, made, given[ALONE]) for name, made in list(given.items())[1:]},
            "answered by CoT, taught by all over ReAct alone": points_cell(
                chose(given[ALL], "cot"), chose(given[ALONE], "cot")
            ),
            "answered by Reflexion, taught by all over ReAct alone": points_cell(
                chose(given[ALL], "reflexion"), chose(given[ALONE], "reflexion")
            ),
        },
        figures={"What is answered": draw_rows(run.figures, "multi_method", rows, "EM")},
        fingerprints={**bench.fingerprints(), model.name: model.fingerprint()},
    )


def chose(made: Sequence[Trajectory], method: str) -> np.ndarray:
    """Return 1 for each trajectory that shows a method, else 0."""
    return np.array([float(method_of(each.steps) == method) for each in made])


def method_cells(made: Sequence[Trajectory]) -> dict[str, Cell]:
    """Return how many in a hundred trajectories show each method."""
    return {f"by {METHOD_NAMES[method]}": percent_cell(chose(made, method)) for method in METHODS}
