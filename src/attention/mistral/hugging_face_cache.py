"""A rolling buffer cache for the models of transformers.

    inputs = tokenizer(texts, padding=True, padding_side="left", return_tensors="pt")
    cache = RollingCache(model.config, inputs["attention_mask"])
    model.generate(**inputs, past_key_values=cache)

Such a model makes its mask for keys that lie in the order of their positions. Where the mask hides none of them, any
order will do, and it gets the buffer as it is:

    no padding in the window      4 5 2 3                    slots, in place
    padding in the window         2 3 4 5                    a copy in order, as long as there is some
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin, get_layer_types_and_kwargs

from ...errors import OctoberError
from .slots import before, write

_LAYER_TYPES = ("sliding_attention", "full_attention")


class RollingCache(Cache):
    """What `generate(past_key_values=…)` takes: W slots for each layer with a window, written in place.

    Args:
        config: Of the model: Mistral's, Gemma 3's, or another's whose layers attend in a window or to everything.
        attention_mask: Of the prompts, as the model gets it. Without it a prompt may hold padding anywhere, and the
            window is copied at every step until it has left the prompt. Tokens that come one by one are text.
        max_length: Tokens of the longest text, those to come included, if known: buffers are made so large at once,
            and otherwise doubled as they fill.

    Raises:
        OctoberError: A layer of another kind, a window below 1, a mask that is not [batch, prompt], or `max_length`
            below 1.
    """

    def __init__(
        self,
        config: Any,
        attention_mask: Int[Tensor, "batch prompt"] | None = None,
        *,
        max_length: int | None = None,
    ) -> None:
        if max_length is not None and max_length < 1:
            raise OctoberError(f"max_length={max_length}: must be at least 1, or None")
        types, options = get_layer_types_and_kwargs(config.get_text_config(decoder=True))
        unknown = [kind for kind in types if kind not in _LAYER_TYPES]
        if unknown:
            raise OctoberError(f"layer of type {unknown[0]}: a rolling cache takes {' and '.join(_LAYER_TYPES)}")
        known, text_from = (0, 0) if attention_mask is None else _padding(attention_mask)
        windows = [option.get("sliding_window") for option in options]
        too_small = [window for window in windows if window is not None and window < 1]
        if too_small:
            raise OctoberError(f"sliding_window={too_small[0]}: must be at least 1, or None")
        super().__init__(layers=[RollingLayer(window, known, text_from, max_length or 1) for window in windows])

    def memory_bytes(self) -> int:
        """Return the bytes of all keys and values, free places included."""
        initialized = [layer for layer in self.layers if layer.is_initialized]
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in initialized)


class RollingLayer(CacheLayerMixin):
    """One layer's buffer.

    Args:
        window: Keys that a query sees, itself included; None keeps all.
        known: Positions of the prompt whose padding is known.
        text_from: From this position on none of them is padding.
        capacity: Slots to begin with.
    """

    def __init__(self, window: int | None, known: int, text_from: int, capacity: int) -> None:
        super().__init__()
        self.window = window
        self.length = 0
        self._written = 0  # before it was cropped
        self._known, self._text_from = known, text_from
        self._capacity = capacity

    @property
    def is_sliding(self) -> bool:
        """Whether the layer has a window."""
        return self.window is not None

    @property
    def is_croppable(self) -> bool:
        """Whether `crop` can always go back."""
        return self.window is None

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Make empty buffers for states like these."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys, self.values = (_buffer(like, self._slots_for(0)) for like in (key_states, value_states))
        self.is_initialized = True

    def update(
        self,
        key_states: Float[Tensor, "batch kv_heads sequence head_dim"],
        value_states: Float[Tensor, "batch kv_heads sequence head_dim"],
        *args: Any,
        **kwargs: Any,
    ) -> tuple[Float[Tensor, "batch kv_heads seen head_dim"], Float[Tensor, "batch kv_heads seen head_dim"]]:
        """Store new tokens and return the keys and values that they may see, as many as `get_mask_sizes` says.

        Raises:
            OctoberError: A gradient is wanted: none goes through what is stored.
        """
        if key_states.requires_grad:
            raise OctoberError("a RollingCache keeps no gradients: call the model under torch.no_grad()")
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, new = self.length, key_states.shape[-2]
        self._make_room(start + new)
        self.length = start + new
        self._written = max(self._written, self.length)
        if new > 1 and self.length > self._known:
            self._text_from = self.length
        pairs = ((self.keys, key_states), (self.values, value_states))
        keys, values = (self._stored(buffer, states, start) for buffer, states in pairs)
        return keys, values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return how many keys `update` returns for so many new tokens, and the position of the first in order."""
        earlier = self._num_earlier(self.length)
        return earlier + query_length, self.length - earlier

    def get_seq_length(self) -> int:
        """Return the number of tokens so far, those that have left the window included."""
        return self.length

    def get_max_length(self) -> int:
        """Return the window, or -1 without one."""
        return -1 if self.window is None else self.window

    def reset(self) -> None:
        """Forget all tokens, and what was known of their padding."""
        self.length = self._written = self._known = self._text_from = 0

    def crop(self, tokens_to_remove: int) -> None:
        """Forget the last tokens, `-tokens_to_remove` of them.

        Raises:
            OctoberError: A number above 0, or the buffer has rolled and no longer holds what it would go back to.
        """
        kept = max(0, self.length + tokens_to_remove)
        rolled = self.window is not None and self._written > self.window
        least = self._written - 1 if rolled else 0
        if tokens_to_remove > 0 or kept < least:
            raise OctoberError(
                f"tokens_to_remove={tokens_to_remove}: must be from {least - self.length} to 0; "
                f"{self.length} tokens have gone through a window of {self.window}"
            )
        self.length = kept
        if not rolled:
            self._written = kept

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each row so many times."""
        if self.is_initialized:
            self.keys, self.values = (each.repeat_interleave(repeats, dim=0) for each in (self.keys, self.values))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep only these rows."""
        if self.is_initialized:
            self.keys, self.values = self.keys[indices], self.values[indices]

    def _stored(self, buffer: Tensor, states: Tensor, start: int) -> Tensor:
        """Write states from a position on, and return what they see."""
        end = start + states.shape[-2]
        if end <= buffer.shape[2]:
            write(buffer, states, start)
            return buffer[:, :, :end]
        if states.shape[-2] == 1 and self._text_from <= end - buffer.shape[2]:
            write(buffer, states, start)
            return buffer
        seen = torch.cat([*before(buffer, start, self._num_earlier(start)), states], dim=2)
        write(buffer, states, start)
        return seen

    def _num_earlier(self, start: int) -> int:
        """Return how many earlier tokens the first new one sees."""
        return start if self.window is None else min(start, self.window - 1)

    def _slots_for(self, length: int) -> int:
        slots = self._capacity if length <= self._capacity else max(length, 2 * self._capacity)
        return slots if self.window is None else min(slots, self.window)

    def _make_room(self, length: int) -> None:
        slots = self._slots_for(length)
        if slots > self.keys.shape[2]:
            for name in ("keys", "values"):
                old = getattr(self, name)
                new = _buffer(old, slots)
                new[:, :, : old.shape[2]] = old
                setattr(self, name, new)
        self._capacity = max(self._capacity, slots)


def _buffer(like: Tensor, slots: int) -> Tensor:
    with torch.inference_mode(False):  # inference tensors could not be written to outside that mode
        return like.new_zeros(like.shape[0], like.shape[1], slots, like.shape[3])


def _padding(attention_mask: Tensor) -> tuple[int, int]:
    """Return the number of columns, and the first behind the last one with padding in any row."""
    if attention_mask.dim() != 2:
        raise OctoberError(f"attention_mask {tuple(attention_mask.shape)}: must be [batch, prompt]")
    padded = (attention_mask == 0).any(dim=0).nonzero()
    return attention_mask.shape[1], int(padded[-1]) + 1 if len(padded) else 0
