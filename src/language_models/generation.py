"""What a request for text is, how its next token is chosen, and when it is finished; the same for every decoder."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int

from .base import Completion, FinishReason
from .output_head import chosen_log_probabilities
from .sampling import next_tokens
from .stopping import StopStrings, decode_after


@dataclass
class Request:
    """One prompt's tokens and what has been generated after them."""

    prompt_ids: list[int]
    generator: torch.Generator
    token_ids: list[int] = field(default_factory=list)
    log_probabilities: list[float] = field(default_factory=list)
    finish_reason: FinishReason | None = None


class GenerationRules:
    """How the texts of one call go on and where they end.

    Args:
        tokenizer: The model's.
        end_ids: Tokens that end a text.
        stop: Strings that end a text.
        max_new_tokens: At most so many tokens each.
        temperature: 0 takes the likeliest token, above 0 samples.
        top_p: Sample from the likeliest tokens that together have this probability.
    """

    def __init__(
        self,
        tokenizer: Any,
        end_ids: Sequence[int],
        stop: Sequence[str],
        max_new_tokens: int,
        temperature: float,
        top_p: float,
    ) -> None:
        self._tokenizer = tokenizer
        self._end_ids = set(end_ids)
        self._stops = StopStrings(tokenizer, stop)
        self._max_new_tokens = max_new_tokens
        self._temperature = temperature
        self._top_p = top_p

    def append(
        self, requests: Sequence[Request], logits: Float[torch.Tensor, "requests vocabulary"]
    ) -> Int[torch.Tensor, " requests"]:
        """Choose and record each request's next token, and what it finishes."""
        tokens = next_tokens(logits, self._temperature, self._top_p, [request.generator for request in requests])
        values = chosen_log_probabilities(logits, tokens).tolist()
        for request, token, value in zip(requests, tokens.tolist(), values, strict=True):
            request.token_ids.append(token)
            request.log_probabilities.append(value)
            request.finish_reason = self._finish(request.token_ids)
        return tokens

    def completion(self, request: Request) -> Completion:
        """Return a finished request's result."""
        assert request.finish_reason is not None
        ended = request.finish_reason == "end"
        written = request.token_ids[:-1] if ended else request.token_ids
        text, stop = self._stops.cut(decode_after(self._tokenizer, request.prompt_ids[-1], written))
        return Completion(
            text=text,
            token_ids=tuple(request.token_ids),
            log_probabilities=tuple(request.log_probabilities),
            finish_reason="stop" if stop is not None else request.finish_reason,
            num_prompt_tokens=len(request.prompt_ids),
            stop=stop,
        )

    def _finish(self, token_ids: list[int]) -> FinishReason | None:
        if token_ids[-1] in self._end_ids:
            return "end"
        if self._stops.found(token_ids):
            return "stop"
        return "length" if len(token_ids) == self._max_new_tokens else None


def end_token_ids(model: Any) -> list[int]:
    """Return the tokens that end a text of a transformers model."""
    end = model.generation_config.eos_token_id
    return [token for token in (end if isinstance(end, list) else [end]) if token is not None]
