r"""The text of a trajectory (ReAct, Yao et al. 2023; one format for all methods in FireAct, section 3), there and back.

    Question: Who was born first, ...
    Thought: I need the two dates.
    Action: search[date of birth of ...]
    Observation: 24 November 1908
    Thought: ...
    Action: finish[Aleksander Ford]

Any text can stand in any place and comes back as it was: a further line that begins like one of the four labels gets a
space in front (and one that has spaces there, one more); an argument is written as it is wherever it is read back as
it was, which holds for every argument whose brackets match; else its brackets and backslashes get a backslash.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from ..errors import OctoberError
from .trajectory import Action, Step

Label = Literal["Question", "Thought", "Action", "Observation"]
Problem = Literal[
    "no_action", "malformed_action", "several_actions", "trailing_text", "invented_observation", "invented_question"
]

_LABELS = "Question|Thought|Action|Observation"
_LABEL = re.compile(rf"({_LABELS}):( ?)")
_QUOTED = re.compile(rf" *(?:{_LABELS}):")
_ACTION = re.compile(r"\s*([A-Za-z_]\w*)[ \t]*\[", re.ASCII)
_ANOTHER = re.compile(  # 'see [1]' is none, 'finish [x]' is one: of words that are no tools the bracket stands close
    r"[A-Za-z_]\w*\[|\b(?:search|lookup|calculate|finish)[ \t]+\[", re.ASCII | re.IGNORECASE
)
_BRACKET = re.compile(r"\\[\\\[\]]|[\[\]]")  # an escaped character, or a bracket


class Field(NamedTuple):
    """A label and what stands behind it, up to the next one."""

    label: Label
    text: str


@dataclass(frozen=True)
class Reply:
    """What counts of a model's reply.

    Attributes:
        thought: May be empty.
        action: The first one; None if that is malformed or there is none.
        problems: What was wrong with the reply, each kind once.
    """

    thought: str
    action: Action | None
    problems: tuple[Problem, ...] = ()


def render_field(label: Label, text: str) -> str:
    """Return a label and a text behind it, such that `parse_fields` gives the text back."""
    first, *others = text.split("\n")
    body = "\n".join([first, *(f" {line}" if _QUOTED.match(line) else line for line in others)])
    return f"{label}: {body}" if body else f"{label}:"


def render_action(action: Action) -> str:
    """Return `name[argument]`, the argument as it is where that is unambiguous."""
    plain = f"{action.name}[{action.argument}]"
    if _read_action(plain) == (action, len(plain)):
        return plain
    escaped = re.sub(r"([\\\[\]])", r"\\\1", action.argument)
    return f"{action.name}[{escaped}]"


def render_step(step: Step) -> str:
    """Return a step's lines, without a line end behind the last."""
    lines = [render_field("Thought", step.thought)]
    if step.action is not None:
        lines.append(render_field("Action", render_action(step.action)))
    if step.observation is not None:
        lines.append(render_field("Observation", step.observation))
    return "\n".join(lines)


def render_trajectory(question: str, steps: Iterable[Step]) -> str:
    """Return the lines of a question and of what was done about it, without a line end behind the last."""
    return "\n".join([render_field("Question", question), *map(render_step, steps)])


def parse_trajectory(text: str) -> tuple[str, tuple[Step, ...]]:
    """Return the question and the steps of a text that `render_trajectory` wrote, or that keeps to its format.

    Raises:
        OctoberError: The text does not; nothing is guessed. The line says where.
    """
    before, fields = parse_fields(text)
    if before is not None or not fields or fields[0].label != "Question":
        raise OctoberError(f"a trajectory begins with 'Question:', not with {text[:30]!r}")
    if any(part.label == "Question" for part in fields[1:]):
        raise OctoberError("a trajectory has one question, this one has several")
    return fields[0].text, parse_steps(fields[1:])


def parse_steps(fields: Sequence[Field]) -> tuple[Step, ...]:
    """Return the steps that fields make: each a thought, then an action if there is one, then its observation.

    Raises:
        OctoberError: The fields come in another order, or an action is malformed.
    """
    steps: list[Step] = []
    for place, (label, text) in enumerate(fields):
        previous = fields[place - 1].label if place else None
        if label == "Thought":
            steps.append(Step(text))
        elif label == "Action" and previous == "Thought":
            steps[-1] = Step(steps[-1].thought, _strict_action(text, len(steps)))
        elif label == "Observation" and previous in ("Thought", "Action"):
            steps[-1] = Step(steps[-1].thought, steps[-1].action, text)
        else:
            raise OctoberError(f"step {len(steps)}: {label!r} follows {previous or 'the question'!r}")
    return tuple(steps)


