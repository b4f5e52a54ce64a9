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
    from .small_decoders import SMALL_ROPE_BASE, learning_rate_share, scale_small_weights_
    from .transformer import Cache, Transformer

__all__ = [
    "PREFILL_CHUNK",
    "SMALL_ROPE_BASE",
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
    "learning_rate_share",
    "load_decoder",
    "prefill",
    "scale_small_weights_",
    "summed_cross_entropy",
]

_HOMES = {
    "PREFILL_CHUNK": "chunked_prefill",
    "SMALL_ROPE_BASE": "small_decoders",
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
    "learning_rate_share": "small_decoders",
    "load_decoder": "checkpoints",
    "prefill": "chunked_prefill",
    "scale_small_weights_": "small_decoders",
    "summed_cross_entropy": "cross_entropy",
}

__getattr__ = lazy_exports(__name__, _HOMES)
