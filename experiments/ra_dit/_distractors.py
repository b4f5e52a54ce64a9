"""Questions with the passage that tells, and passages that were found for them and do not tell."""

from collections.abc import Sequence
from typing import NamedTuple

from october.data.documents import Question
from october.evaluation import contains_answer
from october.experiments.ra_dit._bench import Asked, Bench, is_gold
from october.retrieval import Passage
from october.retrieval.ra_dit import Example
from october.retrieval.ra_dit.question_instructions import gold_passages

_DEEPER = 4  # times as many passages are looked through as distractors are wanted


class Told(NamedTuple):
    """A question about one document, with its passages.

    Attributes:
        example: The question in its template.
        gold: The passage that holds the gold sentence.
        distractors: Of other documents, most similar to the question first; none holds an answer.
    """

    example: Example
    gold: Passage
    distractors: tuple[Passage, ...]


def told(bench: Bench, num_distractors: int) -> list[Told]:
    """Return those test questions about one document for which there are so many distractors."""
    pairs = zip(bench.questions, bench.examples, strict=True)
    single = [pair for pair in pairs if len(pair[0].gold_documents) == 1 and pair[0].kind != "yes_no"]
    golden = gold_passages([question for question, _ in single], bench.corpus, bench.retrieval.words)
    depth = _DEEPER * num_distractors
    hits = bench.retriever().search([example.query for _, example in single], depth)
    found = []
    for (question, example), row in zip(single, hits, strict=True):
        others = distracting(question, [hit.passage for hit in row])[:num_distractors]
        if len(others) == num_distractors:
            found.append(Told(example, golden[question.id][0], tuple(others)))
    return found


def distracting(question: Question, passages: Sequence[Passage]) -> list[Passage]:
    """Return the passages of other documents that do not hold an answer."""
    others = [passage for passage in passages if not is_gold(passage, question)]
    return [passage for passage in others if not contains_answer(passage.titled_text, question.answers)]


def as_asked(questions: Sequence[Told], *, gold: bool, distractors: bool) -> Asked:
    """Return questions with some of their passages, all of one weight; the gold one stands first, where it is."""
    passages = [
        ((question.gold,) if gold else ()) + (question.distractors if distractors else ()) for question in questions
    ]
    return Asked([question.example for question in questions], passages, [(0.0,) * len(row) for row in passages])
