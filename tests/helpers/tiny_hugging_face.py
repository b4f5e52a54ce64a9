"""Tiny Hugging Face models with random weights, the same on every rank, and batches for them."""

import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

VOCABULARY = 61
WINDOW = 7
_SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
FAMILIES = ("llama", "mistral", "gemma3")


def tiny_config(family, **changes):
    """A config of two layers; Mistral's have a window, Gemma's a window in the first only."""
    if family == "llama":
        return LlamaConfig(**{**_SIZES, **changes})
    if family == "mistral":
        return MistralConfig(**{**_SIZES, "sliding_window": WINDOW, **changes})
    layers = ["sliding_attention", "full_attention"]
    return Gemma3TextConfig(
        **{**_SIZES, "sliding_window": WINDOW, "layer_types": layers, "query_pre_attn_scalar": 8, **changes}
    )


def tiny_model(family, attention, **changes):
    """A model in float32, ready to train; initialised widely, so that attention is far from uniform."""
    classes = {"llama": LlamaForCausalLM, "mistral": MistralForCausalLM, "gemma3": Gemma3ForCausalLM}
    config = tiny_config(family, initializer_range=0.3, **changes)
    config._attn_implementation = attention
    torch.manual_seed(0)
    return classes[family](config)


def drawn_tokens(seed, batch, length):
    """Random tokens, none of them special."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCABULARY, (batch, length), generator=generator)
