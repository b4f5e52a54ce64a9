"""Keys and values of a prefix that many sequences share, encoded once and never written to.

Scoring pads on the right, so the cached prefix stands in front of every row as it is:

    [prefix | rest of row 0        ]
    [prefix | rest of row 1 | pad  ]

Generation needs the rows' ends aligned. Padding between prefix and rest would shift the windows of sliding layers,
which count places, not tokens; so a row with a shorter rest takes the end of the prefix into its fed part again, and
its cached part, shorter by as much, is padded on the left:

    [      prefix | rest of row 0  ]
    [ pad | prefi | x rest of row 1]
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

from .growing_cache import GrowingCache

_SAVED_TOKENS = 256  # fewer tokens saved are not worth a forward pass of their own


class ReadOnlyLayer(DynamicLayer):
    """A layer that shows its prefix in front of the new keys and values, and stores nothing."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.keys, self.values, self.is_initialized = keys, values, True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return old and new keys and values of all rows."""
        rows = key_states.shape[0]
        return (
            torch.cat([self.keys.expand(rows, -1, -1, -1), key_states], dim=-2),
            torch.cat([self.values.expand(rows, -1, -1, -1), value_states], dim=-2),
        )


class PrefixCache:
    """A prefix and what every layer computed from it."""

    def __init__(self, token_ids: Sequence[int], layers: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        self.token_ids = tuple(token_ids)
        self._layers = layers

    @property
    def length(self) -> int:
        """Tokens of the prefix."""
        return len(self.token_ids)

    def read_only(self) -> Cache:
        """Return a cache that puts the prefix in front of any number of rows."""
        return Cache(layers=[ReadOnlyLayer(keys, values) for keys, values in self._layers])

    def left_padded(self, used: Sequence[int]) -> GrowingCache:
        """Return a growing cache in which row i begins with the first `used[i]` tokens of the prefix."""
        cache = GrowingCache()
        if max(used, default=0) > 0:
            for index, (keys, values) in enumerate(self._layers):
                cache.update(_aligned_right(keys, used), _aligned_right(values, used), index)
        return cache


EMPTY_PREFIX = PrefixCache((), [])


def encode_prefix(backbone: Any, token_ids: Sequence[int]) -> PrefixCache:
    """Run a model without its head over a prefix and keep all layers' keys and values, windowed layers' too."""
    cache = DynamicCache()
    backbone(input_ids=torch.tensor([token_ids], device=backbone.device), past_key_values=cache, use_cache=True)
    return PrefixCache(token_ids, [(layer.keys, layer.values) for layer in cache.layers])


def shared_prefix(sequences: Sequence[list[int]], limits: Sequence[int]) -> list[int]:
    """Return the first tokens that all sequences share, or nothing where encoding them apart saves too little.

    Args:
        sequences: Token ids.
        limits: Of each sequence, the most tokens that may be left out of its own forward pass.
    """
    if len(sequences) < 2:
        return []
    low, high = min(sequences), max(sequences)  # what these two share, all in between share
    length = min(limits)
    length = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b or i == length), length)
    return sequences[0][:length] if length * (len(sequences) - 1) >= _SAVED_TOKENS else []


def _aligned_right(
    shared: Float[torch.Tensor, "1 heads prefix width"], used: Sequence[int]
) -> Float[torch.Tensor, "rows heads longest width"]:
    longest = max(used)
    aligned = shared.new_zeros(len(used), shared.shape[1], longest, shared.shape[3])
    for row, length in enumerate(used):
        aligned[row, :, longest - length :] = shared[0, :, :length]
    return aligned
