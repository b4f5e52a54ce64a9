"""Prompting alone (Table 1): answers from memory (IO), after a thought (CoT), and by searching (ReAct).

Beside them a system that has no choice: it searches once, for the question itself, and answers from what it finds.
"""

from collections.abc import Sequence

from pydantic import PositiveInt

from october.agents import AgentSettings, Trajectory
from october.data.documents import CorpusHandle, QuestionHandle
from october.experiments.fireact._agents import ONE_SEARCH, Agent, Agents, prompted
from october.experiments.fireact._bench import Bench, Search
from october.experiments.fireact._cells import METHOD_NAMES, agent_row, over, viewer
from october.experiments.fireact._teaching import Teaching, check_first
from october.language_models import ModelHandle, ServedHandle
from october.reporting import Result, draw_rows
from october.run import Run

IO, COT, REACT = (METHOD_NAMES[method] for method in ("io", "cot", "react"))


def prompting(
    model: ModelHandle | ServedHandle,
    data: QuestionHandle,
    corpus: CorpusHandle,
    search: Search,
    compositions: list[str] | None,
    teaching: Teaching,
    agent: AgentSettings,
    num_test: PositiveInt | None,
    num_examples: PositiveInt,
    run: Run,
) -> Result:
    """Ask a model by each method, with the same examples.

    Args:
        model: Is asked.
        data: The questions.
        corpus: What is searched.
        search: How.
        compositions: Of the questions; null takes all.
        teaching: Where examples come from.
        agent: How far an agent may go.
        num_test: Questions of the table; null takes all.
        num_examples: In a prompt.
        run: The run.
    """
    bench = Bench(data, corpus, search, compositions, num_test)
    check_first(bench, teaching, num_examples, num_trajectories=0)
    agents, asked = Agents(bench, agent), Agent(model)
    examples = teaching.examples(bench, num_examples)
    given: dict[str, Sequence[Trajectory]] = {}
    for name in run.progress((IO, COT, REACT, ONE_SEARCH), "methods"):
        if name == ONE_SEARCH:
            given[name] = agents.read_one_search(asked, examples)
        else:
            given[name] = agents.ask(asked, prompted(name.lower(), examples, bench))
    published = {IO, COT, REACT} if run.table == "prompting" else set()  # the other is the paper's own scale
    rows = [agent_row(bench, name, made, name if name in published else None) for name, made in given.items()]
    return Result(
        rows=rows,
        evidence={
            "EM, ReAct over IO": over(bench, given[REACT], given[IO]),
            "EM, ReAct over CoT": over(bench, given[REACT], given[COT]),
        },
        figures={
            "What is answered": draw_rows(run.figures, "prompting", rows, "EM"),
            **viewer(run.figures, given, bench.questions),
        },
        fingerprints={**bench.fingerprints(), model.name: model.fingerprint()},
    )
