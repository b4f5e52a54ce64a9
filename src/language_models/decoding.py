"""The token loop of a batch: rows leave as they finish, the cache shrinks with them."""

from collections.abc import Sequence
from typing import Any

import torch

from .generation import GenerationRules, Request
from .prefix_cache import PrefixCache


class Decoding:
    """Generates for batches of requests with the same settings."""

    def __init__(self, model: Any, rules: GenerationRules) -> None:
        self._model = model
        self._rules = rules

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
            tokens = self._rules.append(active, logits)
            keep = [row for row, request in enumerate(active) if request.finish_reason is None]
            bar.update(len(active) - len(keep))
            input_ids, mask, positions = tokens[:, None], _one_more(mask), positions[:, -1:] + 1
            if 0 < len(keep) < len(active):
                rows = torch.tensor(keep, device=mask.device)
                input_ids, mask, positions = input_ids[rows], mask[rows], positions[rows]
                cache.batch_select_indices(rows)
            active = [active[row] for row in keep]

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
