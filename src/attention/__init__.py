"""How a transformer sees far: one decoder that takes its attention and its cache as arguments.

Shared by the papers on attention; it knows none of them.
"""

from typing import TYPE_CHECKING

from ..lazy import lazy_exports

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

__getattr__ = lazy_exports(__name__, _HOMES)
