"""A teacher that is a script: it knows which documents hold an answer, and searches for them as an agent would.

    ReAct      search(what comes first)   observation   search(what was found)   observation   finish
    Reflexion  search(what is asked, no name)       nothing of use   reflection, then as ReAct
    CoT        both facts as one thought            finish

What it writes stands or falls with real searches: it goes on only with what an observation says, tries the bare name
where the first query was no good, and gives up where that is none either. So every trajectory can be learnt from: each
step follows from what stands before it. Of a question over two documents it first looks for what is described there, in
the question's words, then looks up what it found, and repeats the question before its answer.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from ...data.documents import Document, Question
from ...data.people import without_disambiguation
from ...data.worldqa.baseline import PATTERNS
from ...data.worldqa.names import capitalised
from ...errors import OctoberError
from ...evaluation import exact_match
from ...evaluation.answers import contains_answer
from ..prompting import REFLECTION
from ..tools import ToolBox, ToolCall
from ..trajectory import FINISH, Action, Step, Trajectory, finished
from .descriptions import described

TaughtMethod = Literal["react", "cot", "reflexion"]

# What the first of two documents is asked for, by what the second is; the others are asked for the same in both.
_FIRST_ASKED = {"time_zone": "capital", "birth_year": "creator", "death_year": "creator", "nationality": "creator"}
_ASKED = {
    "birth_year": "year of birth",
    "border": "border countries",
    "same_country": "country",
    "death_year": "year of death",
    "neighbour": "border countries",
    "time_zone": "time zone",
    "work_year": "year",
    "atomic_number": "atomic number",
}
_FACTS = {"border": "neighbour", "same_country": "country"}


class Hop(NamedTuple):
    """One search of a plan.

    Attributes:
        name: What it is about.
        asked: What is to be known of it, in a word or two.
        sentence: That says so.
        needed: One of these must be read; empty where it is the sentence.
        sought: What is to be known, with its name.
        query: For the search.
        told: Stands before what was read.
        thought: Announces the search.
    """

    name: str
    asked: str
    sentence: str
    needed: tuple[str, ...]
    sought: str
    query: str
    told: str
    thought: str


class GivenUp(NamedTuple):
    """A question that was not answered.

    Attributes:
        question: Its id.
        reason: Why not.
    """

    question: str
    reason: str


@dataclass(frozen=True)
class Taught:
    """What the teacher wrote.

    Attributes:
        trajectories: All end with an answer, and are judged.
        given_up: What it could not answer.
    """

    trajectories: list[Trajectory]
    given_up: list[GivenUp]


class ScriptedTeacher:
    """Writes trajectories for worldqa: questions over two documents, comparisons, questions for yes or no.

    Args:
        tools: One of them is `search`.
        documents: Of the corpus; those that questions name are looked up for their titles.

    Raises:
        OctoberError: There is no search among the tools.
    """

    def __init__(self, tools: ToolBox, documents: Iterable[Document]) -> None:
        if "search" not in tools.tools:
            raise OctoberError(f"tools={', '.join(tools.tools)}: the teacher needs one named search")
        self._tools = tools
        self._titles: Mapping[str, str] = {document.id: document.title for document in documents}

    def teach(self, questions: Sequence[Question], method: TaughtMethod = "react") -> Taught:
        """Write a trajectory for each question that can be answered by searching, as `method` would."""
        taught = Taught([], [])
        for question in questions:
            try:
                steps = self._steps(question, method)
            except OctoberError as reason:
                taught.given_up.append(GivenUp(question.id, str(reason)))
                continue
            made = finished(question.id, question.text, method, steps)
            taught.trajectories.append(replace(made, reward=exact_match(made.answer or "", question.answers)))
        return taught

    def plan(self, question: Question) -> list[Hop]:
        """Return the searches that answer a question, from its gold documents.

        Raises:
            OctoberError: It is of a kind that this teacher does not know, or does not name what it is about.
        """
        sort, _, kind = question.id.partition(":")[0].partition("_")
        if question.kind not in ("bridge", "comparison", "yes_no") or sort not in ("bridge", "comparison", "yes"):
            raise OctoberError(f"questions of the kind {question.kind} are not taught")
        kind = kind.removeprefix("no_")
        if len(question.gold_documents) != len(question.gold_sentences):
            raise OctoberError("its sentences are not one for each document")
        names = [without_disambiguation(self._title(document)) for document in question.gold_documents]
        if not all(_says(question.text, [name]) for name in (names[:1] if question.kind == "bridge" else names)):
            raise OctoberError("the question does not name what it is about")
        asked = _ASKED.get(kind, kind.replace("_", " "))
        if question.kind == "bridge":
            return _one_after_the_other(question, names, _FIRST_ASKED.get(kind, "country"), asked)
        return _side_by_side(question, names, asked)

    def _title(self, document: str) -> str:
        if document not in self._titles:
            raise OctoberError(f"the corpus has no document {document}")
        return self._titles[document]

    def _steps(self, question: Question, method: TaughtMethod) -> list[Step]:
        plan = self.plan(question)
        if method == "cot":
            facts = " ".join(f"{_fact(question, hop)}." for hop in plan)
            return [_finish(f"{facts} So I know the answer.", question.answers[0])]
        steps: list[Step] = []
        thought = plan[0].thought
        if method == "reflexion":
            steps.append(self._bad_search(question, plan[0], thought))
            thought = f"{REFLECTION} I did not say of what. I search for {plan[0].name} by name."
        for place, hop in enumerate(plan):
            steps += self._search(question, hop, thought, len(steps))
            following = plan[place + 1].thought if plan[place + 1 :] else ""
            thought = f"{_fact(question, hop)}. {following}".rstrip()
        read = steps[-1].observation or ""
        answer = next((one for one in question.answers if _says(read, [one])), question.answers[0])
        return [*steps, _finish(f"{thought} So I have the answer.", answer)]

    def _search(self, question: Question, hop: Hop, thought: str, num_before: int) -> list[Step]:
        """Search until the observation says what is needed.

        Raises:
            OctoberError: It never does.
        """
        steps: list[Step] = []
        for query in (hop.query, hop.name):
            steps.append(self._step(question, thought, query, num_before + len(steps)))
            if _suffices(steps[-1].observation or "", hop):
                return steps
            thought = f"That does not tell. I search for {hop.name} alone."
        raise OctoberError(f"no search finds {hop.sought}")

    def _bad_search(self, question: Question, hop: Hop, thought: str) -> Step:
        """Search for what is asked without saying of what.

        Raises:
            OctoberError: It happens to find it.
        """
        step = self._step(question, thought, hop.asked, 0)
        if _suffices(step.observation or "", hop):
            raise OctoberError("the first query was to be bad, and was not")
        return step

    def _step(self, question: Question, thought: str, query: str, number: int) -> Step:
        answer = self._tools.run("search", ToolCall(query, f"{question.id}, step {number + 1}"))
        return Step(thought, Action("search", query), answer.text)


def _side_by_side(question: Question, names: Sequence[str], asked: str) -> list[Hop]:
    """Return a plan that asks the same of each name."""
    others = "".join(f", and that of {name}" for name in names[1:])
    thoughts = [
        f"I need the {asked} of {names[0]}{others}.",
        *(f"Now I need the {asked} of {name}." for name in names[1:]),
    ]
    return [
        Hop(
            name=name,
            asked=asked,
            sentence=sentence,
            needed=(),
            sought=f"the {asked} of {name}",
            query=f"{name} {asked}",
            told=f"The {asked} of {name} is",
            thought=thought,
        )
        for name, sentence, thought in zip(names, question.gold_sentences, thoughts, strict=True)
    ]


def _one_after_the_other(question: Question, names: Sequence[str], first_asked: str, asked: str) -> list[Hop]:
    """Return a plan of two searches, whose words come from the question and not from what is asked.

    Raises:
        OctoberError: No phrase of the question stands for what is to be found first.
    """
    first, found = names
    phrase = described(question.text, first)
    if phrase is None:
        raise OctoberError("no phrase of the question stands for what is to be found first")
    return [
        Hop(
            name=first,
            asked=first_asked,
            sentence=question.gold_sentences[0],
            needed=(found,),
            sought=phrase,
            query=phrase,
            told=f"{capitalised(phrase)} is",
            thought=f"First I need {phrase}.",
        ),
        Hop(
            name=found,
            asked=asked,
            sentence=question.gold_sentences[1],
            needed=question.answers,
            sought=f"the {asked} of {found}",
            query=f"What is known of {found}?",
            told=f"{question.text} It is",
            thought=f"So I look up {found}.",
        ),
    ]


def _fact(question: Question, hop: Hop) -> str:
    """Return what a hop told, in a few words: the value where one is found in the sentence, else the sentence."""
    if hop.needed:
        value = next((one for one in hop.needed if _says(hop.sentence, [one])), hop.needed[0])
        return f"{hop.told} {value}"
    kind = question.id.partition(":")[0].removeprefix("comparison_").removeprefix("yes_no_")
    for pattern in PATTERNS.get(_FACTS.get(kind, kind), []):
        match = re.search(pattern, hop.sentence)
        if match and kind != "border":
            return f"{hop.told} {match[1]}"
    return hop.sentence.rstrip(".")


def _suffices(observation: str, hop: Hop) -> bool:
    if hop.needed:
        return _says(observation, hop.needed)
    return " ".join(hop.sentence.split()) in observation


def _says(text: str, names: Sequence[str]) -> bool:
    return any(contains_answer(text, [name]) for name in names)


def _finish(thought: str, answer: str) -> Step:
    return Step(thought, Action(FINISH, answer))