def parse_fields(text: str) -> tuple[str | None, list[Field]]:
    """Return what stands before the first label (None if nothing does) and each label with its text."""
    before: list[str] = []
    found: list[tuple[Label, list[str]]] = []
    for line in text.split("\n"):
        match = _LABEL.match(line)
        if match:
            found.append((match[1], [line[match.end() :]]))  # type: ignore[arg-type]
        else:
            (found[-1][1] if found else before).append(line[1:] if _QUOTED.match(line) else line)
    return "\n".join(before) if before else None, [Field(label, "\n".join(lines)) for label, lines in found]


def parse_reply(text: str) -> Reply:
    """Read what a model wrote; only what stands before its first mistake counts, and its mistakes are told.

    The thought is all that stands before the first action. An observation or a question in the reply is the model's
    invention: it and all behind it are left out. Of several actions the first counts. What follows an action on its
    line, or below it, is left out.

    Args:
        text: From the label on that the model was to go on from ('Thought:', or 'Thought: ...' and 'Action:').
    """
    before, fields = parse_fields(text)
    thoughts, problems = [] if before is None else [before], list[Problem]()
    for place, (label, content) in enumerate(fields):
        if label == "Thought":
            thoughts.append(content)
        elif label == "Action":
            action, more = _lenient_action(content)
            problems += more + _after_action(fields[place + 1 :])
            return Reply(_thought(thoughts), action, tuple(dict.fromkeys(problems)))
        else:
            problems.append("invented_observation" if label == "Observation" else "invented_question")
            break
    return Reply(_thought(thoughts), None, (*dict.fromkeys(problems), "no_action"))


def _thought(parts: list[str]) -> str:
    """Join the lines before an action; line ends behind them are no part of the thought."""
    return "\n".join(parts).rstrip("\n")


def _strict_action(text: str, step: int) -> Action:
    read = _read_action(text)
    if read is None or read[1] != len(text):
        raise OctoberError(f"step {step}: {text[:60]!r} is not an action; it would be name[argument]")
    return read[0]


def _lenient_action(text: str) -> tuple[Action | None, list[Problem]]:
    read = _read_action(text)
    if read is None:
        return None, ["malformed_action"]
    rest = text[read[1] :]
    if _ANOTHER.search(rest):
        return read[0], ["several_actions"]
    return read[0], ["trailing_text"] if rest.strip() else []


def _after_action(fields: Sequence[Field]) -> list[Problem]:
    """Tell what a reply holds behind its action."""
    problems: dict[Label, Problem] = {
        "Observation": "invented_observation",
        "Question": "invented_question",
        "Action": "several_actions",
        "Thought": "trailing_text",
    }
    return [problems[part.label] for part in fields]


def _read_action(text: str) -> tuple[Action, int] | None:
    """Return the action at a text's beginning and where it ends."""
    match = _ACTION.match(text)
    end = None if match is None else _closing(text, match.end())
    if match is None or end is None:
        return None
    argument = re.sub(r"\\([\\\[\]])", r"\1", text[match.end() : end])
    return Action(match[1], argument), end + 1


def _closing(text: str, start: int) -> int | None:
    """Return the place of the bracket that closes an argument, or None.

    It is the one that matches, on the first line if it stands there. Where more is closed on that line than was opened
    ('search[smile :] face]'), it is the last such bracket, unless another action begins in between; where less is,
    and the line ends with a bracket ('search[a [b]'), that one.
    """
    line_end = text.find("\n", start)
    line_end = len(text) if line_end < 0 else line_end
    unmatched = _unmatched(text, start, line_end)
    if unmatched:
        between = text[unmatched[0] : unmatched[-1]]
        return unmatched[0] if _ANOTHER.search(between) else unmatched[-1]
    line = text[start:line_end].rstrip()
    brackets = list(_BRACKET.finditer(line))
    if brackets and brackets[-1][0] == "]" and brackets[-1].end() == len(line):
        return start + len(line) - 1
    return next(iter(_unmatched(text, start, len(text))), None)


def _unmatched(text: str, start: int, stop: int) -> list[int]:
    """Return the places of brackets that close more than was opened since `start`."""
    depth, places = 0, []
    for match in _BRACKET.finditer(text, start, stop):
        if match[0] == "[":
            depth += 1
        elif match[0] == "]":
            depth -= 1
            if depth < 0:
                places.append(match.start())
                depth = 0
    return places
