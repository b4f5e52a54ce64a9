"""Rows over questions, and differences between systems, question by question."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from october.agents import Trajectory, write_viewer
from october.agents.fireact import Selection, answer_scores, trajectory_cells
from october.data.documents import Question
from october.evaluation import contains_answer, exact_cell, percent_cell, points_cell
from october.experiments.fireact._bench import Bench, composition, in_turns
from october.reporting import Cell, Row
from october.reporting.store import LARGEST_KEPT_PAGE_BYTES

METHOD_NAMES = {"io": "IO", "cot": "CoT", "react": "ReAct", "reflexion": "Reflexion"}  # in tables


def agent_row(
    bench: Bench,
    name: str,
    made: Sequence[Trajectory],
    published: str | None = None,
    questions: Sequence[Question] | None = None,
) -> Row:
    """Return what a table shows of an agent.

    Args:
        bench: How answers are scored.
        name: Of the row.
        made: A trajectory for each question.
        published: The row of the paper that it stands beside.
        questions: By default the bench's.
    """
    asked = bench.questions if questions is None else questions
    cells = trajectory_cells(made, asked, reward=bench.reward, f1=bench.f1)
    return Row(name=name, cells=cells, published=published)


def scores(bench: Bench, made: Sequence[Trajectory], questions: Sequence[Question] | None = None) -> np.ndarray:
    """Return what each answer is worth; to the bench's questions by default."""
    return answer_scores(made, bench.questions if questions is None else questions, bench.reward)


def by_composition(bench: Bench, made: Sequence[Trajectory], questions: Sequence[Question]) -> dict[str, Cell]:
    """Return the exact match (%) of each composition's questions, in alphabetical order."""
    worth = scores(bench, made, questions)
    names = np.array([composition(question) for question in questions])
    return {f"EM, {name}": percent_cell(worth[names == name]) for name in sorted(set(names.tolist()))}


def found_cell(made: Sequence[Trajectory], questions: Sequence[Question]) -> dict[str, Cell]:
    """Return of how many questions (%) a search found a right answer; what is missed beyond them is misread.

    Nothing where no agent searches.
    """
    if not any(each.num_searches for each in made):
        return {}
    texts = (" ".join(step.observation or "" for step in each.steps) for each in made)
    pairs = zip(texts, questions, strict=True)
    return {"answer found": percent_cell([contains_answer(text, asked.answers) for text, asked in pairs])}


def over(
    bench: Bench,
    ours: Sequence[Trajectory],
    theirs: Sequence[Trajectory],
    questions: Sequence[Question] | None = None,
) -> Cell:
    """Return how much better the one answers questions, by default the bench's, in points of EM."""
    return points_cell(scores(bench, ours, questions), scores(bench, theirs, questions))


def left_out_cells(*chosen: Selection) -> dict[str, Cell]:
    """Return how many trajectories students were not taught: for telling of a test question, or for standing twice."""
    counts = {
        name: sum(len(each.dropped.get(reason, ())) for each in chosen)
        for name, reason in (("leaks left out", "leak"), ("duplicates left out", "duplicate"))
    }
    return {name: exact_cell(count) for name, count in counts.items()}


def viewer(folder: Path, given: Mapping[str, Sequence[Trajectory]], questions: Sequence[Question]) -> dict[str, Path]:
    """Write a page in which all trajectories of a table can be looked through; return it with its caption.

    Records keep small pages alone. Where this one is larger, a second one shows the first questions, as many as fit.

    Args:
        folder: Of the run's figures.
        given: By system.
        questions: That they are of.
    """
    answers = {question.id: question.answers for question in questions}
    page = write_viewer(folder / "trajectories.html", given, title="Trajectories", answers=answers)
    pages, count = {"All trajectories, side by side": page}, len(questions)
    while (size := page.stat().st_size) > LARGEST_KEPT_PAGE_BYTES and count > 1:
        count = min(count - 1, max(1, int(0.95 * count * LARGEST_KEPT_PAGE_BYTES / size)))
        first = {question.id for question in in_turns(questions)[:count]}
        some = {name: [each for each in made if each.id in first] for name, made in given.items()}
        title = f"Trajectories of the first {count} of {len(questions)} questions, compositions in turns"
        page = write_viewer(folder / "trajectories_sample.html", some, title=title, answers=answers)
        pages = {**pages, "Trajectories of the first questions, side by side": page}
    return pages
