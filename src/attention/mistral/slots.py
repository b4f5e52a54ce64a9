"""Where a buffer of S slots keeps its tokens: position i at slot i mod S (section 2, figure 2).

    S = 4, after 6 tokens      slot       0 1 2 3
                               position   4 5 2 3      the next token, 6, takes the place of 2

Positions one after the other lie in at most two runs of slots: up to the last slot, and on from slot 0.
"""

from jaxtyping import Float
from torch import Tensor


def runs(start: int, count: int, num_slots: int) -> list[slice]:
    """Return the runs of slots of `count` positions from `start` on, in their order; at most S positions."""
    first = start % num_slots
    before_the_end = min(count, num_slots - first)
    both = (slice(first, first + before_the_end), slice(0, count - before_the_end))
    return [run for run in both if run.stop > run.start]


def write(
    buffer: Float[Tensor, "rows kv_heads slots head_dim"],
    new: Float[Tensor, "rows kv_heads sequence head_dim"],
    start: int,
) -> None:
    """Write tokens at positions from `start` on into their slots; of more than S tokens only the last S."""
    num_slots, num_tokens = buffer.shape[2], new.shape[2]
    token = max(0, num_tokens - num_slots)  # the first that stays
    for run in runs(start + token, num_tokens - token, num_slots):
        length = run.stop - run.start
        buffer[:, :, run] = new[:, :, token : token + length]
        token += length


def before(
    buffer: Float[Tensor, "rows kv_heads slots head_dim"], end: int, count: int
) -> list[Float[Tensor, "rows kv_heads run head_dim"]]:
    """Return views of the tokens at the last `count` positions before `end`, in the order of their positions."""
    return [buffer[:, :, run] for run in runs(end - count, count, buffer.shape[2])]
