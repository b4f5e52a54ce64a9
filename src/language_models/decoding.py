"""The token loop of a batch: rows leave as they finish, the cache shrinks with them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from .base import Completion, FinishReason
from .output_head import chosen_log_probabilities
from .prefix_cache import PrefixCache
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


class Decoding:
    """Generates for batches of requests with the same settings."""

    def __init__(self, model: Any, stops: StopStrings, max_new_tokens: int, temperature: float, top_p: float) -> None:
        self._model = model
        self._stops = stops
        self._max_new_tokens = max_new_tokens
        self._temperature = temperature
        self._top_p = top_p
        end = model.generation_config.eos_token_id
        self._end_ids = set(end if isinstance(end, list) else [end]) - {None}

    def run(self, requests: Sequence[Request], prefix: PrefixCache, bar: Any) -> None:
        """Generate until every request is finished; `bar` counts those that are."""
        active = list(requests)
        input_ids, mask, positions, cache = self._prompt_inputs(active, prefix)
        while active:
            logits = self._model(
                input_ids=input_ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
            tokens = self._append(active, logits)
            keep = [row for row, request in enumerate(active) if request.finish_reason is None]
            bar.update(len(active) - len(keep))
            input_ids, mask, positions = tokens[:, None], _one_more(mask), positions[:, -1:] + 1
            if 0 < len(keep) < len(active):
                rows = torch.tensor(keep, device=mask.device)
                input_ids, mask, positions = input_ids[rows], mask[rows], positions[rows]
                cache.batch_select_indices(rows)
            active = [active[row] for row in keep]

    def completion(self, request: Request, tokenizer: Any) -> Completion:
        """Return a finished request's result."""
        assert request.finish_reason is not None
        ended = request.finish_reason == "end"
        written = request.token_ids[:-1] if ended else request.token_ids
        text, stop = self._stops.cut(decode_after(tokenizer, request.prompt_ids[-1], written))
        return Completion(
            text=text,
            token_ids=tuple(request.token_ids),
            log_probabilities=tuple(request.log_probabilities),
            finish_reason="stop" if stop is not None else request.finish_reason,
            num_prompt_tokens=len(request.prompt_ids),
            stop=stop,
        )

    def _append(self, active: list[Request], logits: torch.Tensor) -> torch.Tensor:
        """Choose and record each row's next token, and what it finishes."""
        tokens = next_tokens(logits, self._temperature, self._top_p, [request.generator for request in active])
        values = chosen_log_probabilities(logits, tokens).tolist()
        for request, token, value in zip(active, tokens.tolist(), values, strict=True):
            request.token_ids.append(token)
            request.log_probabilities.append(value)
            request.finish_reason = self._finish(request.token_ids)
        return tokens

    def _finish(self, token_ids: list[int]) -> FinishReason | None:
        if token_ids[-1] in self._end_ids:
            return "end"
        if self._stops.found(token_ids):
            return "stop"
        return "length" if len(token_ids) == self._max_new_tokens else None

    def _prompt_inputs(
        self, requests: list[Request], prefix: PrefixCache
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, Any]:
        """Align the prompts' ends: what is fed (the longest own part), and before it the cached prefix.

        Returns:
            Input ids and positions [rows, fed], attention mask [rows, cached + fed], and the cache.
        """
        lengths = [len(request.prompt_ids) for request in requests]
        fed = max(lengths) - prefix.length
        cached = max(lengths) - fed
        used = [max(0, length - fed) for length in lengths]
        places = torch.arange(cached + fed)
        padding = torch.tensor([cached + fed - length for length in lengths])[:, None]
        rows = [[0] * (fed - len(request.prompt_ids)) + request.prompt_ids[-fed:] for request in requests]
        positions = (places[None, cached:] - padding).clamp(min=0)
        mask = (places[None] >= padding).long()
        device = self._model.device
        return torch.tensor(rows).to(device), mask.to(device), positions.to(device), prefix.left_padded(used)


def _one_more(mask: torch.Tensor) -> torch.Tensor:
    return torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
