"""Mistral 7B (arXiv 2310.06825): sliding-window attention, rolling buffer cache, pre-fill and chunking."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .hugging_face_cache import RollingCache
    from .long_prompts import gather_rolling_cache, ring_prefill
    from .rolling_cache import RollingBufferCache
    from .sharded_rolling_cache import ShardedRollingCache

__all__ = [
    "RollingBufferCache",
    "RollingCache",
    "ShardedRollingCache",
    "gather_rolling_cache",
    "ring_prefill",
]

_HOMES = {
    "RollingBufferCache": "rolling_cache",
    "RollingCache": "hugging_face_cache",
    "ShardedRollingCache": "sharded_rolling_cache",
    "gather_rolling_cache": "long_prompts",
    "ring_prefill": "long_prompts",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
