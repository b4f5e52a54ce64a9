"""Fine-tuning against prompting (Table 2): the same model, shown examples or taught by trajectories.

All questions need two searches. Their entities stand in no question that was taught, nor do their compositions: who
was taught to ask for the capital of a city's country is asked for its currency. So that all compositions can be asked,
they are parted into folds, and the questions of each are asked of a model that learned from the others' alone.
"""

from pydantic import PositiveInt

from october.agents import AgentSettings, Trajectory
from october.agents.fireact import INSTRUCTED, AgentTrainingSettings, Selection
from october.data.documents import CorpusHandle, QuestionHandle
from october.evaluation import exact_cell
from october.experiments.fireact._agents import ONE_SEARCH, Agent, Agents, prompted, tuned_agent
from october.experiments.fireact._bench import Bench, Folds, Search, Split
from october.experiments.fireact._cells import agent_row, by_composition, found_cell, left_out_cells, over, viewer
from october.experiments.fireact._systems import PROMPTED, TUNED
from october.experiments.fireact._teaching import Teaching, check_first
from october.language_models import ModelHandle
from october.reporting import Result, draw_rows
from october.run import Run


def finetuning(
    model: ModelHandle,
    data: QuestionHandle,
    corpus: CorpusHandle,
    search: Search,
    folds: Folds | None,
    teaching: Teaching,
    training: AgentTrainingSettings,
    agent: AgentSettings,
    num_test: PositiveInt | None,
    num_examples: PositiveInt,
    split: Split,
    run: Run,
) -> Result:
    """Ask a model that is shown examples, and the same model after it learned from trajectories.

    Args:
        model: Is prompted, and tuned.
        data: The questions.
        corpus: What is searched.
        search: How.
        folds: Compositions that are asked together, and taught to whoever is asked others; null asks all kinds of
            whoever learned from the teaching as it is.
        teaching: Where trajectories come from.
        training: How the model is tuned.
        agent: How far an agent may go.
        num_test: Questions of each fold; null takes all.
        num_examples: In a prompt; the tuned model sees none.
        split: Of the questions: test, or dev to choose settings by, which decides no claim.
        run: The run.
    """
    parts: list[list[str] | None] = [None] if folds is None else [*folds]
    benches = [Bench(data, corpus, search, part, num_test, split) for part in parts]
    for bench in benches:
        check_first(bench, teaching.without(bench.compositions or ()), num_examples)
    given: dict[str, list[Trajectory]] = {PROMPTED: [], ONE_SEARCH: [], TUNED: []}
    learned: list[Selection] = []
    for number, bench in enumerate(run.progress(benches, "folds"), start=1):
        taught = teaching.without(bench.compositions or ())
        agents, untuned = Agents(bench, agent), Agent(model)
        examples = taught.examples(bench, num_examples)
        given[PROMPTED] += agents.ask(untuned, prompted("react", examples, bench))
        given[ONE_SEARCH] += agents.read_one_search(untuned, examples)
        chosen = taught.trajectories(bench)
        learned.append(chosen)
        tuned, kept = tuned_agent(model, chosen, training)
        counts = {"trajectories to learn from": len(chosen.kept), **chosen.counts}
        run.log({f"fold {number}, {name}": count for name, count in counts.items()})
        run.log({f"fold {number}, loss of step {step}": loss for step, loss in enumerate(kept.about["losses"], 1)})
        given[TUNED] += agents.ask(tuned, INSTRUCTED)
    questions = [question for bench in benches for question in bench.questions]
    first = benches[0]
    published = {PROMPTED, TUNED} if run.table == "finetuning" else set()  # the other is the paper's own scale
    rows = [
        agent_row(first, name, made, name if name in published else None, questions) for name, made in given.items()
    ]
    rows[-1].cells.update({"taught": exact_cell(sum(len(each.kept) for each in learned)), **left_out_cells(*learned)})
    if folds is not None:
        for row, made in zip(rows, given.values(), strict=True):
            row.cells.update({**found_cell(made, questions), **by_composition(first, made, questions)})
    return Result(
        rows=rows,
        evidence={
            f"EM, {TUNED} over {name}": over(first, given[TUNED], given[name], questions)
            for name in (PROMPTED, ONE_SEARCH)
            if split == "test"
        },
        figures={
            "What is answered": draw_rows(run.figures, "finetuning", rows, "EM"),
            **viewer(run.figures, given, questions),
        },
        fingerprints={**first.fingerprints(), model.name: model.fingerprint()},
    )
