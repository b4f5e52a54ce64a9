"""One student for several kinds of questions (Table 5), beside a student for each kind.

Offline the kinds are questions over two documents, comparisons, and questions for yes or no; the paper has HotpotQA,
StrategyQA and MMLU.
"""

from collections.abc import Mapping

import numpy as np
from pydantic import PositiveInt

from october.agents import AgentSettings
from october.agents.fireact import INSTRUCTED, AgentTrainingSettings, Selection
from october.data.documents import CorpusHandle
from october.evaluation import percent_cell, points_cell
from october.experiments.fireact._agents import Agent, Agents, tuned_agent
from october.experiments.fireact._bench import Bench, Search
from october.experiments.fireact._cells import left_out_cells, scores
from october.experiments.fireact._tasks import Tasks
from october.experiments.fireact._teaching import check_first
from october.language_models import ModelHandle
from october.reporting import Result, Row, draw_rows
from october.run import Run

EACH, TOGETHER = "a student for each", "one student"
ALL = "all"  # tasks put together, each of their questions counting once


def multi_task(
    model: ModelHandle,
    tasks: Tasks,
    corpus: CorpusHandle,
    search: Search,
    training: AgentTrainingSettings,
    agent: AgentSettings,
    num_test: PositiveInt | None,
    run: Run,
) -> Result:
    """Ask students that were taught one task each, and one that was taught all of them.

    Args:
        model: As in `finetuning`, like all that is not named here.
        tasks: Their questions, and where trajectories come from.
        corpus: What is searched for all of them.
        search: As in `finetuning`.
        training: As in `finetuning`.
        agent: As in `finetuning`.
        num_test: Of each task.
        run: The run.
    """
    benches = {name: Bench(task.data, corpus, search, task.compositions, num_test) for name, task in tasks.items()}
    for name, bench in benches.items():
        check_first(bench, tasks[name].teaching, num_examples=0)
    for bench in benches.values():  # one student is asked them all
        bench.evaluated = [question for each in benches.values() for question in each.questions]
    taught = {name: tasks[name].teaching.trajectories(bench) for name, bench in benches.items()}
    every = Selection([each for some in taught.values() for each in some.kept], {})
    agents = Agents(next(iter(benches.values())), agent)
    together, _ = tuned_agent(model, every, training)
    given = {TOGETHER: {name: answered(agents, bench, together) for name, bench in benches.items()}, EACH: {}}
    for name, bench in run.progress(benches.items(), "tasks"):
        alone, _ = tuned_agent(model, taught[name], training)
        given[EACH][name] = answered(agents, bench, alone)
    published = {EACH: "one task", TOGETHER: "three tasks"} if run.table == "multi_task" else {}
    rows = [task_row(name, by_task, published.get(name)) for name, by_task in given.items()]
    for row in rows:  # both learn from the same
        row.cells.update(left_out_cells(*taught.values()))
    return Result(
        rows=rows,
        evidence={
            f"EM, {TOGETHER} over {EACH}, {name}": points_cell(given[TOGETHER][name], given[EACH][name])
            for name in benches
        }
        | {f"EM, {TOGETHER} over {EACH}": points_cell(pooled(given[TOGETHER]), pooled(given[EACH]))},
        figures={"What is answered of all tasks": draw_rows(run.figures, "multi_task", rows, ALL)},
        fingerprints={
            model.name: model.fingerprint(),
            **{key: value for bench in benches.values() for key, value in bench.fingerprints().items()},
        },
    )


def answered(agents: Agents, bench: Bench, agent: Agent) -> np.ndarray:
    """Return what each of an agent's answers to a task is worth."""
    return scores(bench, agents.at(bench).ask(agent, INSTRUCTED))


def pooled(by_task: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the scores of all tasks' questions."""
    return np.concatenate(list(by_task.values()))


def task_row(name: str, by_task: Mapping[str, np.ndarray], published: str | None) -> Row:
    """Return a row with the share of right answers for each task."""
    cells = {task: percent_cell(found) for task, found in by_task.items()}
    return Row(name=name, cells={**cells, ALL: percent_cell(pooled(by_task))}, published=published)
