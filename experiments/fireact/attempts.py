"""Ways to train that were tried, on development questions, which decide no claim; the tables take one of them.

The questions are composed as the test's, so of no composition that was taught, but are about other entities.
"""

from dataclasses import fields, replace
from typing import NamedTuple

from pydantic import PositiveInt

from october.agents import AgentSettings, Trajectory
from october.agents.fireact import INSTRUCTED, AgentTrainingSettings
from october.data.documents import CorpusHandle, QuestionHandle
from october.errors import OctoberError
from october.experiments.fireact._agents import ONE_SEARCH, Agent, Agents, tuned_agent
from october.experiments.fireact._bench import Bench, Folds, Search
from october.experiments.fireact._cells import agent_row, by_composition, found_cell, over
from october.experiments.fireact._teaching import Teaching, check_first
from october.language_models import ModelHandle
from october.reporting import Result, draw_rows
from october.run import Run

COUNT = "num_trajectories"
Changes = dict[str, int | float | bool | str | None]  # of settings, by name


class Attempt(NamedTuple):
    """How a student is trained, and on how many trajectories, the first ones; None is on all."""

    training: AgentTrainingSettings
    num_trajectories: int | None


def attempts(
    model: ModelHandle,
    data: QuestionHandle,
    corpus: CorpusHandle,
    search: Search,
    folds: Folds,
    teaching: Teaching,
    training: AgentTrainingSettings,
    agent: AgentSettings,
    num_test: PositiveInt | None,
    num_examples: PositiveInt,
    tried: list[Changes],
    run: Run,
) -> Result:
    """Ask students that were trained in several ways.

    Args:
        model: As in `finetuning`, like all that is not named here.
        data: As in `finetuning`.
        corpus: As in `finetuning`.
        search: As in `finetuning`.
        folds: As in `finetuning`.
        teaching: As in `finetuning`.
        training: What `tried` changes.
        agent: As in `finetuning`.
        num_test: Development questions of each fold; null takes all.
        num_examples: Shown to the untuned model that reads one search.
        tried: Of each student, what is changed in `training`; `num_trajectories` is how many it learns from.
        run: The run.
    """
    students = {named(each): attempt(training, each) for each in tried}
    if len(students) < len(tried):
        raise OctoberError("tried: two attempts are the same")
    most = max((each.num_trajectories or 1 for each in students.values()), default=0)
    benches = [Bench(data, corpus, search, part, num_test, "dev") for part in folds]
    for bench in benches:
        check_first(bench, teaching.without(bench.compositions or ()), num_examples, most)
    given: dict[str, list[Trajectory]] = {name: [] for name in (ONE_SEARCH, *students)}
    for number, bench in enumerate(run.progress(benches, "folds"), start=1):
        taught = teaching.without(bench.compositions or ())
        agents, chosen = Agents(bench, agent), taught.trajectories(bench)
        given[ONE_SEARCH] += agents.read_one_search(Agent(model), taught.examples(bench, num_examples))
        for name, (settings, count) in students.items():
            tuned, kept = tuned_agent(model, chosen._replace(kept=chosen.kept[:count]), settings)
            losses = enumerate(kept.about["losses"], start=1)
            run.log({f"fold {number}, {name}, loss of step {step}": loss for step, loss in losses})
            given[name] += agents.ask(tuned, INSTRUCTED)
    first, questions = benches[0], [question for bench in benches for question in bench.questions]
    rows = [agent_row(first, name, made, questions=questions) for name, made in given.items()]
    for row, made in zip(rows, given.values(), strict=True):
        row.cells["EM over one search"] = over(first, made, given[ONE_SEARCH], questions)
        row.cells.update({**found_cell(made, questions), **by_composition(first, made, questions)})
    return Result(
        rows=rows,
        figures={"What is answered": draw_rows(run.figures, "attempts", rows, "EM")},
        fingerprints={**first.fingerprints(), model.name: model.fingerprint()},
    )


def named(changes: Changes) -> str:
    """Return changes as they are written on a command line."""
    return ", ".join(f"{name}={value}" for name, value in changes.items()) or "as they are"


def attempt(training: AgentTrainingSettings, changes: Changes) -> Attempt:
    """Return settings with some of them changed.

    Raises:
        OctoberError: One that there is not, or no number of trajectories.
    """
    known, count = {field.name for field in fields(training)}, changes.get(COUNT)
    unknown = [name for name in changes if name not in known | {COUNT}]
    if unknown:
        raise OctoberError(f"tried: there is no {unknown[0]}; allowed are {COUNT}, {', '.join(sorted(known))}")
    if count is not None and (not isinstance(count, int) or count < 1):
        raise OctoberError(f"tried: {COUNT}={count}: must be a whole number, at least 1")
    changed = {name: value for name, value in changes.items() if name != COUNT}
    return Attempt(replace(training, **changed), count)  # type: ignore[arg-type]
