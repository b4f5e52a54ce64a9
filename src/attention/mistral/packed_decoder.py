"""A decoder's layers rearranged for inference: as few operations, and as few reads of memory, as a step can do with.

    [query; key; value] = [Wq; Wk; Wv] norm(hidden)         one product where there were three
    [gate; up]          = [Wg; Wu] norm(hidden)             one where there were two
    rotate([query; key])                                    all heads at once

A decoding step reads every weight once and does little with it, so that many small operations cost as much as the
large ones: after each matrix they begin with empty caches. So these modules are called without torch's hooks
(`__call__ = forward`). The function stays the same; only its rounding may differ.
"""

from typing import cast

import torch
from jaxtyping import Float
from torch import nn

from ..rotary import Rotation, rotate
from ..transformer import Attend, DecoderLayer, FeedForward, RMSNorm, SelfAttention, Transformer


def pack_(decoder: Transformer) -> Transformer:
    """Rearrange a decoder for inference, in place; before it is quantised.

    Weights that it shared with another model are copied.
    """
    for layer in decoder.layers:
        pack_layer_(cast(DecoderLayer, layer))
    decoder.add_module("norm", _norm_for_inference(decoder.norm))
    return decoder


@torch.no_grad()
def pack_layer_(layer: DecoderLayer) -> DecoderLayer:
    """Rearrange one layer for inference, in place; one that is already stays as it is."""
    if any(isinstance(child, PackedSelfAttention) for child in layer.children()):
        return layer
    layer.add_module("attention", PackedSelfAttention(layer.attention))
    layer.add_module("feed_forward", PackedFeedForward(layer.feed_forward))
    return layer


class PackedSelfAttention(nn.Module):
    """A `SelfAttention` with one product for queries, keys and values."""

    def __init__(self, attention: SelfAttention) -> None:
        super().__init__()
        self.head_dim = attention.head_dim
        self.num_heads = attention.query.out_features // self.head_dim
        self.num_kv_heads = attention.key.out_features // self.head_dim
        self.norm = _norm_for_inference(attention.norm)
        self.query_key_value = _joined(attention.query, attention.key, attention.value)
        self.output = _then(attention.output, attention.post_norm)
        self.heads_norm = self._joined_norm(attention.query_norm, attention.key_norm)

    def forward(
        self, hidden: Float[torch.Tensor, "batch sequence hidden_size"], by: Rotation, attend: Attend
    ) -> Float[torch.Tensor, "batch sequence hidden_size"]:
        """Return what attention adds to the residual stream."""
        projected = self.query_key_value(self.norm(hidden))
        rotated_heads = self.num_heads + self.num_kv_heads
        heads = projected.view(*hidden.shape[:2], rotated_heads + self.num_kv_heads, self.head_dim).transpose(1, 2)
        turning = heads[:, :rotated_heads]
        rotated = rotate(turning if self.heads_norm is None else self.heads_norm(turning), by)
        mixed = attend(rotated[:, : self.num_heads], rotated[:, self.num_heads :], heads[:, rotated_heads:])
        result: torch.Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return result

    __call__ = forward

    def _joined_norm(self, query_norm: nn.Module, key_norm: nn.Module) -> nn.Module | None:
        if not isinstance(query_norm, RMSNorm) or not isinstance(key_norm, RMSNorm):
            return None
        weights = [_whole_weight(query_norm)] * self.num_heads + [_whole_weight(key_norm)] * self.num_kv_heads
        return InferenceNorm(torch.stack(weights)[:, None], query_norm.epsilon)


class PackedFeedForward(nn.Module):
    """A `FeedForward` with one product for gate and up."""

    def __init__(self, feed_forward: FeedForward) -> None:
        super().__init__()
        self.activation = feed_forward.activation
        self.norm = _norm_for_inference(feed_forward.norm)
        self.gate_up = _joined(feed_forward.gate, feed_forward.up)
        self.down = _then(feed_forward.down, feed_forward.post_norm)

    def forward(
        self, hidden: Float[torch.Tensor, "batch sequence hidden_size"]
    ) -> Float[torch.Tensor, "batch sequence hidden_size"]:
        """Return what the network adds to the residual stream."""
        gate, up = self.gate_up(self.norm(hidden)).chunk(2, dim=-1)
        result: torch.Tensor = self.down(self.activation(gate).mul_(up))
        return result

    __call__ = forward


class InferenceNorm(nn.Module):
    """An `RMSNorm` of fewer operations: torch's is made of more than ten on a CPU, casts not counted.

        x / sqrt(mean(x²) + ε) = sqrt(n) x / sqrt(|x|² + n ε)          n the width; sqrt(n) is put into the weight

    Args:
        weight: In float32 at least, the offset included; broadcast over what is normalised.
        epsilon: Added to the mean square.
    """

    weight: torch.Tensor
    shortest: torch.Tensor

    def __init__(self, weight: Float[torch.Tensor, "*heads width"], epsilon: float) -> None:
        super().__init__()
        width = weight.shape[-1]
        self.register_buffer("weight", weight * width**0.5)
        self.register_buffer("shortest", weight.new_tensor((width * epsilon) ** 0.5), persistent=False)

    def forward(self, hidden: Float[torch.Tensor, "*places width"]) -> Float[torch.Tensor, "*places width"]:
        """Return the normalised states in their own dtype."""
        norm = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True, dtype=self.weight.dtype)
        normed: torch.Tensor = (hidden / norm.hypot_(self.shortest)).mul_(self.weight).to(hidden.dtype)
        return normed

    __call__ = forward


def _then(linear: nn.Linear, norm: nn.Module) -> nn.Module:
    """Return a linear map, and the norm after it where there is one."""
    return nn.Sequential(linear, _norm_for_inference(norm)) if isinstance(norm, RMSNorm) else linear


def _norm_for_inference(module: nn.Module) -> nn.Module:
    return InferenceNorm(_whole_weight(module), module.epsilon) if isinstance(module, RMSNorm) else module


def _whole_weight(norm: RMSNorm) -> torch.Tensor:
    weight = norm.weight.detach()
    return weight.to(torch.promote_types(weight.dtype, torch.float32)) + norm.offset


def _joined(*linears: nn.Linear) -> nn.Linear:
    """Return one linear map whose outputs are those of several maps of the same input, one after the other."""
    weight = torch.cat([linear.weight for linear in linears])
    joined = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    joined.weight = nn.Parameter(weight, requires_grad=False)
    return joined
