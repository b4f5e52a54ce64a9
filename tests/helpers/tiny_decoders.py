"""Tiny decoders of every family, as transformers makes them, and slow, obvious references in float64."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

WINDOW = 5
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
FAMILIES = (
    "llama",
    "llama_tied",
    "llama3_rope",
    "llama_linear_rope",
    "mistral_gqa1",
    "mistral_gqa2",
    "mistral_gqa4",
    "mistral_full",
    "gemma3",
    "gemma3_linear_rope",
)


def hugging_face_model(family, vocab_size=61, **more):
    """A random model whose logits have no near ties; all its norms are random too."""
    common = {
        "vocab_size": vocab_size,
        "hidden_size": 32,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 512,
        "initializer_range": 0.4,
        "pad_token_id": None,
        **more,
    }
    torch.manual_seed(0)
    if family.startswith("gemma3"):
        model = Gemma3ForCausalLM(_gemma3_config(common, linear=family == "gemma3_linear_rope"))
    elif family.startswith("mistral"):
        kv_heads = {"1": 4, "2": 2, "4": 1}.get(family[-1], 2)
        window = None if family == "mistral_full" else WINDOW
        config = MistralConfig(**common, num_hidden_layers=3, num_key_value_heads=kv_heads, sliding_window=window)
        model = MistralForCausalLM(config)
    else:
        rope = {"rope_type": "linear", "rope_theta": 5_000.0, "factor": 2.0} if "linear" in family else None
        rope = LLAMA3_ROPE if family == "llama3_rope" else rope
        config = LlamaConfig(
            **common,
            num_hidden_layers=2,
            num_key_value_heads=2,
            head_dim=12,
            rope_parameters=rope,
            tie_word_embeddings=family == "llama_tied",
        )
        model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight += 0.3 * torch.randn_like(weight)
    return model.eval()


def _gemma3_config(common, *, linear):
    full = {"rope_type": "default", "rope_theta": 1_000_000.0}
    if linear:
        full = {"rope_type": "linear", "rope_theta": 1_000_000.0, "factor": 8.0}
    return Gemma3TextConfig(
        **common,
        num_hidden_layers=4,
        num_key_value_heads=1,
        head_dim=8,
        query_pre_attn_scalar=11,
        layer_types=["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
        sliding_window=WINDOW,
        rope_parameters={
            "full_attention": full,
            "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
        },
    )


def attention_by_loops(query, key, value, *, starts, window, scale, segment_ids=None):
    """One query at a time in float64: query s of row b stands at position starts[b] + s."""
    query, key, value = query.double(), key.double(), value.double()
    group = query.shape[1] // key.shape[1]
    output = torch.zeros_like(query)
    for row in range(query.shape[0]):
        for place in range(query.shape[2]):
            position = starts[row] + place
            seen = [
                j
                for j in range(position + 1)
                if (window is None or j > position - window)
                and (segment_ids is None or segment_ids[row, j] == segment_ids[row, position] >= 0)
            ]
            for head in range(query.shape[1]):
                keys, values = key[row, head // group, seen], value[row, head // group, seen]
                weights = torch.softmax(scale * (keys @ query[row, head, place]), dim=0)
                output[row, head, place] = weights @ values
    return output


class LargestTensor(TorchDispatchMode):
    """Notes the size in bytes of the largest tensor that an operation made; views make none."""

    def __init__(self):
        super().__init__()
        self.nbytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        known = {leaf.untyped_storage().data_ptr() for leaf in tree_leaves((args, kwargs)) if _is_tensor(leaf)}
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if _is_tensor(leaf) and leaf.untyped_storage().data_ptr() not in known:
                self.nbytes = max(self.nbytes, leaf.untyped_storage().nbytes())
        return result


def _is_tensor(leaf):
    return isinstance(leaf, torch.Tensor)
