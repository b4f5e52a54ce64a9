"""How a transformer sees far: one decoder that takes its attention and its cache as arguments.

Shared by the papers on attention; it knows none of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .causal_attention import Attention, full_attention
    from .decoder_config import DecoderConfig, RopeScaling
    from .transformer import Cache, Transformer

__all__ = [
    "Attention",
    "Cache",
    "DecoderConfig",
    "RopeScaling",
    "Transformer",
    "full_attention",
]

_HOMES = {
    "Attention": "causal_attention",
    "Cache": "transformer",
    "DecoderConfig": "decoder_config",
    "RopeScaling": "decoder_config",
    "Transformer": "transformer",
    "full_attention": "causal_attention",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
