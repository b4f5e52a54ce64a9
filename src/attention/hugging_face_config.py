"""From a Hugging Face config to `DecoderConfig`; what the decoder cannot do is refused by name."""

from typing import Any

from ..errors import OctoberError
from .decoder_config import DecoderConfig, RopeScaling

_MODEL_TYPES = ("llama", "mistral", "gemma3_text")
_MUST_BE_OFF = (  # each changes what is computed
    "attention_bias",
    "mlp_bias",
    "attention_dropout",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "use_bidirectional_attention",
    "quantization_config",
)
_ACTIVATIONS = {"silu": "silu", "swish": "silu", "gelu_pytorch_tanh": "gelu_tanh"}


def check_model_type(model_type: str) -> None:
    """Raise `OctoberError` for a kind of model that the decoder does not know."""
    if model_type not in _MODEL_TYPES:
        raise OctoberError(f"model_type={model_type}: the decoder knows {', '.join(_MODEL_TYPES)}")


def config_from_hugging_face(theirs: Any) -> DecoderConfig:
    """Return the decoder's config for one of transformers.

    Args:
        theirs: A `LlamaConfig`, `MistralConfig` or `Gemma3TextConfig`.

    Raises:
        OctoberError: Another kind of model, or an option that the decoder does not have.
    """
    check_model_type(theirs.model_type)
    for name in _MUST_BE_OFF:
        if getattr(theirs, name, None):
            raise OctoberError(f"{name}={getattr(theirs, name)}: the decoder has no such thing")
    windows, ropes = _by_layer(theirs)
    return DecoderConfig(
        vocab_size=theirs.vocab_size,
        hidden_size=theirs.hidden_size,
        intermediate_size=theirs.intermediate_size,
        num_layers=theirs.num_hidden_layers,
        num_heads=theirs.num_attention_heads,
        num_kv_heads=theirs.num_key_value_heads,
        head_dim=theirs.head_dim,
        max_positions=theirs.max_position_embeddings,
        norm_epsilon=theirs.rms_norm_eps,
        sliding_windows=tuple(windows),
        rope_bases=tuple(float(rope["rope_theta"]) for rope in ropes),
        rope_scalings=tuple(_rope_scaling(rope) for rope in ropes),
        tie_embeddings=theirs.tie_word_embeddings,
        **_family(theirs),
    )


def _family(theirs: Any) -> dict[str, Any]:
    gemma = theirs.model_type == "gemma3_text"
    activation = theirs.hidden_activation if gemma else theirs.hidden_act
    if activation not in _ACTIVATIONS:
        raise OctoberError(f"activation {activation}: the decoder knows {', '.join(_ACTIVATIONS)}")
    if not gemma:
        return {"activation": _ACTIVATIONS[activation]}
    return {
        "activation": _ACTIVATIONS[activation],
        "norm_offset": 1.0,
        "embedding_scale": theirs.hidden_size**0.5,
        "qk_norm": True,
        "post_norms": True,
        "attention_scale": theirs.query_pre_attn_scalar**-0.5,
    }


def _by_layer(theirs: Any) -> tuple[list[int | None], list[dict[str, Any]]]:
    """Return each layer's sliding window and its rotary parameters."""
    if theirs.model_type != "gemma3_text":
        window = getattr(theirs, "sliding_window", None) if theirs.model_type == "mistral" else None
        return [window] * theirs.num_hidden_layers, [theirs.rope_parameters] * theirs.num_hidden_layers
    kinds = theirs.layer_types
    unknown = sorted(set(kinds) - {"full_attention", "sliding_attention"})
    if unknown:
        raise OctoberError(f"layer type {unknown[0]}: the decoder knows full_attention and sliding_attention")
    windows = [theirs.sliding_window if kind == "sliding_attention" else None for kind in kinds]
    return windows, [theirs.rope_parameters[kind] for kind in kinds]


def _rope_scaling(rope: dict[str, Any]) -> RopeScaling | None:
    kind = rope.get("rope_type", "default")
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise OctoberError(f"partial_rotary_factor={rope['partial_rotary_factor']}: the decoder rotates whole heads")
    if kind == "default":
        return None
    if kind == "linear":
        return RopeScaling("linear", rope["factor"])
    if kind != "llama3":
        raise OctoberError(f"rope_type={kind}: the decoder knows default, linear and llama3")
    return RopeScaling(
        "llama3",
        rope["factor"],
        low_frequency_factor=rope["low_freq_factor"],
        high_frequency_factor=rope["high_freq_factor"],
        original_max_positions=rope["original_max_position_embeddings"],
    )
