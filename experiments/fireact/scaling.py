"""What is learned from how many trajectories (Figure 3): students of the first 20, 40, 80 ... of the same ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import PositiveInt

from october.agents import AgentSettings, Trajectory
from october.agents.fireact import INSTRUCTED, AgentTrainingSettings
from october.data.documents import CorpusHandle, QuestionHandle
from october.errors import OctoberError
from october.experiments.fireact._agents import Agent, Agents, prompted, tuned_agent
from october.experiments.fireact._bench import Bench, Search
from october.experiments.fireact._cells import agent_row, left_out_cells, over
from october.experiments.fireact._systems import PROMPTED
from october.experiments.fireact._teaching import Teaching, check_first
from october.language_models import ModelHandle
from october.reporting import Result, Row, line_with_band, new_figure, save_figure
from october.reporting.figures import PALETTE
from october.run import Run


def scaling(
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
    num_trajectories: list[PositiveInt],
    run: Run,
) -> Result:
    """Ask students of more and more trajectories.

    Args:
        model: As in `finetuning`, like all that is not named here.
        data: As in `finetuning`.
        corpus: As in `finetuning`.
        search: As in `finetuning`.
        compositions: Of the test questions; null takes all.
        teaching: As in `finetuning`; must give as many trajectories as the most.
        training: As in `finetuning`; few trajectories make few steps.
        agent: As in `finetuning`.
        num_test: Questions of the table; null takes all.
        num_examples: As in `finetuning`.
        num_trajectories: That a student learns from, the first ones each time.
        run: The run.
    """
    counts = sorted(set(num_trajectories))
    if len(counts) < 2:
        raise OctoberError(f"num_trajectories={counts}: give at least two numbers, or nothing is compared")
    bench = Bench(data, corpus, search, compositions, num_test)
    check_first(bench, teaching, num_examples, counts[-1])
    agents, chosen = Agents(bench, agent), teaching.trajectories(bench)
    if len(chosen.kept) < counts[-1]:
        raise OctoberError(f"num_trajectories={counts[-1]}: the teaching gives {len(chosen.kept)}")
    shown = prompted("react", teaching.examples(bench, num_examples), bench)
    untaught = agents.ask(Agent(model), shown)
    given: dict[int, Sequence[Trajectory]] = {}
    for count in run.progress(counts, "students"):
        tuned, _ = tuned_agent(model, chosen._replace(kept=chosen.kept[:count]), training)
        given[count] = agents.ask(tuned, INSTRUCTED)
    students = {count: agent_row(bench, f"{count} trajectories", made) for count, made in given.items()}
    if counts[-1] == len(chosen.kept):
        students[counts[-1]].cells.update(left_out_cells(chosen))
    baseline = agent_row(bench, PROMPTED, untaught)
    most, fewest, before = given[counts[-1]], given[counts[0]], given[counts[-2]]
    return Result(
        rows=[baseline, *students.values()],
        evidence={
            "EM, most over fewest trajectories": over(bench, most, fewest),
            "EM, most over next to most trajectories": over(bench, most, before),
            "EM, fewest trajectories over prompted": over(bench, fewest, untaught),
        },
        figures={"What is answered by the number of trajectories": drawn(run.figures, students, baseline)},
        fingerprints={**bench.fingerprints(), model.name: model.fingerprint()},
    )


def drawn(folder: Path, students: Mapping[int, Row], baseline: Row) -> Path:
    """Draw EM against the number of trajectories, and the prompted model's as a level; return the picture's file."""
    figure, (axes,) = new_figure()
    cells = [row.cells["EM"] for row in students.values()]
    low, high = zip(*(cell.bounds for cell in cells), strict=True)
    line_with_band(axes, list(students), [float(cell.value or 0) for cell in cells], low, high, "FireAct, fine-tuned")
    axes.axhline(float(baseline.cells["EM"].value or 0), color=PALETTE[1], linestyle="--", label=baseline.name)
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(students), [str(count) for count in students])
    axes.set(xlabel="trajectories", ylabel="EM (%)")
    axes.legend()
    return save_figure(figure, folder, "scaling")
