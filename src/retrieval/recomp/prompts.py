"""How a frozen language model is asked a question (section 4): examples, then evidence, then the question.

The examples come first and hold no documents, so that all prompts of a run begin with the same tokens, which a model
encodes once.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ...data.documents import Question
from ...errors import OctoberError, check_text

Style = Literal["base", "instruct"]

_TASK = "Answer the last question in a few words, as in the examples. Use the background where it helps.\n\n"


@dataclass(frozen=True)
class Demonstration:
    """A question with its answer, shown before the one that is asked."""

    question: str
    answer: str


@dataclass(frozen=True)
class QuestionPrompt:
    """Makes the prompts of one run.

    Attributes:
        demonstrations: The examples; five in the paper.
        style: `base` for a model that continues text, `instruct` puts the task before the examples.
    """

    demonstrations: tuple[Demonstration, ...]
    style: Style = "base"

    stop = ("\n",)

    @property
    def prefix(self) -> str:
        """What every prompt begins with."""
        shown = "".join(f"Question: {shown.question}\nAnswer: {shown.answer}\n\n" for shown in self.demonstrations)
        return (_TASK if self.style == "instruct" else "") + shown

    def prompt(self, question: str, evidence: str = "") -> str:
        """Return the text after which the model writes the answer; without evidence none is announced.

        Raises:
            OctoberError: The question is empty or not UTF-8 text, or the evidence is not.
        """
        check_text(question, "question")
        check_text(evidence, "evidence")
        if not question.strip():
            raise OctoberError("question is empty: there is nothing to ask")
        background = f"Background: {evidence}\n" if evidence else ""
        return f"{self.prefix}{background}Question: {question}\nAnswer:"

    @staticmethod
    def continuation(answer: str) -> str:
        """Return an answer as it follows a prompt."""
        return f" {answer}"


def sampled_demonstrations(questions: Sequence[Question], count: int, seed: int = 0) -> tuple[Demonstration, ...]:
    """Return random questions with their canonical answers, the same for one seed.

    Raises:
        OctoberError: There are fewer questions than that.
    """
    if not 0 <= count <= len(questions):
        raise OctoberError(f"count={count}: must be from 0 to the {len(questions)} questions to choose from")
    chosen = random.Random(seed).sample(list(questions), count)
    return tuple(Demonstration(question.text, question.answers[0]) for question in chosen)
