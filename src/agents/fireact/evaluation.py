"""What agents' trajectories are worth and what they took, each number with its interval over questions.

| column | of a trajectory |
|---|---|
| EM, F1 | of its answer; one that never finished has none and scores 0 |
| finished | whether it gave an answer |
| rounds, searches | steps; actions other than the answer |
| tokens read, tokens written | of the last prompt, examples included; of all replies |
| seconds, beside others | from its first prompt to its end, while others ran; left out where none was timed |
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from ...data.documents import Question
from ...errors import OctoberError
from ...evaluation import bootstrap_cell, exact_match, percent_cell, token_f1
from ...reporting import Cell
from ..react import Reward
from ..trajectory import Trajectory


def decided_f1(answer: str, answers: Sequence[str]) -> float:
    """Return F1 by HotpotQA's rule: yes and no score only where they are right."""
    return token_f1(answer, answers, decided=True)


def answer_scores(
    trajectories: Sequence[Trajectory], questions: Sequence[Question], score: Reward = exact_match
) -> Float[np.ndarray, " questions"]:
    """Return the score of each trajectory's answer; none scores 0.

    Raises:
        OctoberError: The trajectories are not those of the questions, one each, in their order.
    """
    if [each.id for each in trajectories] != [each.id for each in questions]:
        raise OctoberError("trajectories: not one for each question, in their order")
    pairs = zip(trajectories, questions, strict=True)
    return np.array([0.0 if made.answer is None else score(made.answer, asked.answers) for made, asked in pairs])


def trajectory_cells(
    trajectories: Sequence[Trajectory],
    questions: Sequence[Question],
    *,
    reward: Reward = exact_match,
    f1: Reward | None = decided_f1,
) -> dict[str, Cell]:
    """Return what a table shows of an agent.

    Args:
        trajectories: One for each question, in their order.
        questions: With the answers that are right.
        reward: What makes an answer right.
        f1: How near it is; None for tasks that are either right or wrong.

    Raises:
        OctoberError: As `answer_scores`.
    """
    cells = {"EM": percent_cell(answer_scores(trajectories, questions, reward))}
    if f1 is not None:
        cells["F1"] = percent_cell(answer_scores(trajectories, questions, f1))
    seconds = [made.cost.seconds for made in trajectories]
    timed = {"seconds, beside others": bootstrap_cell(seconds, "s")} if any(seconds) else {}
    return {
        **cells,
        "finished": percent_cell([made.answer is not None for made in trajectories]),
        "rounds": bootstrap_cell([len(made.steps) for made in trajectories]),
        "searches": bootstrap_cell([made.num_searches for made in trajectories]),
        "tool failures": bootstrap_cell([made.cost.tool_failures for made in trajectories]),
        "tokens read": bootstrap_cell([made.cost.prompt_tokens for made in trajectories]),
        "tokens written": bootstrap_cell([made.cost.generated_tokens for made in trajectories]),
        **timed,
    }
