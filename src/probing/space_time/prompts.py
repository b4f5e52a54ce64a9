"""The prompts in which entities stand: a bare name, and cues in our own words after the official code's kinds.

Every prompt is what stands before and after the entity's name. A causal model's activation of the entity's last token
cannot depend on what comes after it, so a prompt with text behind the name is read at the prompt's last token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ...errors import OctoberError
from ..prompt_tokens import Span, text_spans

Kind = Literal["place", "time"]


@dataclass(frozen=True)
class Prompt:
    """One way to put an entity before the model.

    Attributes:
        name: as the official repository calls this kind of prompt, or our own.
        before: text in front of the entity.
        after: text behind it; then the activation is read at its end.
        capitals: the entity is written in capitals.
        num_random_tokens: random token ids in front, drawn anew for each entity (`random_tokens` of `extract`).
        drop_period: a final full stop of the entity is left out.
        entities: what the official code uses this kind for; "ours" where it has none.
    """

    name: str
    before: str = ""
    after: str = ""
    capitals: bool = False
    num_random_tokens: int = 0
    drop_period: bool = False
    entities: str = "all sets"

    def fill(self, names: Sequence[str]) -> tuple[list[str], list[Span] | None]:
        """Return the texts and the entity's characters in each; None where the prompt is read at its end."""
        texts, spans = text_spans(self.before, [self._written(name) for name in names], self.after)
        return texts, None if self.after else spans

    def _written(self, name: str) -> str:
        name = name.removesuffix(".") if self.drop_period else name
        return name.upper() if self.capitals else name


_SHARED = (
    Prompt("empty"),
    Prompt("empty_all_caps", capitals=True, entities="world places, art"),
    Prompt("random", num_random_tokens=10),
)
_PLACES = (
    Prompt("coords", "The latitude and longitude of ", entities="world and US places"),
    Prompt("where_is", "Where on Earth is ", entities="NYC places"),
    Prompt("where_us", "A place in the United States: ", entities="US places"),
    Prompt("where_nyc", "A place in New York: ", entities="NYC places"),
    Prompt("sentence", "The city of ", " is located in", entities="ours"),
)
_TIMES = (
    Prompt("when", "The year of the death of ", entities="historical figures"),
    Prompt("when_all_caps", "The year of the death of ", capitals=True, entities="historical figures"),
    Prompt("release", "The year that brought ", entities="art"),
    Prompt("empty_wo_period", drop_period=True, entities="headlines"),
    Prompt("when_w_period", "From the newspaper: ", entities="headlines"),
    Prompt("when_wo_period", "From the newspaper: ", drop_period=True, entities="headlines"),
    Prompt("sentence", "", " was born in the year", entities="ours"),
)

PROMPTS: dict[Kind, dict[str, Prompt]] = {
    "place": {prompt.name: prompt for prompt in _SHARED + _PLACES},
    "time": {prompt.name: prompt for prompt in _SHARED + _TIMES},
}


def prompt_named(name: str, kind: Kind) -> Prompt:
    """Return a prompt for places or for entities with a time.

    Raises:
        OctoberError: no such prompt for this kind.
    """
    if kind not in PROMPTS:
        raise OctoberError(f"kind={kind!r} has no prompts; allowed are {', '.join(PROMPTS)}")
    if name not in PROMPTS[kind]:
        raise OctoberError(f"prompt={name!r} does not exist for a {kind}; allowed are {', '.join(PROMPTS[kind])}")
    return PROMPTS[kind][name]
