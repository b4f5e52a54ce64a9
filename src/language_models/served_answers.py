"""What an engine answered, turned into completions and scores; what it left out is named."""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from ..errors import OctoberError
from .base import Completion, FinishReason, Score


def completion_of(answer: dict[str, Any], stop: Sequence[str], url: str) -> Completion:
    """Return the completion in an answer of `/completions`.

    Engines tell no token ids, so `token_ids` is empty. Many say "stop" for a stop string and for the model's end token
    alike; where one does not tell which, `finish_reason` is "stop" if stop strings were asked for, and `stop` is None.

    Raises:
        OctoberError: The answer holds no completion.
    """
    choice = _choice(answer, url)
    usage = answer.get("usage") or {}
    values = (choice.get("logprobs") or {}).get("token_logprobs") or [None]
    text, found = _cut(str(choice.get("text", "")), stop)
    matched = found or _named_stop(choice, stop)
    return Completion(
        text=text,
        token_ids=(),
        log_probabilities=None if None in values else tuple(map(float, values)),
        finish_reason=_finish_reason(choice, matched, stop),
        num_prompt_tokens=int(usage.get("prompt_tokens", 0)),
        stop=matched,
    )


def score_of(answer: dict[str, Any], prompt: str, continuation: str, url: str) -> Score:
    """Return the continuation's score from an answer with `echo` and `logprobs`.

    Its tokens are those that reach beyond the prompt's last character and begin before the continuation's end.

    Raises:
        OctoberError: The engine gave no log-probabilities of the prompt.
    """
    choice = _choice(answer, url)
    logprobs = choice.get("logprobs") or {}
    tokens, values = logprobs.get("tokens"), logprobs.get("token_logprobs")
    whole = prompt + continuation
    if not tokens or not values or whole not in str(choice.get("text", "")):
        raise OctoberError(
            f"{url}: the engine does not return log-probabilities of the prompt (echo with logprobs), which scoring "
            f"needs; use an engine that does, such as vLLM, or a local model"
        )
    starts = _token_starts(tokens, logprobs.get("text_offset"), whole)
    ends = [*starts[1:], len(whole)]
    asked = [i for i in range(len(starts)) if starts[i] < len(whole) and ends[i] > len(prompt)]
    if any(values[index] is None for index in asked):
        raise OctoberError(f"{url}: the engine gives no log-probability of a text's first token; give a longer prompt")
    return Score(
        tokens=tuple(str(tokens[index]) for index in asked),
        token_ids=(),
        log_probabilities=tuple(float(values[index]) for index in asked),
        likeliest=_likeliest(logprobs.get("top_logprobs"), values, asked),
    )


def _likeliest(top: Any, values: list[Any], asked: list[int]) -> tuple[bool, ...] | None:
    """Tell which tokens no other is likelier than, from the engine's likeliest token of each place."""
    if not isinstance(top, list) or not all(len(top) > index and isinstance(top[index], dict) for index in asked):
        return None
    return tuple(float(values[index]) >= max(map(float, top[index].values()), default=-math.inf) for index in asked)


def _choice(answer: dict[str, Any], url: str) -> dict[str, Any]:
    choices = answer.get("choices")
    if not choices or not isinstance(choices[0], dict):
        raise OctoberError(f"{url}: the answer holds no completion; is this an OpenAI-compatible engine?")
    choice: dict[str, Any] = choices[0]
    return choice


def _cut(text: str, stop: Sequence[str]) -> tuple[str, str | None]:
    """Cut at a stop string that an engine left in."""
    places = [(text.find(string), string) for string in stop if string in text]
    if not places:
        return text, None
    place, string = min(places)
    return text[:place], string


def _named_stop(choice: dict[str, Any], stop: Sequence[str]) -> str | None:
    """Return the stop string that vLLM and SGLang name beside the standard fields."""
    for field in ("stop_reason", "matched_stop"):
        if choice.get(field) in stop:
            return str(choice[field])
    return None


def _finish_reason(choice: dict[str, Any], matched: str | None, stop: Sequence[str]) -> FinishReason:
    if matched is None and choice.get("finish_reason") == "length":
        return "length"
    tells_which = "stop_reason" in choice or "matched_stop" in choice
    return "stop" if matched is not None or (stop and not tells_which) else "end"


def _token_starts(tokens: Sequence[str], offsets: Sequence[int] | None, whole: str) -> list[int]:
    """Return where each token begins in the text; some engines count a start token's own name as text."""
    starts = list(offsets or accumulate(map(len, tokens[:-1]), initial=0))
    named = len(tokens[0])
    if len(starts) > 1 and not whole.startswith(tokens[0]) and starts[1] == starts[0] + named:
        starts = [0, *(start - named for start in starts[1:])]
    return starts
