"""The knowledge-intensive tasks of RA-DIT's tables, from the hub or a local folder, in the shape of `Question`.

| task | on the hub | scored by | what is asked |
|---|---|---|---|
| mmlu | cais/mmlu, all | accuracy | a question with four options |
| kilt_hotpotqa, zsre | facebook/kilt_tasks | exact match | a question |
| eli5 | facebook/kilt_tasks | ROUGE-L | a question that takes a paragraph to answer |
| fever | facebook/kilt_tasks | accuracy | a statement: SUPPORTS or REFUTES |
| aida | facebook/kilt_tasks | accuracy | a text with a marked mention, whose page is to be named |
| trex | facebook/kilt_tasks | accuracy | "entity [SEP] relation" |
| wow | facebook/kilt_tasks | F1 | turns of a dialogue, a line each |

KILT (Petroni et al. 2021) keeps the answers of its test splits, so its validation splits are the test splits here; for
development the last rows of training are put aside. What the paper calls dev is at most 2,500 rows of the former.
NaturalQuestions and TriviaQA are in `questions`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..errors import OctoberError
from .documents import Question, QuestionHandle
from .hub import Rows

Metric = Literal["exact_match", "accuracy", "rouge_l", "f1"]
_SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class ChoiceQuestion(Question):
    """A question with options, one of which is its answer.

    Attributes:
        options: In their order.
    """

    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskLayout:
    """One task: where it is, how it is scored, how a row becomes a question.

    Attributes:
        path: On the hub.
        config: On the hub.
        metric: Of an answer.
        columns: That are read.
        splits: What 'train', 'dev' and 'test' are called there; where two are the same, the first gives its last rows.
        question: Makes a question of a row and a split, without an id where the row has none.
    """

    path: str
    config: str
    metric: Metric
    columns: tuple[str, ...]
    splits: tuple[str, str, str]
    question: Callable[[Mapping[str, Any], str], Question]


class KnowledgeTask(QuestionHandle):
    """One of the tasks.

    Args:
        name: A key of `TASKS`.
        path: Another name on the hub, or a local folder in the hub's format; by default the task's own name.
        config: Another configuration; by default the task's own.
        revision: Branch, tag or commit on the hub.
        num_dev: Rows at the end of the training split that are for development, a tenth of it at most.

    Raises:
        OctoberError: No such task.
    """

    def __init__(
        self,
        name: str,
        path: str | None = None,
        config: str | None = None,
        revision: str | None = None,
        num_dev: int = 2_500,
    ) -> None:
        if name not in TASKS:
            raise OctoberError(f"data.name={name}: allowed are {', '.join(TASKS)}")
        self.name = name
        self.num_dev = num_dev
        self.layout = TASKS[name]
        self.rows = Rows(name, path or self.layout.path, config or self.layout.config, revision)

    @property
    def metric(self) -> Metric:
        """What an answer is scored by."""
        return self.layout.metric

    def check(self) -> None:
        """Raise `OctoberError` if the path is neither a folder with data files nor a name on the hub."""
        self.rows.check()

    def load(self, split: str) -> list[Question]:
        """Return the questions of 'train', 'dev' or 'test', in the task's order.

        Raises:
            OctoberError: No such split, the task cannot be reached or read, or a row has no question or no answer.
        """
        if split not in _SPLITS:
            raise OctoberError(f"{self.name}: split={split}: allowed are {', '.join(_SPLITS)}")
        splits = self.layout.splits
        source = dict(zip(_SPLITS, splits, strict=True))[split]
        table = self.rows.table(source, self.layout.columns)
        chosen = range(len(table))
        if split != "test" and splits[0] == splits[1]:
            border = len(table) - min(self.num_dev, len(table) // 10)
            chosen = range(border) if split == "train" else range(border, len(table))
        pairs = zip(chosen, self.rows.read(table.select(chosen), source), strict=True)
        return [self._checked(row, split, f"{source}:{number}") for number, row in pairs]

    def fingerprint(self) -> str:
        """Return 16 digits that identify the source."""
        return self.rows.fingerprint()

    def describe(self) -> dict[str, Any]:
        """Return what records say of the task."""
        return {"name": self.name, "path": self.rows.path, "config": self.rows.config, "revision": self.rows.revision}

    def _checked(self, row: Mapping[str, Any], split: str, number: str) -> Question:
        question = self.layout.question(row, split)
        if not question.text.strip():
            raise OctoberError(f"{self.name}: row {number}: no question")
        if not question.answers:
            raise OctoberError(f"{self.name}: row {number}: no answer to {question.text[:60]!r}")
        return replace(question, id=question.id or number)


def _kilt(kind: str) -> Callable[[Mapping[str, Any], str], Question]:
    """Return what makes a question of KILT's columns; its gold documents are the titles of the pages that tell."""

    def question(row: Mapping[str, Any], split: str) -> Question:
        outputs = list(row["output"] or [])
        answers = [output["answer"].strip() for output in outputs if (output.get("answer") or "").strip()]
        pages = [page["title"] for output in outputs for page in output.get("provenance") or [] if page.get("title")]
        text = (row["input"] or "").strip()
        return Question(
            str(row["id"] or ""), text, tuple(dict.fromkeys(answers)), kind, split, tuple(dict.fromkeys(pages))
        )

    return question


def _mmlu(row: Mapping[str, Any], split: str) -> ChoiceQuestion:
    place, options = row["answer"], tuple(row["choices"] or ())
    right = options[place : place + 1] if isinstance(place, int) and place >= 0 else ()
    return ChoiceQuestion("", row["question"] or "", right, row["subject"] or "", split, options=options)


def _kilt_layout(name: str, config: str, metric: Metric) -> TaskLayout:
    splits = ("train", "train", "validation")
    return TaskLayout("facebook/kilt_tasks", config, metric, ("id", "input", "output"), splits, _kilt(name))


TASKS: dict[str, TaskLayout] = {
    "mmlu": TaskLayout(
        path="cais/mmlu",
        config="all",
        metric="accuracy",
        columns=("question", "subject", "choices", "answer"),
        splits=("dev", "validation", "test"),  # five questions of each subject are for prompts
        question=_mmlu,
    ),
    "eli5": _kilt_layout("eli5", "eli5", "rouge_l"),
    "kilt_hotpotqa": _kilt_layout("kilt_hotpotqa", "hotpotqa", "exact_match"),
    "fever": _kilt_layout("fever", "fever", "accuracy"),
    "aida": _kilt_layout("aida", "aidayago2", "accuracy"),
    "zsre": _kilt_layout("zsre", "structured_zeroshot", "exact_match"),
    "trex": _kilt_layout("trex", "trex", "accuracy"),
    "wow": _kilt_layout("wow", "wow", "f1"),
}
