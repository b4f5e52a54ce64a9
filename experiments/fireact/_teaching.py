"""Where trajectories to learn from come from: a script, a prompted model, or the authors' released files."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from october.agents import METHODS, AgentSettings, Trajectory, read_trajectories
from october.agents.fireact import ScriptedTeacher, Selection, read_alpaca, select_for_training
from october.agents.fireact.released_folder import AUTHORS
from october.data.documents import Question
from october.errors import OctoberError
from october.experiments.fireact._agents import Agent, Agents, prompted
from october.experiments.fireact._bench import Bench, composition, in_turns
from october.language_models import ModelHandle, ServedHandle

NONE_LEFT = "teaching.compositions: all of them are asked, and none is left to teach"


@runtime_checkable  # configs are checked by class
class Teaching(Protocol):
    """A source of trajectories."""

    def check_counts(self, bench: Bench, num_examples: int, num_trajectories: int) -> None:
        """Raise `OctoberError` if there cannot be as many trajectories to show, or to learn from; searches nothing."""

    def examples(self, bench: Bench, count: int) -> list[Trajectory]:
        """Return trajectories to show in a prompt, of development questions."""

    def trajectories(self, bench: Bench) -> Selection:
        """Return trajectories to learn from, of training questions; nothing of the test questions is told."""

    def without(self, compositions: Iterable[str]) -> "Teaching":
        """Return the same without questions of some compositions, as far as it can tell them apart."""


@dataclass(frozen=True)
class ScriptedTeaching:
    """The teacher that knows where answers stand, and searches for them as an agent would.

    Attributes:
        compositions: Of the questions that are taught.
        num_trajectories: To learn from, by method; each question is taught by one method only.
    """

    compositions: Sequence[str]
    num_trajectories: Mapping[str, int] = field(default_factory=lambda: {"react": 500})

    def __post_init__(self) -> None:
        _check_methods("num_trajectories.", self.num_trajectories)

    def check_counts(self, bench: Bench, num_examples: int, num_trajectories: int) -> None:
        """Count the questions; a teacher that gives up on some of them finds out later."""
        if num_examples:
            _check_examples(num_examples, len(bench.of("dev", self.compositions)), "development questions are there")
        if not num_trajectories:
            return
        _check_gives(num_trajectories, sum(self.num_trajectories.values()))
        left = len(bench.of("train", self.compositions))
        for method, count in self.num_trajectories.items():
            if count > left:
                raise OctoberError(too_few(method, count, left))
            left -= count

    def examples(self, bench: Bench, count: int) -> list[Trajectory]:
        """Return trajectories of development questions, of as many compositions as there are."""
        teacher = ScriptedTeacher(bench.tools(), bench.corpus.documents())
        shown: list[Trajectory] = []
        for question in in_turns(bench.of("dev", self.compositions)):
            if len(shown) == count:
                break
            shown += teacher.teach([question], "react").trajectories
        if len(shown) < count:
            raise OctoberError(f"num_examples={count}: the teacher answers {len(shown)} development questions")
        return shown

    def trajectories(self, bench: Bench) -> Selection:
        """Return trajectories of training questions, of as many compositions as there are."""
        teacher = ScriptedTeacher(bench.tools(), bench.corpus.documents())
        waiting = in_turns(bench.of("train", self.compositions))
        kept: list[Trajectory] = []
        dropped: dict[str, list[str]] = {}
        for method, count in self.num_trajectories.items():
            taken = 0
            while taken < count and waiting:
                asked, waiting = waiting[: count - taken], waiting[count - taken :]
                taught = teacher.teach(asked, method)  # type: ignore[arg-type]
                chosen = select_for_training(taught.trajectories, bench.evaluated, asked)
                kept += chosen.kept
                taken += len(chosen.kept)
                given_up = {"given up": [each.question for each in taught.given_up]}
                for reason, names in {**chosen.dropped, **given_up}.items():
                    dropped.setdefault(reason, []).extend(names)
            if taken < count:
                raise OctoberError(too_few(method, count, taken))
        return Selection(kept, dropped)

    def without(self, compositions: Iterable[str]) -> "ScriptedTeaching":
        """Return the same without questions of some compositions."""
        left = [name for name in self.compositions if name not in set(compositions)]
        if not left:
            raise OctoberError(NONE_LEFT)
        return replace(self, compositions=left)


@dataclass(frozen=True)
class PromptedTeaching:
    """A model that is shown examples, and of whose trajectories the right ones are kept (section 3).

    Attributes:
        model: The teacher (GPT-4 in the paper).
        shown: A file of trajectories to show, as `write_trajectories` leaves it.
        num_questions: Training questions that are asked by each method.
        methods: How they are asked.
        agent: How far the teacher may go.
        compositions: Of the questions; None asks all.
        untaught: Compositions that are left out all the same.
    """

    model: ModelHandle | ServedHandle
    shown: str
    num_questions: int = 500
    methods: Sequence[str] = ("react",)
    agent: AgentSettings = field(default_factory=AgentSettings)
    compositions: Sequence[str] | None = None
    untaught: Sequence[str] = ()

    def __post_init__(self) -> None:
        _check_methods("teaching.methods=", self.methods)
        if self.num_questions < 1:
            raise OctoberError(f"teaching.num_questions={self.num_questions}: must be at least 1")

    def check(self) -> None:
        """Raise `OctoberError` if there is nothing to show."""
        shown_examples(self.shown)

    def check_counts(self, bench: Bench, num_examples: int, num_trajectories: int) -> None:
        """Count what is shown, and the questions that the teacher is asked."""
        _check_examples(num_examples, len(shown_examples(self.shown)), f"trajectories are in {self.shown}")
        if num_trajectories:
            _check_gives(num_trajectories, len(self.methods) * len(self._asked(bench)))

    def examples(self, bench: Bench, count: int) -> list[Trajectory]:
        """Return the first trajectories of the file."""
        return shown_examples(self.shown)[:count]

    def trajectories(self, bench: Bench) -> Selection:
        """Ask the teacher, and keep what is right."""
        shown, agents = shown_examples(self.shown), Agents(bench, self.agent)
        asked = self._asked(bench)
        by_method = [agents.ask(Agent(self.model), prompted(name, shown, bench), asked) for name in self.methods]
        return select_for_training([made for group in by_method for made in group], bench.evaluated, asked)

    def _asked(self, bench: Bench) -> list[Question]:
        """Return the training questions that the teacher is asked."""
        taught = [each for each in bench.of("train", self.compositions) if composition(each) not in self.untaught]
        if not taught:
            raise OctoberError(NONE_LEFT)
        return taught[: self.num_questions]

    def without(self, compositions: Iterable[str]) -> "PromptedTeaching":
        """Return the same without questions of some compositions; what is shown stays as it is."""
        return replace(self, untaught=[*self.untaught, *compositions])


@dataclass(frozen=True)
class ReleasedTeaching:
    """The authors' trajectories by GPT-4.

    Attributes:
        path: A file of their `data/finetune/alpaca_format`.
        shown: A file of trajectories to show, as `write_trajectories` leaves it; None shows the first of the path.
    """

    path: str
    shown: str | None = None

    def check(self) -> None:
        """Raise `OctoberError` if a file is missing."""
        for name in ("path", "shown"):
            place = getattr(self, name)
            if place is not None and not Path(place).is_file():
                raise OctoberError(f"teaching.{name}={place}: there is no such file; {AUTHORS} has the authors' ones")

    def check_counts(self, bench: Bench, num_examples: int, num_trajectories: int) -> None:
        """Count the trajectories of the files; what is wrong or tells of the test questions drops out later."""
        made = read_alpaca(self.path).trajectories
        shown = sum(each.method == "react" for each in made) if self.shown is None else len(shown_examples(self.shown))
        _check_examples(num_examples, shown, f"trajectories are in {self.shown or self.path}")
        _check_gives(num_trajectories, len(made))

    def examples(self, bench: Bench, count: int) -> list[Trajectory]:
        """Return the first trajectories of the file to show, or of those to learn from."""
        if self.shown is not None:
            return shown_examples(self.shown)[:count]
        return [made for made in self.trajectories(bench).kept if made.method == "react"][:count]

    def trajectories(self, bench: Bench) -> Selection:
        """Return what is right in the file, and told nothing of the test questions."""
        read = read_alpaca(self.path)
        chosen = select_for_training(read.trajectories, bench.evaluated)
        return chosen._replace(dropped={**chosen.dropped, "unread": [f"row {line.number}" for line in read.bad]})

    def without(self, compositions: Iterable[str]) -> "ReleasedTeaching":
        """Return the same: its questions are not told apart."""
        return self


def _check_methods(place: str, methods: Iterable[str]) -> None:
    """Raise `OctoberError` for the first method that trajectories cannot be learned of."""
    for method in methods:
        if method not in METHODS[1:]:
            raise OctoberError(f"{place}{method}: allowed are {', '.join(METHODS[1:])}")


def check_first(bench: Bench, teaching: Teaching, num_examples: int, num_trajectories: int = 1) -> None:
    """Check, before an index is built and anything is searched or tuned, that there are enough questions.

    Args:
        bench: Of those that are asked.
        teaching: Of those that are taught, or shown.
        num_examples: That are to be shown.
        num_trajectories: That are to be learned from, at least; 0 where nothing is.

    Raises:
        OctoberError: There are not, or a composition is none of the set's.
    """
    bench.check()
    teaching.check_counts(bench, num_examples, num_trajectories)


def too_few(method: str, count: int, there: int) -> str:
    """Return that so many trajectories of a method cannot be had."""
    return f"num_trajectories.{method}={count}: only {there} questions are left to teach"


def _check_examples(count: int, there: int, what: str) -> None:
    if count > there:
        raise OctoberError(f"num_examples={count}: {there} {what}")


def _check_gives(count: int, given: int) -> None:
    if count > given:
        raise OctoberError(f"num_trajectories={count}: the teaching gives {given}")


def shown_examples(path: str | Path) -> list[Trajectory]:
    """Return the trajectories of a file, all of which must be good enough to be shown.

    Raises:
        OctoberError: The file cannot be read, is empty, or a line holds no trajectory.
    """
    read = read_trajectories(path)
    if read.bad or not read.trajectories:
        raise OctoberError(f"{path}: {f'line {read.bad[0].number}: {read.bad[0].reason}' if read.bad else 'is empty'}")
    return read.trajectories
