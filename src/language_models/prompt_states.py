"""A batch of prompts, read once, and any number of texts behind each of them.

Prompts are aligned at their ends, so that nothing stands between a prompt and what follows it, and the windows of
sliding layers, which count places, lie as they should:

    read        [ pad | prompt 0 ]        followed     [ pad | prompt 0 | text     ]
                [      prompt 1  ]                     [ pad | prompt 0 | te | pad ]
                                                       [      prompt 1  | text     ]
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import Cache, DynamicCache

from .prefix_cache import PrefixCache, ReadOnlyLayer


def aligned_inputs(prompts: Sequence[list[int]], prefix: PrefixCache, device: torch.device) -> dict[str, Any]:
    """Return what a model is called with to read prompts, their ends aligned, behind a cached prefix of all.

    The longest own part decides how much is fed; a shorter prompt takes the prefix's end into it.
    """
    lengths = [len(ids) for ids in prompts]
    fed = max(lengths) - prefix.length
    cached = max(lengths) - fed
    places = torch.arange(cached + fed)
    padding = torch.tensor([cached + fed - length for length in lengths])[:, None]
    rows = [[0] * (fed - len(ids)) + ids[-fed:] for ids in prompts]
    return {
        "input_ids": torch.tensor(rows).to(device),
        "attention_mask": (places[None] >= padding).long().to(device),
        "position_ids": (places[None, cached:] - padding).clamp(min=0).to(device),
        "past_key_values": prefix.left_padded([max(0, length - fed) for length in lengths]),
    }


class PromptStates:
    """What every layer computed from a batch of prompts; never written to.

    Args:
        cache: After the prompts were read; what it later takes in is not seen here.
        lengths: Of the prompts, in tokens.
    """

    def __init__(self, cache: DynamicCache, lengths: Sequence[int]) -> None:
        self.lengths = list(lengths)
        self._layers = [(layer.keys, layer.values) for layer in cache.layers]

    def followed_by(self, texts: Sequence[tuple[int, list[int]]], device: torch.device) -> dict[str, Any]:
        """Return what a model is called with to read texts, each a prompt's row and the tokens behind it.

        The texts are padded at their ends.
        """
        rows = torch.tensor([row for row, _ in texts], device=device)
        lengths = torch.tensor([self.lengths[row] for row, _ in texts])[:, None]
        cached, fed = int(lengths.max()), max(len(ids) for _, ids in texts)
        unused = max(self.lengths) - cached
        layers = [ReadOnlyLayer(keys[rows, :, unused:], values[rows, :, unused:]) for keys, values in self._layers]
        padded = [ids + [0] * (fed - len(ids)) for _, ids in texts]
        return {
            "input_ids": torch.tensor(padded).to(device),
            "attention_mask": (torch.arange(cached + fed)[None] >= cached - lengths).long().to(device),
            "position_ids": (lengths + torch.arange(fed)).to(device),
            "past_key_values": Cache(layers=layers),
            "use_cache": True,
        }


def read_prompts(backbone: Any, prompts: Sequence[list[int]], prefix: PrefixCache) -> PromptStates:
    """Run a model without its head over prompts and keep what it computed."""
    inputs = aligned_inputs(prompts, prefix, backbone.device)
    backbone(**inputs, use_cache=True)
    return PromptStates(inputs["past_key_values"], [len(ids) for ids in prompts])
