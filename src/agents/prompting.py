"""How a model is shown what to do: one format for ReAct, CoT and Reflexion, and questions with answers (IO).

| method | examples | what the model writes |
|---|---|---|
| `io` | Question, Answer | the answer, on one line |
| `cot` | Question, Thought, Action: finish[...] | one thought, then the answer |
| `react` | Question, then Thought, Action, Observation in turns | thoughts and actions (Yao et al. 2023) |
| `reflexion` | as `react` | the same; after some rounds without success its thought begins with a reflection |

In FireAct (section 4) Reflexion needs nobody who knows the right answer: what is tried anew is what has not ended.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..errors import OctoberError
from .react_format import render_field, render_step
from .trajectory import FINISH, METHODS, Method, Trajectory

REFLECTION = "That has not led to an answer, so let me do a reflection: what went wrong, and what could I try instead?"
REFLECTION_ROUNDS = (6, 10)  # as the authors gave them


@dataclass(frozen=True)
class Prompting:
    """What stands before and around a question.

    Attributes:
        method: How the model is to go about it.
        prefix: What all questions share: instructions and examples. A fine-tuned model needs none.
        before_question: What stands right before the question.
        after_question: What stands right after it.
        reflection: What a thought begins with in a round of reflection.
        reflection_rounds: Which rounds those are; the first round is 1. For `reflexion` only.

    Raises:
        OctoberError: An unknown method, or rounds of reflection for another than `reflexion`.
    """

    method: Method
    prefix: str = ""
    before_question: str = "Question: "
    after_question: str = "\n"
    reflection: str = REFLECTION
    reflection_rounds: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise OctoberError(f"method={self.method}: must be one of {', '.join(METHODS)}")
        if self.reflection_rounds and self.method != "reflexion":
            raise OctoberError(f"reflection_rounds={self.reflection_rounds}: for method=reflexion, not {self.method}")

    def question(self, text: str) -> str:
        """Return a question as it is asked, behind the prefix."""
        return f"{self.before_question}{render_field('Question', text)[len('Question:') :].removeprefix(' ')}" + (
            self.after_question
        )

    def opening(self, round_number: int) -> str:
        """Return what the model goes on from in a round; the first is 1."""
        if self.method == "io":
            return "Answer:"
        return f"Thought: {self.reflection}" if round_number in self.reflection_rounds else "Thought:"


def few_shot(
    method: Method, examples: Sequence[Trajectory] = (), instruction: str = "", *, usage: str = "search[query]"
) -> Prompting:
    """Return a prompt made of trajectories.

    Args:
        method: What is shown of them: of `io` the answers, of `cot` the last thoughts, of the others all.
        examples: Each with an answer.
        instruction: Stands first; a plain one if empty.
        usage: The tools, as `ToolBox.usage` tells them.

    Raises:
        OctoberError: An example that never answers.
    """
    for example in examples:
        if example.answer is None:
            raise OctoberError(f"example {example.id!r} has no answer: only those that finished can be shown")
    rounds = REFLECTION_ROUNDS if method == "reflexion" else ()
    prompting = Prompting(method, reflection_rounds=rounds)
    shown = [prompting.question(example.question) + _shown(method, example) for example in examples]
    prefix = "\n\n".join([instruction or _instruction(method, usage), *shown]) + "\n\n"
    return replace(prompting, prefix=prefix)


def _shown(method: Method, example: Trajectory) -> str:
    if method == "io":
        return f"Answer: {' '.join(str(example.answer).split())}"
    steps = [step for step in example.steps if step.action is not None and step.action.is_finish]
    return "\n".join(map(render_step, steps if method == "cot" else example.steps))


def _instruction(method: Method, usage: str) -> str:
    if method == "io":
        return "Answer each question briefly."
    if method == "cot":
        return "Think about each question in a Thought, then answer it briefly with the Action finish[answer]."
    tools = usage.removesuffix(f" or {FINISH}[answer]")
    return (
        "Answer each question by turns of Thought, Action and Observation. A Thought says what is known and what to do "
        f"next. An Action is {tools}, whose result is the Observation, or {FINISH}[answer], which ends with a brief "
        "answer. A result may not hold what was looked for; then ask for something else."
    )
