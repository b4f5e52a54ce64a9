"""A cache of transformers that is not copied whole for every token that follows."""

import torch
from jaxtyping import Float
from transformers import Cache
from transformers.cache_utils import DynamicLayer

_ROOM = 32  # tokens


class GrowingLayer(DynamicLayer):
    """A layer that keeps room behind its keys and values: new ones are written there, and old ones stay where they are.

    Where the room is full, or other rows were chosen, everything is copied once into a larger place.
    """

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self._rooms: list[torch.Tensor] = []

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add keys and values, and return those of all tokens."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        old = self.get_seq_length()
        new = old + key_states.shape[-2]
        if not self._has_room(new):
            pairs = ((self.keys, key_states), (self.values, value_states))
            self._rooms = [_with_room(there, states, old, new + _ROOM) for there, states in pairs]
        for room, states in zip(self._rooms, (key_states, value_states), strict=True):
            room[:, :, old:new] = states
        self.keys, self.values = (room[:, :, :new] for room in self._rooms)
        return self.keys, self.values

    def _has_room(self, length: int) -> bool:
        """Return whether the keys lie at the start of a place for so many."""
        if not self._rooms:
            return False
        room = self._rooms[0]
        return room.data_ptr() == self.keys.data_ptr() and room.shape[-2] >= length


class GrowingCache(Cache):
    """Such a layer for each of a model."""

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=GrowingLayer)


def _with_room(
    there: torch.Tensor, states: Float[torch.Tensor, "rows heads new width"], length: int, room: int
) -> Float[torch.Tensor, "rows heads room width"]:
    """Return a place for `room` tokens that begins with the `length` ones that are there."""
    rows, heads, _, width = states.shape
    made = states.new_empty(rows, heads, room, width)
    if length:
        made[:, :, :length] = there
    return made
