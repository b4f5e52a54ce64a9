"""The question sets of the papers, from the hub or a local folder, in the shape of `Question`.

| set | on the hub | answers | gold sentences |
|---|---|---|---|
| NaturalQuestions-open | google-research-datasets/nq_open | every annotator's | unknown |
| TriviaQA | mandarjoshi/trivia_qa, unfiltered.nocontext | the value, then its aliases | unknown |
| HotpotQA | hotpotqa/hotpot_qa, distractor or fullwiki | one | the supporting facts; gold documents are titles |
| StrategyQA | ChilleD/StrategyQA | yes or no | unknown |
| Bamboogle | chiayewken/bamboogle | one | unknown |

What the hub calls validation is the test split of the papers; of the last two it is called test. For development the
last rows of the training split are put aside: as many as dense passage retrieval (Karpukhin et al. 2020) put aside of
the first two, a tenth of the others. Bamboogle has a test split alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import OctoberError, reason_of
from .documents import Question, QuestionHandle
from .hub import Rows


@dataclass(frozen=True)
class Layout:
    """One set: where it is, what it has, how a row becomes a question.

    Attributes:
        path: On the hub.
        config: On the hub.
        columns: That are read.
        num_dev: Rows at the end of the training split that are for development; a tenth of it at most.
        question: Makes a question of a row; its id may be empty.
        text: The column of the question's text.
        train: What the training split is called there; None where there is none.
        test: What the test split is called there.
    """

    path: str
    config: str | None
    columns: tuple[str, ...]
    num_dev: int
    question: Callable[[Mapping[str, Any], str], Question]
    text: str = "question"
    train: str | None = "train"
    test: str = "validation"

    @property
    def splits(self) -> dict[str, str]:
        """What the splits are called there; 'train' and 'dev' are two parts of one."""
        training = {} if self.train is None else {"train": self.train, "dev": self.train}
        return {**training, "test": self.test}


class HubQuestions(QuestionHandle):
    """A question set in the hub's columns.

    Args:
        name: A key of `LAYOUTS`: 'natural_questions', 'triviaqa', 'hotpotqa', 'strategyqa' or 'bamboogle'.
        path: Another name on the hub, or a local folder in the hub's format; by default the set's own name.
        config: Another configuration; by default the set's own.
        revision: Branch, tag or commit on the hub.
    """

    def __init__(
        self, name: str, path: str | None = None, config: str | None = None, revision: str | None = None
    ) -> None:
        if name not in LAYOUTS:
            raise OctoberError(f"data.name={name}: allowed are {', '.join(LAYOUTS)}")
        self.name = name
        self.layout = LAYOUTS[name]
        self.rows = Rows(name, path or self.layout.path, config or self.layout.config, revision)

    def check(self) -> None:
        """Raise `OctoberError` if the path is neither a folder with data files nor a name on the hub."""
        self.rows.check()

    def load(self, split: str) -> list[Question]:
        """Return the questions of 'train', 'dev' or 'test', in the set's order.

        Raises:
            OctoberError: No such split, the set cannot be reached or read, or a row has no question, no answer, or
                lacks another field.
        """
        splits = self.layout.splits
        if split not in splits:
            raise OctoberError(f"{self.name}: split={split}: allowed are {', '.join(splits)}")
        table = self.rows.table(splits[split], self.layout.columns)
        num_train = len(table) - min(self.layout.num_dev, len(table) // 10)
        numbers = {"train": range(num_train), "dev": range(num_train, len(table)), "test": range(len(table))}[split]
        rows = self.rows.read(table.select(numbers), splits[split])
        return [self._question(row, number, split) for number, row in zip(numbers, rows, strict=True)]

    def fingerprint(self) -> str:
        """Return 16 digits that identify the source."""
        return self.rows.fingerprint()

    def describe(self) -> dict[str, Any]:
        """Return what records say of the set."""
        return {"name": self.name, "path": self.rows.path, "config": self.rows.config, "revision": self.rows.revision}

    def _question(self, row: Mapping[str, Any], number: int, split: str) -> Question:
        source, text = self.layout.splits[split], row[self.layout.text]
        where = f"{self.name}: row {number} of {source}"
        if not isinstance(text, str) or not text.strip():
            raise OctoberError(f"{where}: no question")
        try:
            question = self.layout.question(row, split)
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            missing = [column for column in self.layout.columns if row[column] is None]
            wrong = f"no {missing[0]}" if missing else f"another shape than the set's rows ({reason_of(error)})"
            raise OctoberError(f"{where}: {wrong}") from error
        if not question.answers:
            raise OctoberError(f"{where}: no answer to {text!r}")
        return question if question.id else Question(**{**vars(question), "id": f"{source}:{number}"})


def _natural_questions(row: Mapping[str, Any], split: str) -> Question:
    return Question("", row["question"], _answers(row["answer"]), "natural_questions", split)


def _triviaqa(row: Mapping[str, Any], split: str) -> Question:
    answer = row["answer"] or {}
    answers = _answers([answer.get("value"), *(answer.get("aliases") or [])])
    return Question(row["question_id"], row["question"], answers, "triviaqa", split)


def _hotpotqa(row: Mapping[str, Any], split: str) -> Question:
    answers = _answers([row["answer"]])
    facts, context = row["supporting_facts"], row["context"]
    sentences = dict(zip(context["title"], context["sentences"], strict=True))
    # In the full-wiki setting the retrieved context may lack a gold article, and some sentence numbers run over.
    gold = [
        sentences[title][number].strip()
        for title, number in zip(facts["title"], facts["sent_id"], strict=True)
        if number < len(sentences.get(title, []))
    ]
    kind = "yes_no" if answers[:1] in (("yes",), ("no",)) else row["type"]
    titles = tuple(dict.fromkeys(facts["title"]))
    return Question(row["id"], row["question"], answers, kind, split, titles, tuple(gold))


def _strategyqa(row: Mapping[str, Any], split: str) -> Question:
    answers = ("yes" if row["answer"] else "no",) if isinstance(row["answer"], bool) else ()
    return Question(row["qid"] or "", row["question"].strip(), answers, "strategyqa", split)


def _bamboogle(row: Mapping[str, Any], split: str) -> Question:
    return Question("", row["Question"].strip(), _answers([row["Answer"]]), "bamboogle", split)


def _answers(given: Any) -> tuple[str, ...]:
    """Return what is text and not empty, each once."""
    return tuple(dict.fromkeys(answer.strip() for answer in given or [] if isinstance(answer, str) and answer.strip()))


LAYOUTS: dict[str, Layout] = {
    "natural_questions": Layout(
        path="google-research-datasets/nq_open",
        config=None,
        columns=("question", "answer"),
        num_dev=8_757,
        question=_natural_questions,
    ),
    "triviaqa": Layout(
        path="mandarjoshi/trivia_qa",
        config="unfiltered.nocontext",
        columns=("question", "question_id", "answer"),
        num_dev=8_837,
        question=_triviaqa,
    ),
    "hotpotqa": Layout(
        path="hotpotqa/hotpot_qa",
        config="distractor",
        columns=("id", "question", "answer", "type", "supporting_facts", "context"),
        num_dev=9_045,
        question=_hotpotqa,
    ),
    "strategyqa": Layout(
        path="ChilleD/StrategyQA",
        config=None,
        columns=("qid", "question", "answer"),
        num_dev=160,
        question=_strategyqa,
        test="test",
    ),
    "bamboogle": Layout(
        path="chiayewken/bamboogle",
        config=None,
        columns=("Question", "Answer"),
        num_dev=0,
        question=_bamboogle,
        text="Question",
        train=None,
        test="test",
    ),
}
