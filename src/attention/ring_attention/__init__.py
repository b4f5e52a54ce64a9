"""Ring Attention with blockwise transformers (arXiv 2310.01889)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .blockwise import BlockwiseAttention, BlockwiseFeedForward, blockwise_attention
    from .layouts import LAYOUTS, Layout, shard, shard_length, shard_positions, unshard
    from .ring import Ring, RingAttention, ring_attention
    from .sharded_cache import ShardedCache, ring_continue
    from .transport import RingError

__all__ = [
    "LAYOUTS",
    "BlockwiseAttention",
    "BlockwiseFeedForward",
    "Layout",
    "Ring",
    "RingAttention",
    "RingError",
    "ShardedCache",
    "blockwise_attention",
    "ring_attention",
    "ring_continue",
    "shard",
    "shard_length",
    "shard_positions",
    "unshard",
]

_HOMES = {
    "BlockwiseAttention": "blockwise",
    "BlockwiseFeedForward": "blockwise",
    "blockwise_attention": "blockwise",
    "LAYOUTS": "layouts",
    "Layout": "layouts",
    "shard": "layouts",
    "shard_length": "layouts",
    "shard_positions": "layouts",
    "unshard": "layouts",
    "Ring": "ring",
    "RingAttention": "ring",
    "ring_attention": "ring",
    "ShardedCache": "sharded_cache",
    "ring_continue": "sharded_cache",
    "RingError": "transport",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
