"""When a ring hides its communication: the work and the traffic of a hop, and the block that balances them (section 3).

In a hop a device multiplies its c queries with the c keys and values that it holds, while the next ones arrive. With
d = num_heads * head_dim, g key/value heads per query head and w bytes per number, that is

    forward     4 d c² FLOPs    2 g d c w bytes               Q K', P V            K and V travel
    backward   10 d c² FLOPs    2 g d c w + 8 g d c bytes     Q K' again, dO V',   K and V, with dK and dV in float32
                                                              P' dO, dS K, dS' Q

The transfer hides behind the work where FLOPs / F >= bytes / B. Work grows with c², traffic with c, so there is a
smallest such block; in bfloat16 with ungrouped heads it is the paper's c = F / B. A causal mask halves the work of an
average hop and doubles that block.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from ...errors import OctoberError
from .activation_memory import check_heads, check_positive

Direction = Literal["forward", "backward"]
GIBIBYTE = 1 << 30


@dataclass(frozen=True)
class Device:
    """An accelerator with its link to the next one in the ring: peak figures, as published.

    Attributes:
        name: As in Table 2, where it stands there.
        flops_per_second: Peak bfloat16 matrix rate without sparsity, F.
        bytes_per_second: Unidirectional bandwidth between neighbours, B.
        memory_bytes: Of one device; the gigabytes that are published are taken as 2**30 bytes, as memory is made.
        source: Who says so.
    """

    name: str
    flops_per_second: float
    bytes_per_second: float
    memory_bytes: int
    source: str


def _device(name: str, teraflops: float, gigabytes_per_second: float, memory_gib: int, source: str) -> Device:
    return Device(name, teraflops * 1e12, gigabytes_per_second * 1e9, memory_gib * GIBIBYTE, source)


DEVICES: Mapping[str, Device] = MappingProxyType(
    {
        device.name: device
        for device in (
            _device("A100 NVLink", 312, 300, 80, "Table 2"),
            _device("A100 InfiniBand", 312, 12.5, 80, "Table 2"),
            _device("TPU v3", 123, 112, 16, "Table 2"),
            _device("TPU v4", 275, 268, 32, "Table 2"),
            _device("TPU v5e", 196, 186, 16, "Table 2"),
            _device("H100 NVLink", 989, 450, 80, "vendor: SXM, half of 900 GB/s each way"),
            _device("H100 InfiniBand", 989, 50, 80, "vendor: SXM, one 400 Gb/s port a device"),
            _device("H200 NVLink", 989, 450, 141, "vendor: SXM, half of 900 GB/s each way"),
            _device("H200 InfiniBand", 989, 50, 141, "vendor: SXM, one 400 Gb/s port a device"),
        )
    }
)
"""Table 2's five, then two newer cards by their vendor's published figures."""


@dataclass(frozen=True)
class HopCost:
    """What one device computes and sends in one hop, in FLOPs and bytes."""

    flops: float
    bytes_sent: int


def hop_cost(
    block: int,
    *,
    num_heads: int,
    head_dim: int,
    num_kv_heads: int | None = None,
    bytes_per_element: int = 2,
    direction: Direction = "forward",
    causal: bool = False,
    batch: int = 1,
) -> HopCost:
    """Return the work and traffic of one hop of one layer (section 3; the module has the formulae).

    Args:
        block: Tokens that a device holds, c.
        num_heads: Query heads.
        head_dim: Numbers in a head.
        num_kv_heads: Key/value heads, which travel un-repeated; None for as many as query heads.
        bytes_per_element: Of keys and values; their gradients travel in float32 whatever it is.
        direction: 'forward' or 'backward'.
        causal: Whether half the pairs are masked, as in an average hop of a balanced layout.
        batch: Sequences.

    Raises:
        OctoberError: A size that is not positive, heads that do not divide, or an unknown direction.
    """
    num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
    check_heads(num_heads, num_kv_heads)
    check_positive(block=block, head_dim=head_dim, bytes_per_element=bytes_per_element, batch=batch)
    if direction not in ("forward", "backward"):
        raise OctoberError(f"direction={direction!r}: one of forward, backward")
    pairs = batch * block**2 * (0.5 if causal else 1.0)
    numbers = 2 * batch * block * num_kv_heads * head_dim
    if direction == "forward":
        return HopCost(4 * num_heads * head_dim * pairs, numbers * bytes_per_element)
    return HopCost(10 * num_heads * head_dim * pairs, numbers * (bytes_per_element + 4))


def minimal_block(
    device: Device,
    *,
    query_heads_per_kv_head: int = 1,
    bytes_per_element: int = 2,
    direction: Direction = "forward",
    causal: bool = False,
) -> float:
    """Return the smallest block, in tokens, whose work takes as long as its transfer (section 3, Table 2).

    With the defaults it is F / B. The arguments are those of `hop_cost`.
    """
    one_token = hop_cost(
        1,
        num_heads=query_heads_per_kv_head,
        num_kv_heads=1,
        head_dim=1,
        bytes_per_element=bytes_per_element,
        direction=direction,
        causal=causal,
    )
    return (one_token.bytes_sent / device.bytes_per_second) / (one_token.flops / device.flops_per_second)


def minimal_sequence(device: Device) -> float:
    """Return Table 2's minimal sequence length for each device: the six blocks of section 3, s = 6c, in tokens."""
    return 6 * minimal_block(device)


def hops_in_reach(world_size: int, block: int, sliding_window: int | None = None) -> int:
    """Return how many blocks besides its own a device needs at most.

    A query sees itself and the W - 1 tokens before it, so with contiguous blocks only the ceil((W - 1) / c) blocks
    before its own matter; the hops beyond are neither sent nor computed.

    Args:
        world_size: Devices in the ring, N.
        block: Tokens that a device holds, c.
        sliding_window: W; None for full attention, which needs all N - 1.

    Raises:
        OctoberError: A size that is not positive.
    """
    check_positive(world_size=world_size, block=block)
    if sliding_window is None:
        return world_size - 1
    check_positive(sliding_window=sliding_window)
    return min(world_size - 1, math.ceil((sliding_window - 1) / block))
