"""A `LanguageModel` in the form that the `lm-eval` engine asks; imported only where the engine is installed."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM

from ..errors import OctoberError
from ..language_models import LanguageModel

_DEFAULT_NEW_TOKENS = 256  # where a task does not say
_KNOWN = {"until", "max_gen_toks", "do_sample", "temperature", "top_p"}


class HarnessModel(LM):
    """Answers the engine's requests, all those of a kind in one call."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Return each continuation's log-probability, and whether a greedy model would write it."""
        pairs = [request.args for request in requests]
        scores = self.model.score([context for context, _ in pairs], [continuation for _, continuation in pairs])
        return [(score.total, score.likeliest is not None and all(score.likeliest)) for score in scores]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Return each text's log-probability after the start token; one longer than the model's context is refused."""
        texts = [request.args[0] for request in requests]
        return [score.total for score in self.model.score([""] * len(texts), texts)]

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Return each context's continuation, cut before the first of the task's stop strings."""
        texts = [""] * len(requests)
        for settings, places in _by_settings(requests).items():
            contexts = [requests[place].args[0] for place in places]
            completions = self.model.generate(contexts, **dict(settings))
            for place, completion in zip(places, completions, strict=True):
                texts[place] = completion.text
        return texts


def _by_settings(requests: Sequence[Instance]) -> dict[tuple[tuple[str, Any], ...], list[int]]:
    """Group requests by how their text is to be generated."""
    groups: dict[tuple[tuple[str, Any], ...], list[int]] = defaultdict(list)
    for place, request in enumerate(requests):
        groups[_settings(request.args[1])].append(place)
    return groups


def _settings(asked: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Return the engine's settings as those of `LanguageModel.generate`.

    Raises:
        OctoberError: A setting that is not known here.
    """
    unknown = sorted(set(asked) - _KNOWN)
    if unknown:
        raise OctoberError(f"generation setting {unknown[0]}={asked[unknown[0]]}: must be one of {sorted(_KNOWN)}")
    until = asked.get("until", [])
    samples = asked.get("do_sample", bool(asked.get("temperature")))
    return (
        ("max_new_tokens", int(asked.get("max_gen_toks", _DEFAULT_NEW_TOKENS))),
        ("stop", tuple([until] if isinstance(until, str) else until)),
        ("temperature", float(asked.get("temperature", 1.0)) if samples else 0.0),
        ("top_p", float(asked.get("top_p", 1.0))),
    )
