"""The files that FireAct's authors released, and files in their formats for their training scripts.

| file | format | a row |
|---|---|---|
| `data/finetune/alpaca_format/*.json` | one list | `instruction` (the question), `input` (empty), `output` (steps) |
| `data/finetune/gpt_format/*.jsonl` | lines | `messages`: the question, then replies and observations in turns |
| `trajs/*.json` | one object | by the question's index: `traj` (text or messages), `gt`, `pred`, `em`, `f1`, `reward` |

What they show an agent after its last action, 'Episode finished, reward = ...', becomes a reward here and is no
observation: an agent must not learn to write it.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import OctoberError
from ...files import write_whole
from ..react_format import parse_fields, parse_reply, render_field, render_step
from ..trajectory import BadLine, Method, ReadTrajectories, Step, Trajectory, finished

_REWARD = re.compile(r"Episode finished, reward = (True|False|1|0|1\.0|0\.0)\s*")
_REFLECTION = "do a reflection"  # stands in what their agents are told after rounds without success
_WRAPPED = re.compile(r".*?### Instruction:\n(.*)\n\n### Response:\n(.*)", re.DOTALL)


class DumpedAnswer(NamedTuple):
    """The answer in a row of a dump of an evaluation.

    Attributes:
        gold: The answer that was right, normalised.
        prediction: What was finished with, normalised.
        exact_match: As the authors scored it.
        f1: As the authors scored it.
    """

    gold: str
    prediction: str
    exact_match: float
    f1: float


class ReadDump(NamedTuple):
    """What a dump held.

    Attributes:
        trajectories: In the file's order; their ids are the indices of the questions.
        answers: By the index, those of rows without a trajectory among them.
        bad: Rows without a trajectory, or without an answer.
    """

    trajectories: list[Trajectory]
    answers: dict[str, DumpedAnswer]
    bad: list[BadLine]


def method_of(steps: Sequence[Step]) -> Method:
    """Return the method that steps show: no search is CoT, a sentence of reflection Reflexion, all else ReAct."""
    if any(_REFLECTION in step.thought for step in steps):
        return "reflexion"
    return "react" if any(step.action and not step.action.is_finish for step in steps) else "cot"


def read_alpaca(path: str | Path) -> ReadTrajectories:
    """Read a file for Alpaca-style training; rows that hold no trajectory are told.

    Raises:
        OctoberError: The file cannot be read, or is not a list.
    """
    rows = _json(path)
    if not isinstance(rows, list):
        raise OctoberError(f"{path}: a list of rows is needed")
    return _read(rows, lambda row, number: _of_text(str(number), row["instruction"], row["output"]))


def read_chat(path: str | Path) -> ReadTrajectories:
    """Read a file for training with messages; lines that hold no trajectory are told. Blank lines are skipped.

    Raises:
        OctoberError: The file cannot be read.
    """
    lines = _text(path).split("\n")
    return _read(lines, lambda line, number: _of_messages(str(number), json.loads(line)["messages"]), skip="")


def read_dump(path: str | Path) -> ReadDump:
    """Read a dump of an evaluation; rows that hold no trajectory, or no scores, are told.

    Raises:
        OctoberError: The file cannot be read, or is not an object.
    """
    rows = _json(path)
    if not isinstance(rows, dict):
        raise OctoberError(f"{path}: an object with a row for each question is needed")
    read = ReadDump([], {}, [])
    for number, (index, row) in enumerate(rows.items(), start=1):
        try:
            scores = float(row["em"]), float(row["f1"])
            read.answers[index] = DumpedAnswer(str(row["gt"]), str(row["pred"]), *scores)
            read.trajectories.append(_of_dump(index, row["traj"]))
        except (OctoberError, KeyError, TypeError, ValueError) as error:
            read.bad.append(BadLine(number, _reason(error)))
    return read


def write_alpaca(path: str | Path, trajectories: Iterable[Trajectory]) -> None:
    """Write trajectories in the format of `read_alpaca`."""
    rows = [
        {
            "instruction": trajectory.question,
            "input": "",
            "output": "".join(f"{render_step(step)}\n" for step in _with_reward(trajectory)),
        }
        for trajectory in trajectories
    ]
    write_whole(path, json.dumps(rows, indent=4))


def write_chat(path: str | Path, trajectories: Iterable[Trajectory]) -> None:
    """Write trajectories in the format of `read_chat`."""
    write_whole(path, "".join(f"{json.dumps({'messages': _messages(trajectory)})}\n" for trajectory in trajectories))


def _messages(trajectory: Trajectory) -> list[dict[str, str]]:
    messages = [{"role": "user", "content": trajectory.question}]
    for step in _with_reward(trajectory):
        messages.append({"role": "assistant", "content": render_step(Step(step.thought, step.action))})
        if step.observation is not None:
            messages.append({"role": "user", "content": f"Observation: {step.observation}"})
    return messages


def _with_reward(trajectory: Trajectory) -> tuple[Step, ...]:
    """Return the steps with the reward where the authors put it."""
    if not trajectory.steps or trajectory.reward is None:
        return trajectory.steps
    last = trajectory.steps[-1]
    told = Step(last.thought, last.action, f"Episode finished, reward = {trajectory.reward == 1}")
    return (*trajectory.steps[:-1], told)


def _read(rows: list[Any], one: Callable[[Any, int], Trajectory], skip: str | None = None) -> ReadTrajectories:
    read = ReadTrajectories([], [])
    for number, row in enumerate(rows, start=1):
        if row == skip:
            continue
        try:
            read.trajectories.append(one(row, number))
        except (OctoberError, KeyError, TypeError, ValueError) as error:
            read.bad.append(BadLine(number, _reason(error)))
    return read


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"no field {error}"
    return str(error) if isinstance(error, OctoberError) else f"not a row of this format ({error})"


def _of_dump(index: str, traj: Any) -> Trajectory:
    return _of_messages(index, traj) if isinstance(traj, list) else _of_text(index, *_question_and_steps(traj))


def _question_and_steps(text: str) -> tuple[str, str]:
    """Take apart what a model was shown: the question in Alpaca's wrapper, or by itself, and then the steps."""
    wrapped = _WRAPPED.fullmatch(text)
    if wrapped:
        return wrapped[1], wrapped[2]
    question, found, steps = text.partition("\nThought:")
    if not found:
        raise OctoberError("there is no thought in it")
    return question, f"Thought:{steps}"


