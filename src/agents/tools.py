"""What an agent can ask: tools, and the box that runs them without ever failing, hanging or flooding the agent.

A tool is anything with a name and a `run`. The box gives every call a time limit, tries again what raised or hung, with
an end, and cuts what is too long; whatever happens, the agent gets one line to read.

    box.run_all([("search", call), ...])
        search -> [attempt 1: raises] wait [attempt 2: hangs, left behind] wait [attempt 3: answer] -> one line, cut

Wrappers are tools again: `CachedTool(tool)`, and noise around it (`noise.py`).
"""

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ..errors import OctoberError

NOTHING_FOUND = "None"  # what FireAct's agents read where a search finds nothing
_LONGEST_WAIT = 30.0


class ToolCall(NamedTuple):
    """One use of a tool.

    Attributes:
        argument: What the agent wrote between the brackets.
        place: Which call this is, say the question's id and the round; what is drawn by chance depends on it, so that
            it is the same whatever else runs beside it.
    """

    argument: str
    place: str = ""


class Tool(Protocol):
    """Something an agent can use.

    `run` may be called from several threads at once. It returns the answer, None where there is none, and raises
    `RefusedArgument` for an argument that it will never take; any other error may pass, and is tried again.
    """

    @property
    def name(self) -> str:
        """What stands before the bracket."""

    @property
    def usage(self) -> str:
        """How it is called, in a few words: 'search[query]'."""

    def run(self, call: ToolCall) -> str | None:
        """Answer a call."""


class RefusedArgument(Exception):
    """An argument that a tool does not take; the message tells the agent why."""


@dataclass(frozen=True)
class ToolLimits:
    """What one call may take.

    Attributes:
        seconds: Of one attempt.
        attempts: At most.
        wait: Seconds before the second attempt; doubled before each further one, up to half a minute.
        characters: Of an answer.
        concurrent: Calls at once.
    """

    seconds: float = 30.0
    attempts: int = 3
    wait: float = 0.5
    characters: int = 600
    concurrent: int = 16

    def __post_init__(self) -> None:
        for name, least in (("attempts", 1), ("characters", 1), ("concurrent", 1), ("wait", 0)):
            if getattr(self, name) < least:
                raise OctoberError(f"tools.{name}={getattr(self, name)}: must be at least {least}")
        if not self.seconds > 0:
            raise OctoberError(f"tools.seconds={self.seconds}: must be above 0")


class ToolAnswer(NamedTuple):
    """What the agent reads.

    Attributes:
        text: One line.
        failure: Why there was no answer, after all attempts; None if there was one.
        attempts: How many it took; 0 for a tool that does not exist.
    """

    text: str
    failure: str | None = None
    attempts: int = 1


class ToolBox:
    """The tools of an agent.

    Args:
        tools: Their names differ, upper and lower case aside.
        limits: What a call may take.

    Raises:
        OctoberError: Two tools of one name, or one named 'finish'.
    """

    def __init__(self, tools: Sequence[Tool], limits: ToolLimits | None = None) -> None:
        self.tools = {tool.name.lower(): tool for tool in tools}
        if len(self.tools) != len(tools) or "finish" in self.tools:
            names = ", ".join(tool.name for tool in tools)
            raise OctoberError(f"tools={names}: names must differ, and none may be 'finish'")
        self.limits = limits or ToolLimits()

    @property
    def usage(self) -> str:
        """What an agent may write as an action."""
        return " or ".join([*(tool.usage for tool in self.tools.values()), "finish[answer]"])

    def run(self, name: str, call: ToolCall) -> ToolAnswer:
        """Answer one call, within its limits; never raises."""
        tool = self.tools.get(name.lower())
        if tool is None:
            return ToolAnswer(f"There is no {one_line(name, 40)}. Write {self.usage}.", "no such tool", 0)
        wait, failure = self.limits.wait, ""
        for attempt in range(1, self.limits.attempts + 1):
            if attempt > 1:
                time.sleep(min(wait, _LONGEST_WAIT))
                wait *= 2
            answer, failure, refused = _attempt(tool, call, self.limits.seconds)
            if not failure:
                return ToolAnswer(one_line(answer or "", self.limits.characters) or NOTHING_FOUND, None, attempt)
            if refused:
                return ToolAnswer(one_line(failure, self.limits.characters), "refused", attempt)
        told = one_line(f"Error: {name} {failure}", self.limits.characters)
        return ToolAnswer(told, failure, self.limits.attempts)

    def run_all(self, calls: Sequence[tuple[str, ToolCall]]) -> list[ToolAnswer]:
        """Answer calls of tools by name, many at once; in their order."""
        if len(calls) < 2:
            return [self.run(name, call) for name, call in calls]
        with ThreadPoolExecutor(min(len(calls), self.limits.concurrent)) as pool:
            return list(pool.map(lambda named: self.run(*named), calls))


