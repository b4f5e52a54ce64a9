"""Questions of any task as examples in the paper's templates, and how their answers are scored."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from october.data import ChoiceQuestion
from october.data.documents import Question, QuestionHandle
from october.data.knowledge_tasks import Metric
from october.errors import OctoberError
from october.evaluation import exact_match, rouge_l, token_f1
from october.files import content_hash
from october.retrieval.ra_dit import Example, rendered

COLUMNS: Mapping[Metric, str] = {"exact_match": "EM", "accuracy": "accuracy", "rouge_l": "ROUGE-L", "f1": "F1"}
_FAMILIES = {"fever": "fever", "trex": "t_rex", "zsre": "zs_re", "aida": "aida", "wow": "wow", "eli5": "eli5"}
_VERDICTS = {"SUPPORTS": "Yes", "REFUTES": "No"}  # FEVER is asked as a question


def example_of(question: Question, task: str) -> Example:
    """Return a question of a task in its template.

    Raises:
        OctoberError: A verdict that FEVER does not know here, or as `rendered`.
    """
    if isinstance(question, ChoiceQuestion):
        return rendered("mmlu", question.text, question.answers[0], task=task, options=question.options)
    first, *others = question.answers
    fields: dict[str, Any] = {"task": task, "aliases": others}
    if task == "fever":
        if first not in _VERDICTS:
            raise OctoberError(f"{task}: answer {first!r}: allowed are {', '.join(_VERDICTS)}")
        return rendered("fever", question.text, _VERDICTS[first], options=tuple(_VERDICTS.values()), task=task)
    if task == "wow":
        turns, last = dialogue_of(question.text)
        return rendered("wow", last, first, turns=turns, **fields)
    return rendered(_FAMILIES.get(task, "open_qa"), question.text, first, **fields)


class TaskExamples:
    """Training questions of one task, of many kinds, as a model is tuned on them.

    Args:
        data: The questions.
        count: Of them.
    """

    def __init__(self, data: QuestionHandle, count: int) -> None:
        self.data = data
        self.count = count
        self.name = f"{count} examples of {data.name}"

    def check(self) -> None:
        """Raise `OctoberError` if the set has fewer, or cannot be read."""
        there = len(self.data.load("train"))
        if there < self.count:
            raise OctoberError(f"num_examples={self.count}: {self.data.name} has {there} training questions")

    def load(self) -> list[Example]:
        """Return them in their template.

        Raises:
            OctoberError: The set has fewer, or cannot be read.
        """
        self.check()
        drawn = of_many_kinds(self.data.load("train"), self.count)
        return [example_of(question, self.data.name) for question in drawn]

    def fingerprint(self) -> str:
        """Return 16 digits that change with any of them."""
        return content_hash([self.data.fingerprint(), self.count])


def dialogue_of(text: str) -> tuple[list[tuple[str, str]], str]:
    """Return the earlier turns of a dialogue, what was said and the reply, and the last, which is to be replied to.

    Args:
        text: A line each; of an even number, where the one who replies began, nothing was said before the first.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) % 2 == 0:
        lines = ["", *lines]
    return list(zip(lines[:-1:2], lines[1::2], strict=True)), lines[-1]


def metric_of(data: QuestionHandle) -> Metric:
    """Return what a task's answers are scored by: exact match unless it says otherwise."""
    return getattr(data, "metric", "exact_match")


def scores_of(answers: Sequence[str], examples: Sequence[Example], metric: Metric) -> np.ndarray:
    """Return the score of each answer, between 0 and 1."""
    pairs = zip(answers, examples, strict=True)
    return np.array([score(answer, (example.answer, *example.aliases), metric) for answer, example in pairs])


def score(answer: str, right: Sequence[str], metric: Metric) -> float:
    """Return the score of one answer; accuracy is without any normalisation, as KILT has it."""
    if metric == "accuracy":
        return float(answer.strip() in {each.strip() for each in right})
    return {"exact_match": exact_match, "rouge_l": rouge_l, "f1": token_f1}[metric](answer, right)


def of_many_kinds(questions: Sequence[Question], count: int, seed: int = 0) -> list[Question]:
    """Draw questions, of another kind each as far as there are kinds."""
    drawn = random.Random(seed).sample(list(questions), len(questions))
    earlier: Counter[str] = Counter()
    turns = []
    for question in drawn:
        turns.append(earlier[question.kind])
        earlier[question.kind] += 1
    return [question for _, question in sorted(zip(turns, drawn, strict=True), key=lambda pair: pair[0])][:count]
