from dataclasses import replace

import numpy as np
import pytest

from october.agents import Action, Step, Trajectory
from october.agents.fireact import answer_scores, decided_f1, trajectory_cells
from october.agents.trajectory import Cost
from october.data import Question
from october.errors import OctoberError


def question(name, *answers):
    return Question(name, "?", answers, "made up", "test")


def made(name, answer, searches, prompt, generated):
    steps = [Step("", Action("search", "a"), "b") for _ in range(searches)]
    steps += [Step("", Action("finish", answer))] if answer is not None else [Step("lost")]
    calls = {"tool_calls": searches, "tool_failures": searches // 2}
    cost = Cost(model_calls=9, prompt_tokens=prompt, generated_tokens=generated, **calls)
    return Trajectory(name, "?", "react", tuple(steps), answer, cost=cost)


QUESTIONS = [question("a", "the Old Town"), question("b", "yes"), question("c", "Rome", "Roma"), question("d", "no")]
GIVEN = [made("a", "Old town!", 2, 100, 30), made("b", "yes it is", 0, 50, 10), made("c", None, 3, 200, 60)]
GIVEN += [made("d", "No.", 1, 90, 20)]


def test_numbers_are_those_by_hand():
    cells = trajectory_cells(GIVEN, QUESTIONS)
    assert {name: cell.value for name, cell in cells.items()} == {
        "EM": 50.0,
        "F1": 50.0,
        "finished": 75.0,
        "rounds": np.mean([3, 1, 4, 2]),
        "searches": np.mean([2, 0, 3, 1]),
        "tool failures": np.mean([1, 0, 1, 0]),
        "tokens read": np.mean([100, 50, 200, 90]),
        "tokens written": np.mean([30, 10, 60, 20]),
    }
    assert {cell.n for cell in cells.values()} == {4}
    assert [cells[name].unit for name in ("EM", "F1", "finished", "rounds")] == ["%", "%", "%", None]
    for cell in cells.values():
        low, high = cell.interval
        assert low < cell.value < high


def test_seconds_stand_where_trajectories_were_timed():
    timed = [
        replace(each, cost=replace(each.cost, seconds=part)) for each, part in zip(GIVEN, (1, 2, 3, 6), strict=True)
    ]
    cell = trajectory_cells(timed, QUESTIONS)["seconds, beside others"]
    assert (cell.value, cell.unit, cell.n) == (3.0, "s", 4)
    assert "seconds, beside others" not in trajectory_cells(GIVEN, QUESTIONS)  # files tell of none


@pytest.mark.parametrize(
    ("answer", "right", "value"),
    [
        ("old town", "the Old Town", 1.0),
        ("the town", "Old Town", 2 / 3),
        ("old big town hall", "Old Town", 2 / 3),
        ("yes it is", "yes", 0.0),  # plain F1 would be a half
        ("no", "no way", 0.0),
        ("yes", "yes", 1.0),
        ("", "Rome", 0.0),
    ],
)
def test_f1_has_yes_and_no_right_or_wrong(answer, right, value):
    assert decided_f1(answer, [right]) == pytest.approx(value)
    assert decided_f1(answer, ["something else", right]) == pytest.approx(value)


def test_what_makes_an_answer_right_can_be_given():
    cells = trajectory_cells(
        GIVEN, QUESTIONS, reward=lambda answer, answers: float(answer.startswith(answers)), f1=None
    )
    assert "F1" not in cells
    assert cells["EM"].value == 25.0  # 'yes it is' alone
    assert list(answer_scores(GIVEN, QUESTIONS)) == [1.0, 0.0, 0.0, 1.0]


def test_others_trajectories_are_refused():
    for wrong in (GIVEN[:3], GIVEN[::-1], [*GIVEN, GIVEN[0]]):
        with pytest.raises(OctoberError, match="trajectories: not one for each question, in their order"):
            answer_scores(wrong, QUESTIONS)
