"""What an agent did with a question: thoughts, actions, observations, an answer; and files of such trajectories.

A trajectory says nothing of how it was made: a model that was prompted, a fine-tuned one and a script all leave the
same kind of record, so that any of them can be read, compared, filtered and trained on.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from pydantic import ConfigDict, TypeAdapter, ValidationError

from ..errors import OctoberError
from ..files import write_whole

Method = Literal["io", "cot", "react", "reflexion"]
End = Literal["finished", "max_rounds", "context"]

METHODS: tuple[str, ...] = get_args(Method)
FINISH = "finish"  # the action that gives the answer
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Action:
    """What an agent asks for: a tool by its name, or `finish`.

    Attributes:
        name: A letter, then letters, digits and underscores.
        argument: Any text, brackets and line ends included.

    Raises:
        OctoberError: The name is not one.
    """

    __pydantic_config__ = _STRICT

    name: str
    argument: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise OctoberError(f"action {self.name!r}: a name has letters, digits and underscores, a letter first")

    @property
    def is_finish(self) -> bool:
        """Whether it gives the answer."""
        return self.name.lower() == FINISH


@dataclass(frozen=True)
class Step:
    """One round.

    Attributes:
        thought: What the agent said to itself; may be empty.
        action: What it asked for; None where it wrote nothing that is an action.
        observation: What came back; None where nothing did, as after `finish`.
    """

    __pydantic_config__ = _STRICT

    thought: str
    action: Action | None = None
    observation: str | None = None


@dataclass(frozen=True)
class Cost:
    """What a trajectory took.

    Attributes:
        model_calls: Replies asked of the model.
        prompt_tokens: Of the last prompt: everything before the last reply, few-shot examples included.
        generated_tokens: In all replies; 0 where an engine does not tell.
        tool_calls: Actions that a tool answered.
        tool_failures: Those that gave no answer, after all attempts.
        seconds: From the first prompt to the end; of trajectories that run together it is not the sum.
    """

    __pydantic_config__ = _STRICT

    model_calls: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    tool_calls: int = 0
    tool_failures: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Trajectory:
    """One question and all that was done about it.

    Attributes:
        id: Names it among others: the question's id, as a rule.
        question: As it was asked.
        method: How the agent was to go about it.
        steps: In their order.
        answer: What it finished with; None if it never did.
        reward: How good the answer is, 1 at best; None where nobody judged. The agent never sees it.
        cost: What it took.
        end: Why it ended.
        problems: How often what went wrong: see `Problem` of the text format, and the tools'.
    """

    __pydantic_config__ = _STRICT

    id: str
    question: str
    method: Method
    steps: tuple[Step, ...]
    answer: str | None = None
    reward: float | None = None
    cost: Cost = Cost()
    end: End = "finished"
    problems: Mapping[str, int] = field(default_factory=dict)

    @property
    def num_searches(self) -> int:
        """Actions other than `finish`."""
        return sum(step.action is not None and not step.action.is_finish for step in self.steps)


class BadLine(NamedTuple):
    """A line that holds no trajectory.

    Attributes:
        number: Of the line, or of the row of a file that is one list; the first is 1.
        reason: Why not.
    """

    number: int
    reason: str


class ReadTrajectories(NamedTuple):
    """What a file held.

    Attributes:
        trajectories: In the file's order.
        bad: Lines that were left out.
    """

    trajectories: list[Trajectory]
    bad: list[BadLine]


def write_trajectories(path: str | Path, trajectories: Iterable[Trajectory]) -> None:
    """Write trajectories as JSONL, the whole file or none of it.

    Raises:
        OctoberError: A text that is not UTF-8, a number that is not finite, or a full disk.
    """
    write_whole(path, "".join(f"{to_line(trajectory)}\n" for trajectory in trajectories))


def read_trajectories(path: str | Path) -> ReadTrajectories:
    """Read a file of `write_trajectories`; bad lines are told, the rest is kept. Blank lines are skipped.

    Raises:
        OctoberError: The file cannot be read.
    """
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        raise OctoberError(f"{path}: cannot be read ({error.strerror})") from error
    read = ReadTrajectories([], [])
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                read.trajectories.append(from_line(line))
            except OctoberError as error:
                read.bad.append(BadLine(number, str(error)))
    return read


def to_line(trajectory: Trajectory) -> str:
    """Return a trajectory as one line of JSON; `from_line` gives back an equal one.

    Raises:
        OctoberError: A text that is not UTF-8, or a number that is not finite.
    """
    try:
        line = json.dumps(asdict(trajectory), ensure_ascii=False, allow_nan=False)
        line.encode()
    except UnicodeEncodeError as error:
        raise OctoberError(f"trajectory {trajectory.id!r}: text that is not UTF-8 (half of a pair)") from error
    except ValueError as error:
        raise OctoberError(f"trajectory {trajectory.id!r}: a reward or a time that is not a finite number") from error
    return line


def from_line(line: str | bytes) -> Trajectory:
    """Return the trajectory in a line of JSON.

    Raises:
        OctoberError: There is none; the line says why.
    """
    try:
        return _adapter().validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise OctoberError(f"{place}: {first['msg']}" if place else first["msg"]) from error
    except OctoberError as error:  # an action's name
        raise OctoberError(f"steps: {error}") from error


@cache
def _adapter() -> TypeAdapter[Trajectory]:
    return TypeAdapter(Trajectory)


def finished(id: str, question: str, method: Method, steps: Iterable[Step], **more: Any) -> Trajectory:
    """Return a trajectory whose answer is what its last step finished with; None if that did not."""
    steps = tuple(steps)
    last = steps[-1].action if steps else None
    answer = last.argument if last is not None and last.is_finish else None
    return Trajectory(id, question, method, steps, answer=answer, **more)
