"""The token loop of a batch: rows leave as they finish, the cache shrinks with them.

Prompts of one length are read together, so that little padding passes through the network; what was computed of them is
then aligned, so that all go on together.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch.nn import functional

from .batching import length_sorted_batches
from .generation import GenerationRules, Request
from .growing_cache import GrowingCache
from .output_head import OutputHead
from .prefix_cache import PrefixCache
from .prompt_states import aligned_inputs


class ReadPrompts(NamedTuple):
    """What a model has made of a batch of prompts.

    Attributes:
        logits: Of each prompt's next token.
        mask: Of the cached places.
        positions: Of each prompt's last token.
        cache: Of all layers; it grows as tokens follow.
    """

    logits: torch.Tensor
    mask: torch.Tensor
    positions: torch.Tensor
    cache: Any


class Decoding:
    """Generates for batches of requests with the same settings.

    Args:
        head: Of the model, whose backbone it knows.
        rules: How texts go on and end.
        max_batch_tokens: Tokens, padding included, that pass through the network at once while prompts are read.
    """

    def __init__(self, head: OutputHead, rules: GenerationRules, max_batch_tokens: int) -> None:
        self._head = head
        self._rules = rules
        self._max_batch_tokens = max_batch_tokens

    def run(self, requests: Sequence[Request], prefix: PrefixCache, bar: Any) -> None:
        """Generate until every request is finished; `bar` counts those that are."""
        self.go_on(requests, self.read(requests, prefix), bar)

    def read(self, requests: Sequence[Request], prefix: PrefixCache) -> ReadPrompts:
        """Run the model over the prompts."""
        own = [len(request.prompt_ids) - prefix.length for request in requests]
        batches = list(length_sorted_batches(own, self._max_batch_tokens, tight=True))
        if len(batches) < 2:
            return self._read(requests, prefix)
        parts = [self._read([requests[index] for index in batch], prefix) for batch in batches]
        order = torch.argsort(torch.tensor([index for batch in batches for index in batch]))
        return _joined(parts, order.to(self._head.backbone.device))

    def _read(self, requests: Sequence[Request], prefix: PrefixCache) -> ReadPrompts:
        inputs = aligned_inputs([request.prompt_ids for request in requests], prefix, self._head.backbone.device)
        logits = self._next_logits(**inputs)
        return ReadPrompts(logits, inputs["attention_mask"], inputs["position_ids"][:, -1:], inputs["past_key_values"])

    def go_on(self, requests: Sequence[Request], read: ReadPrompts, bar: Any) -> None:
        """Generate behind prompts that have been read."""
        active = list(requests)
        logits, mask, positions, cache = read
        while True:
            tokens = self._rules.append(active, logits)
            keep = [row for row, request in enumerate(active) if request.finish_reason is None]
            bar.update(len(active) - len(keep))
            if not keep:
                return
            input_ids, mask, positions = tokens[:, None], _one_more(mask), positions + 1
            if len(keep) < len(active):
                rows = torch.tensor(keep, device=mask.device)
                input_ids, mask, positions = input_ids[rows], mask[rows], positions[rows]
                cache.batch_select_indices(rows)
            active = [active[row] for row in keep]
            logits = self._next_logits(
                input_ids=input_ids, attention_mask=mask, position_ids=positions, past_key_values=cache
            )

    def _next_logits(self, **inputs: Any) -> Float[torch.Tensor, "rows vocabulary"]:
        """Return the logits behind the last token of each row."""
        last = self._head.backbone(**inputs, use_cache=True).last_hidden_state[:, -1]
        # Copied out: for a view of all states torch copies the head's weights, once for each row, unless those want
        # gradients (as loaded ones do and merged adapters' do not).
        return self._head.logits(last.contiguous())


def _joined(parts: Sequence[ReadPrompts], order: torch.Tensor) -> ReadPrompts:
    """Return several batches as one, their ends aligned, the rows in a new order; the first has the longest rows."""
    width = parts[0].mask.shape[1]
    cache = GrowingCache()
    for index, layers in enumerate(zip(*(part.cache.layers for part in parts), strict=True)):
        keys = torch.cat([_padded(layer.keys, width) for layer in layers])
        values = torch.cat([_padded(layer.values, width) for layer in layers])
        cache.update(keys[order], values[order], index)
    mask = torch.cat([functional.pad(part.mask, (width - part.mask.shape[1], 0)) for part in parts])
    logits, positions = (torch.cat(some)[order] for some in zip(*((p.logits, p.positions) for p in parts), strict=True))
    return ReadPrompts(logits, mask[order], positions, cache)


def _padded(
    states: Float[torch.Tensor, "rows heads length width"], length: int
) -> Float[torch.Tensor, "rows heads longest width"]:
    return functional.pad(states, (0, 0, length - states.shape[2], 0))


def _one_more(mask: torch.Tensor) -> torch.Tensor:
    return torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
