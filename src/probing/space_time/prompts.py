"""The prompts in which entities stand: the official code's, verbatim, and two sentences of our own.

Every prompt is what stands before and after the entity's name. A causal model's activation of the entity's last token
cannot depend on what comes after it, so a prompt with text behind the name is read at the prompt's last token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import OctoberError
from ..prompt_tokens import text_spans


@dataclass(frozen=True)
class Prompt:
    """One way to put an entity before the model.

    Attributes:
        name: as in the official repository, or our own.
        before: text in front of the entity.
        after: text behind it; then the activation is read at its end.
        capitals: the entity is written in capitals.
        random_tokens: random token ids in front, drawn anew for each entity.
        drop_period: a final full stop of the entity is left out.
        official: whether it stands in the official code.
    """

    name: str
    before: str = ""
    after: str = ""
    capitals: bool = False
    random_tokens: int = 0
    drop_period: bool = False
    official: bool = True

    def arguments(self, entities: Sequence[str]) -> dict[str, Any]:
        """Return the keyword arguments of `extract` for these entities: texts, entity_spans, random_tokens."""
        names = [self._written(entity) for entity in entities]
        texts, spans = text_spans(self.before, names, self.after)
        read_at_end = bool(self.after)
        return {"texts": texts, "entity_spans": None if read_at_end else spans, "random_tokens": self.random_tokens}

    def _written(self, entity: str) -> str:
        entity = entity.removesuffix(".") if self.drop_period else entity
        return entity.upper() if self.capitals else entity


_EMPTY = Prompt("empty")
_CAPITALS = Prompt("empty_all_caps", capitals=True)
_RANDOM = Prompt("random", random_tokens=10)
_COORDINATES = Prompt("coords", "What are the lat/lon coordinates of ")

_BY_KIND: dict[str, tuple[Prompt, ...]] = {
    "world_place": (
        _EMPTY,
        _CAPITALS,
        _RANDOM,
        _COORDINATES,
        Prompt("where_is", "Where is ", official=False),
        Prompt("sentence", "The city of ", " is located in", official=False),
    ),
    "us_place": (_EMPTY, _RANDOM, _COORDINATES, Prompt("where_us", "Where in the United States is ")),
    "nyc_place": (
        _EMPTY,
        _RANDOM,
        Prompt("where_is", "Where is "),
        Prompt("where_nyc", "Where in New York City is "),
    ),
    "historical_figure": (
        _EMPTY,
        _RANDOM,
        Prompt("when", "When did "),
        Prompt("when_all_caps", "When did ", capitals=True),
        Prompt("sentence", "", " was born in the year", official=False),
    ),
    "art": (_EMPTY, _CAPITALS, _RANDOM, Prompt("release", "When was the release date of ")),
    "headline": (
        _EMPTY,
        Prompt("empty_wo_period", drop_period=True),
        Prompt("when_w_period", "Publication date of: "),
        Prompt("when_wo_period", "Publication date of: ", drop_period=True),
    ),
}

PROMPTS: dict[str, dict[str, Prompt]] = {
    kind: {prompt.name: prompt for prompt in prompts} for kind, prompts in _BY_KIND.items()
}


def prompt(kind: str, name: str) -> Prompt:
    """Return a prompt by entity kind and name.

    Raises:
        OctoberError: no such kind, or no such prompt for it.
    """
    if kind not in PROMPTS:
        raise OctoberError(f"entity kind {kind!r} has no prompts; the kinds are {', '.join(PROMPTS)}")
    if name not in PROMPTS[kind]:
        raise OctoberError(f"prompt {name!r} does not exist for {kind}; there are {', '.join(PROMPTS[kind])}")
    return PROMPTS[kind][name]
