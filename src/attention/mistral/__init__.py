"""Mistral 7B (arXiv 2310.06825): sliding-window attention, rolling buffer cache, pre-fill and chunking."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .hugging_face_cache import RollingCache
    from .rolling_cache import RollingBufferCache

__all__ = [
    "RollingBufferCache",
    "RollingCache",
]

_HOMES = {
    "RollingBufferCache": "rolling_cache",
    "RollingCache": "hugging_face_cache",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