def _of_text(name: str, question: Any, text: Any) -> Trajectory:
    _texts({"question": question, "steps": text})
    before, fields = parse_fields(text.removesuffix("\n"))
    if before is not None and before.strip():
        raise OctoberError(f"steps begin with 'Thought:', not with {before[:30]!r}")
    turns: list[tuple[str, str | None]] = []
    for label, content in fields:
        if label == "Thought" or not turns:
            turns.append(("", None))
        reply, observation = turns[-1]
        if label == "Observation":
            turns[-1] = reply, content
        elif observation is not None or label == "Question":
            raise OctoberError(f"step {len(turns)}: {label!r} in a place where none can be")
        else:
            turns[-1] = f"{reply}\n{render_field(label, content)}".lstrip("\n"), None
    return _of_turns(name, question, turns)


def _texts(fields: Mapping[str, object]) -> None:
    """Raise `OctoberError` for the first field that is no text."""
    for name, value in fields.items():
        if not isinstance(value, str):
            raise OctoberError(f"{name}: {type(value).__name__} in place of a text")


def _of_messages(name: str, messages: Any) -> Trajectory:
    if not isinstance(messages, list):
        raise OctoberError(f"messages: {type(messages).__name__} in place of a list")
    for place, message in enumerate(messages, start=1):
        _texts({f"message {place}, {field}": message[field] for field in ("role", "content")})
    roles = [message["role"] for message in messages]
    if roles[:1] != ["user"] or roles[1::2] != ["assistant"] * len(roles[1::2]) or set(roles[2::2]) - {"user"}:
        raise OctoberError(f"messages of {', '.join(roles)}: user and assistant must take turns, the user first")
    question, *rest = (message["content"] for message in messages)
    turns: list[tuple[str, str | None]] = []
    for place, content in enumerate(rest):
        if place % 2 == 0:
            turns.append((content if content.startswith(("Thought:", "Action:")) else f"Thought: {content}", None))
        elif not content.startswith("Observation:"):
            raise OctoberError(f"message {place + 2}: an observation is needed, not {content[:30]!r}")
        else:
            turns[-1] = turns[-1][0], content.removeprefix("Observation:").removeprefix(" ")
    return _of_turns(name, question, turns)


def _of_turns(name: str, question: str, turns: Sequence[tuple[str, str | None]]) -> Trajectory:
    """Make a trajectory of replies, each with what was observed behind it."""
    if not turns:
        raise OctoberError("there are no steps in it")
    problems: dict[str, int] = {}
    steps: list[Step] = []
    reward = None
    for reply_text, observation in turns:
        reply = parse_reply(reply_text)
        for problem in reply.problems:
            problems[problem] = problems.get(problem, 0) + 1
        if steps and steps[-1].action is not None and steps[-1].action.is_finish:
            raise OctoberError(f"step {len(steps) + 1} follows the one that finished")
        told = _REWARD.fullmatch(observation or "")
        if told:
            reward, observation = float(told[1] in ("True", "1", "1.0")), None
        steps.append(Step(reply.thought, reply.action, observation))
    return finished(name, question, method_of(steps), steps, reward=reward, problems=problems)


def _json(path: str | Path) -> Any:
    try:
        return json.loads(_text(path))
    except ValueError as error:
        raise OctoberError(f"{path}: not JSON ({error})") from error


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise OctoberError(f"{path}: cannot be read ({reason})") from error
