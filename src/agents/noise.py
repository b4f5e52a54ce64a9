"""Tools that fail at times, to see how agents bear it (FireAct, table 3): no answer, or one to another question.

Whether a call fails depends on the seed, the call's place and its argument alone, not on what runs beside it; the same
call fails under all probabilities above some value, so that runs at two probabilities differ in few calls.
"""

import hashlib
from typing import Protocol

from ..errors import OctoberError
from .search import numbered
from .tools import NOTHING_FOUND, Tool, ToolCall


class Texts(Protocol):
    """Texts by number: a list, or `PassageTexts`."""

    def __len__(self) -> int:
        """Return how many there are."""

    def __getitem__(self, place: int) -> str:
        """Return one of them."""


class NoAnswer:
    """A tool that finds nothing with a probability.

    Args:
        tool: Answers otherwise.
        probability: From 0 to 1.
        seed: Of the chances.

    Raises:
        OctoberError: The probability is none.
    """

    def __init__(self, tool: Tool, probability: float, seed: int = 0) -> None:
        if not 0 <= probability <= 1:
            raise OctoberError(f"noise.probability={probability}: must be from 0 to 1")
        self.tool = tool
        self.probability = probability
        self.seed = seed

    @property
    def name(self) -> str:
        """The tool's."""
        return self.tool.name

    @property
    def usage(self) -> str:
        """The tool's."""
        return self.tool.usage

    def run(self, call: ToolCall) -> str | None:
        """Answer, or do not."""
        if chance(self.seed, "fails", call) < self.probability:
            return self.instead(call)
        return self.tool.run(call)

    def instead(self, call: ToolCall) -> str:
        """Return what the agent reads in place of the answer."""
        return NOTHING_FOUND


class RandomAnswer(NoAnswer):
    """A tool that answers with random texts, with a probability; by its form nobody can tell such an answer.

    Args:
        tool: Answers otherwise.
        probability: From 0 to 1.
        texts: What it draws from.
        seed: Of the chances; calls fail as with `NoAnswer` of the same seed.
        k: Texts of an answer, no two of them the same; as many as `SearchTool` gives.

    Raises:
        OctoberError: The probability is none, or there are fewer texts than an answer has, or `k` is below 1.
    """

    def __init__(self, tool: Tool, probability: float, texts: Texts, seed: int = 0, *, k: int = 1) -> None:
        super().__init__(tool, probability, seed)
        if not 1 <= k <= len(texts):
            raise OctoberError(f"noise.k={k}: must be from 1 to the {len(texts)} texts that there are to draw from")
        self.texts = texts
        self.k = k

    def instead(self, call: ToolCall) -> str:
        """Return random texts, numbered as a search's are."""
        left, drawn = len(self.texts), list[int]()
        for number in range(self.k):
            place = int(chance(self.seed, f"text {number}" if number else "text", call) * left)
            for earlier in sorted(drawn):  # places count those that are left
                place += place >= earlier
            drawn.append(place)
            left -= 1
        return numbered([self.texts[place] for place in drawn])


def chance(seed: int, purpose: str, call: ToolCall) -> float:
    """Return a number from [0, 1) that depends on these alone, evenly spread over calls."""
    key = "\x1f".join([str(seed), purpose, call.place, call.argument])
    return int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:6], "big") / 2**48
