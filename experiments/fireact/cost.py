"""What a trial takes (Table 3, cost): a model that reads examples first, and a tuned one that needs none.

Both answer the same questions with the same greedy settings, in turns: a few questions by the one, the same by the
other. Nothing is taken from what was answered before. Both keep their caches between rounds, and the examples are read
once for all; an agent that sends its whole text again each round, as the paper's does, saves more.
"""

import time
from collections.abc import Sequence

import numpy as np
from pydantic import PositiveInt

from october.agents import AgentSettings
from october.agents.fireact import AgentTrainingSettings, trajectory_cells
from october.data.documents import CorpusHandle, Question, QuestionHandle
from october.evaluation import bootstrap_cell, interval_cell, paired_bootstrap_interval
from october.evaluation.cells import PERCENT
from october.experiments.fireact._agents import Agents
from october.experiments.fireact._bench import Bench, Search
from october.experiments.fireact._systems import PROMPTED, TUNED, System, compared
from october.experiments.fireact._teaching import Teaching
from october.language_models import ModelHandle
from october.reporting import Result, Row, draw_rows
from october.run import Run

SHOWN = ("EM", "finished", "rounds", "searches", "tokens read", "tokens written")


def cost(
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
    at_once: PositiveInt,
    run: Run,
) -> Result:
    """Time a prompted and a tuned model on the same questions.

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
        at_once: Questions that are answered together and timed together; 1 is the paper's setting.
        run: The run.
    """
    bench = Bench(data, corpus, search, compositions, num_test)
    systems = compared(model, bench, teaching, training, num_examples)
    agents = {name: Agents(bench, agent) for name in systems}
    seconds = run.once("seconds", timed, agents, systems, at_once)
    beside, rows = run.table == "cost", []  # the other is the paper's own scale
    for name, system in systems.items():
        made = agents[name].ask(*system)
        cells = trajectory_cells(made, bench.questions, reward=bench.reward, f1=bench.f1)
        spent = {"seconds": bootstrap_cell(seconds[name], "s")}
        shown = {**spent, **{column: cells[column] for column in SHOWN}}
        rows.append(Row(name=name, cells=shown, published=name if beside else None))
    prompted, tuned = (np.array(seconds[name]) for name in (PROMPTED, TUNED))
    saved = paired_bootstrap_interval(PERCENT * prompted / prompted.mean(), PERCENT * tuned / prompted.mean())
    return Result(
        rows=rows,
        evidence={"seconds saved by fine-tuning, of those prompted": interval_cell(saved, "%")},
        figures={"What a trial takes": draw_rows(run.figures, "cost", rows, "seconds")},
        fingerprints={**bench.fingerprints(), model.name: model.fingerprint()},
    )


def timed(agents: dict[str, Agents], systems: dict[str, System], at_once: int) -> dict[str, list[float]]:
    """Return the seconds of a trial by system, a number for each few questions; a first few are not counted."""
    questions = next(iter(agents.values())).bench.questions
    parts = [questions[first : first + at_once] for first in range(0, len(questions), at_once)]
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for place, part in enumerate([parts[0], *parts]):
        for name, system in systems.items():
            spent = seconds_of(agents[name], system, part)
            if place:  # the first time models are loaded, and examples read
                seconds[name].append(spent / len(part))
    return seconds


def seconds_of(agents: Agents, system: System, questions: Sequence[Question]) -> float:
    """Return the seconds in which a system answers questions; nothing is read from what is kept."""
    started = time.perf_counter()
    agents.ask(*system, questions, kept=False)
    return time.perf_counter() - started
