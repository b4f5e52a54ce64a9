"""Which trajectories are fit to train on: correct, each once, and none about what is evaluated; the rest is reported.

FireAct keeps what ends with the right answer (section 4). The authors' own files hold failed trajectories and questions
of the development set of StrategyQA all the same, so nothing is taken for granted here.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ...data.documents import Question
from ...evaluation.answers import normalize_answer
from ..trajectory import Trajectory


class Selection(NamedTuple):
    """What is fit to train on.

    Attributes:
        kept: In their order.
        dropped: The ids of the others by the reason: 'wrong', 'unfinished', 'duplicate', 'leak'; whoever reads files or
            teaches adds its own, such as 'unread' or 'given up'.
    """

    kept: list[Trajectory]
    dropped: dict[str, list[str]]

    @property
    def counts(self) -> dict[str, int]:
        """How many were dropped for each reason."""
        return {reason: len(ids) for reason, ids in self.dropped.items()}


def select_for_training(
    trajectories: Iterable[Trajectory],
    evaluated: Sequence[Question] = (),
    asked: Sequence[Question] = (),
) -> Selection:
    """Return the trajectories that are correct, each once, and tell nothing of evaluated questions.

    Two are duplicates that have the same question, method and actions, white space, case and punctuation aside. A leak
    has the question of an evaluated one; or its own question, where it is given, has an id or a gold document of one.

    Args:
        trajectories: Judged; one without a reward counts as wrong.
        evaluated: What nothing may be learnt of.
        asked: The questions of the trajectories, found by id, where they are known.
    """
    texts = {_plain(question.text) for question in evaluated}
    names = {question.id for question in evaluated}
    documents = {document for question in evaluated for document in question.gold_documents}
    known = {question.id: question for question in asked}
    leaking = {name for name, one in known.items() if name in names or documents & set(one.gold_documents)}
    seen: Counter[tuple[str, ...]] = Counter()
    kept: list[Trajectory] = []
    dropped: dict[str, list[str]] = {"wrong": [], "unfinished": [], "duplicate": [], "leak": []}
    for trajectory in trajectories:
        key = _key(trajectory)
        if trajectory.answer is None:
            dropped["unfinished"].append(trajectory.id)
        elif trajectory.reward != 1:
            dropped["wrong"].append(trajectory.id)
        elif _plain(trajectory.question) in texts or trajectory.id in leaking:
            dropped["leak"].append(trajectory.id)
        elif seen[key]:
            dropped["duplicate"].append(trajectory.id)
        else:
            seen[key] += 1
            kept.append(trajectory)
    return Selection(kept, dropped)


def _key(trajectory: Trajectory) -> tuple[str, ...]:
    actions = [step.action for step in trajectory.steps if step.action is not None]
    names = (f"{action.name.lower()} {_plain(action.argument)}" for action in actions)
    return (_plain(trajectory.question), trajectory.method, *names)


def _plain(text: str) -> str:
    return normalize_answer(text)