def one_line(text: str, characters: int) -> str:
    """Return a text without line ends, cut at a word's end to so many characters, ' ...' included.

    Only as much is looked at as can be kept, so that a megabyte costs nothing.
    """
    words = " ".join(text[: 8 * characters + 8].split())
    if len(words) <= characters and len(text) <= 8 * characters + 8:
        return words
    room = characters - len(" ...")
    if room <= 0:
        return words[:characters]
    kept = words[: room + 1].rsplit(" ", 1)[0] if " " in words[: room + 1] else words[:room]
    return f"{kept[:room].rstrip()} ..."


def _attempt(tool: Tool, call: ToolCall, seconds: float) -> tuple[str | None, str, bool]:
    """Return a tool's answer, or why there is none and whether asking again is useless.

    A thread that hangs is left behind; it keeps no process from ending.
    """
    outcome: list[tuple[str | None, str, bool]] = []

    def work() -> None:
        try:
            outcome.append((_checked(tool.run(call)), "", False))
        except RefusedArgument as refusal:
            outcome.append((None, str(refusal) or "refused", True))
        except BaseException as error:  # whatever a tool raises is the agent's to read
            outcome.append((None, f"failed ({type(error).__name__}: {one_line(str(error), 200)})", False))

    thread = threading.Thread(target=work, daemon=True, name=f"tool {tool.name}")
    thread.start()
    thread.join(seconds)
    return outcome[0] if outcome else (None, f"gave no answer within {seconds:g} s", False)


def _checked(answer: object) -> str | None:
    if answer is None or isinstance(answer, str):
        return answer
    raise TypeError(f"a tool answers with text or None, not with {type(answer).__name__}")


class CachedTool:
    """A tool that is asked everything once; what failed is asked again.

    Args:
        tool: What answers.
        known: Answers from before, by argument.
        patience: Seconds for which equal calls wait for the one that asks, then one of them asks anew; less than a
            call's time limit, or those that wait end before they ask.

    Raises:
        OctoberError: The patience is not above 0.
    """

    def __init__(self, tool: Tool, known: Mapping[str, str | None] | None = None, *, patience: float = 10.0) -> None:
        if not patience > 0:
            raise OctoberError(f"tools.patience={patience}: must be above 0")
        self.tool = tool
        self.patience = patience
        self.answers: dict[str, str | None] = dict(known or {})
        self._asking: dict[str, threading.Event] = {}  # set when who asks has ended, one way or the other
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """The tool's."""
        return self.tool.name

    @property
    def usage(self) -> str:
        """The tool's."""
        return self.tool.usage

    def run(self, call: ToolCall) -> str | None:
        """Answer from memory, or ask; of equal calls at once one asks and the others wait, unless it hangs."""
        hanging = None
        while True:
            with self._lock:
                if call.argument in self.answers:
                    return self.answers[call.argument]
                asking = self._asking.get(call.argument)
                if asking is None or asking is hanging:
                    mine = self._asking[call.argument] = threading.Event()
                    break
            hanging = None if asking.wait(self.patience) else asking
        try:
            answer = self.tool.run(call)
            with self._lock:
                self.answers[call.argument] = answer
            return answer
        finally:
            with self._lock:
                if self._asking.get(call.argument) is mine:
                    del self._asking[call.argument]
            mine.set()
