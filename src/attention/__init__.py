"""How a transformer sees far: one decoder that takes its attention and its cache as arguments.

Shared by the papers on attention; it knows none of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cache import DenseCache, RowCache, RowCacheMaker
    from .causal_attention import Attention, PlacedQueries, full_attention
    from .checkpoints import decoder_from, load_decoder
    from .chunked_prefill import PREFILL_CHUNK, prefill
    from .cross_entropy import chunked_cross_entropy, summed_cross_entropy
    from .decoder_config import DecoderConfig, RopeScaling
    from .language_model import DecoderLM, decoder_language_model
    from .transformer import Cache, Transformer

__all__ = [
    "PREFILL_CHUNK",
    "Attention",
    "Cache",
    "DecoderConfig",
    "DecoderLM",
    "DenseCache",
    "PlacedQueries",
    "RopeScaling",
    "RowCache",
    "RowCacheMaker",
    "Transformer",
    "chunked_cross_entropy",
    "decoder_from",
    "decoder_language_model",
    "full_attention",
    "load_decoder",
    "prefill",
    "summed_cross_entropy",
]

_HOMES = {
    "PREFILL_CHUNK": "chunked_prefill",
    "Attention": "causal_attention",
    "Cache": "transformer",
    "DecoderConfig": "decoder_config",
    "DecoderLM": "language_model",
    "DenseCache": "cache",
    "PlacedQueries": "causal_attention",
    "RopeScaling": "decoder_config",
    "RowCache": "cache",
    "RowCacheMaker": "cache",
    "Transformer": "transformer",
    "chunked_cross_entropy": "cross_entropy",
    "decoder_from": "checkpoints",
    "decoder_language_model": "language_model",
    "full_attention": "causal_attention",
    "load_decoder": "checkpoints",
    "prefill": "chunked_prefill",
    "summed_cross_entropy": "cross_entropy",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
