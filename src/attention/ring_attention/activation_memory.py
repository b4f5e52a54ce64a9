"""Activations of one Transformer layer under four ways to compute it (Table 1), counted in numbers, not bytes.

With batch b, sequence s (of the whole ring), block c, hidden size h and n heads, what is alive at once is at most

                                  attention        feed-forward     total = the larger
    vanilla                       b n s²           4 b s h
    memory_efficient_attention    b s h + 2 b c h  4 b s h          4 b s h (for c <= 3 s / 2)
    blockwise_feedforward         b s h            b s h            b s h
    ring                          6 b c h          b c h            6 b c h

Table 1 gives bytes in bfloat16, twice these numbers, with two exceptions. Its total for vanilla reads 2bhs², a misprint
of the 2bns² that stands in the same row. And its 6bch for the ring is the text's "six blocks" (the query, the current
key and value, two buffers that receive the next ones, the output), which hold 6bch numbers and so 12bch bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from ...errors import OctoberError

Method = Literal["vanilla", "memory_efficient_attention", "blockwise_feedforward", "ring"]
METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True)
class LayerActivations:
    """The most numbers that are alive at once in one layer; a byte count is `total * bytes_per_element`."""

    attention: int
    feed_forward: int

    @property
    def total(self) -> int:
        """The larger of the two: one sub-layer's activations are gone when the other's are made."""
        return max(self.attention, self.feed_forward)


def layer_activations(
    method: Method, *, batch: int, sequence: int, block: int, hidden_size: int, num_heads: int
) -> LayerActivations:
    """Count the activations of one layer (Table 1, corrected as the module says).

    Args:
        method: One of `METHODS`.
        batch: Sequences, b.
        sequence: Tokens of the whole sequence, s. The ring's count does not depend on it.
        block: Tokens of a block, c; in a ring, what one device holds.
        hidden_size: h.
        num_heads: n.

    Raises:
        OctoberError: An unknown method, or a size that is not positive.
    """
    if method not in METHODS:
        raise OctoberError(f"method={method!r}: one of {', '.join(METHODS)}")
    check_positive(batch=batch, sequence=sequence, block=block, hidden_size=hidden_size, num_heads=num_heads)
    whole, part = batch * sequence * hidden_size, batch * block * hidden_size
    return {
        "vanilla": LayerActivations(batch * num_heads * sequence**2, 4 * whole),
        "memory_efficient_attention": LayerActivations(whole + 2 * part, 4 * whole),
        "blockwise_feedforward": LayerActivations(whole, whole),
        "ring": LayerActivations(6 * part, part),
    }[method]


def table_1_bytes(
    method: Method, *, batch: int, sequence: int, block: int, hidden_size: int, num_heads: int
) -> Mapping[str, int]:
    """Return Table 1's row as printed: bytes in bfloat16 by column, misprint included.

    The columns are 'attention', 'feed_forward' and 'total'; the arguments are those of `layer_activations`.
    """
    counted = layer_activations(
        method, batch=batch, sequence=sequence, block=block, hidden_size=hidden_size, num_heads=num_heads
    )
    printed = {"attention": 2 * counted.attention, "feed_forward": 2 * counted.feed_forward, "total": 2 * counted.total}
    if method == "vanilla":
        printed["total"] = 2 * batch * hidden_size * sequence**2
    if method == "ring":
        printed["attention"] = printed["total"] = counted.attention
    return printed


def ring_attention_elements(
    *, batch: int, block: int, num_heads: int, num_kv_heads: int, head_dim: int, backward: bool = False
) -> int:
    """Count the numbers that one device of a ring holds during attention, with un-repeated key/value heads.

    Forward they are section 3's six blocks: the query and the output with `num_heads` heads; the current and the
    arriving key and value with `num_kv_heads`. Backward, which the paper does not count, they are twelve: the query,
    the output, its gradient and the query's gradient; the current and the arriving key, value and their gradients.

    Raises:
        OctoberError: A size that is not positive, or query heads that are no multiple of the key/value heads.
    """
    check_heads(num_heads, num_kv_heads)
    check_positive(batch=batch, block=block, head_dim=head_dim)
    sides = 2 if backward else 1
    return sides * batch * block * head_dim * (2 * num_heads + 4 * num_kv_heads)


def check_heads(num_heads: int, num_kv_heads: int) -> None:
    """Refuse query heads that key/value heads cannot share evenly."""
    check_positive(num_heads=num_heads, num_kv_heads=num_kv_heads)
    if num_heads % num_kv_heads:
        raise OctoberError(f"num_heads={num_heads}: not a multiple of num_kv_heads={num_kv_heads}")


def check_positive(**sizes: int) -> None:
    """Refuse a size below one, by name."""
    for name, size in sizes.items():
        if size < 1:
            raise OctoberError(f"{name}={size}: must be at least 1")
