"""A decoder's layers rearranged for inference: as few operations, and as few reads of memory, as a step can do with.

    [query; key; value] = [Wq; Wk; Wv] norm(hidden)         one product where there were three
    [gate; up]          = [Wg; Wu] norm(hidden)             one where there were two
    rotate([query; key])                                    all heads at once

A decoding step reads every weight once and does little with it, so that many small operations, and the interpreter's
way from one to the next, cost as much as the large ones: after each matrix they begin with empty caches. So these
modules are called without torch's hooks (`__call__ = forward`), take their parts from torch's dictionaries (a module's
own look-up is a search in Python) and reuse what a product has just made. The function stays the same; only its
rounding may differ.
"""

from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import nn

from ...language_models.packed_linear import PackedLinear
from ..rotary import Rotation, rotate
from ..transformer import (
    Attend,
    DecoderLayer,
    FeedForward,
    FeedForwardRunner,
    RMSNorm,
    SelfAttention,
    Transformer,
    token_of_each_row,
)

Parts = dict[str, Any]  # of a module, by their names


def pack_(decoder: Transformer) -> Transformer:
    """Rearrange a decoder for inference, in place; before it is quantised.

    Weights that it shared with another model are copied. It can no longer be trained, nor moved to another device.
    """
    for index, layer in enumerate(decoder.layers):
        decoder.layers[index] = pack_layer(cast(DecoderLayer | PackedLayer, layer))
    decoder.add_module("norm", _norm_for_inference(decoder.norm))
    if not isinstance(decoder.head, PackedLinear):
        decoder.add_module("head", PackedLinear(decoder.head.weight))
    return decoder


@torch.no_grad()
def pack_layer(layer: "DecoderLayer | PackedLayer") -> "PackedLayer":
    """Return a layer rearranged for inference; one that is already stays as it is."""
    return layer if isinstance(layer, PackedLayer) else PackedLayer(layer)


class PackedLayer(nn.Module):
    """A `DecoderLayer` of packed parts."""

    def __init__(self, layer: DecoderLayer) -> None:
        super().__init__()
        self.attention = PackedSelfAttention(layer.attention)
        self.feed_forward = PackedFeedForward(layer.feed_forward)

    def forward(
        self,
        hidden: Float[torch.Tensor, "batch sequence hidden_size"],
        by: Rotation,
        attend: Attend,
        run: FeedForwardRunner | None = None,
        asked: Int[torch.Tensor, " batch"] | None = None,
    ) -> Float[torch.Tensor, "batch places hidden_size"]:
        """Return the residual stream after this layer: of all tokens, or of one of each row, to which `attend` cuts."""
        parts: Parts = self._modules
        mixed = parts["attention"](hidden, by, attend)
        hidden = mixed.add_(hidden if asked is None else token_of_each_row(hidden, asked))
        feed_forward = parts["feed_forward"]
        added: torch.Tensor = feed_forward(hidden) if run is None else run(feed_forward, hidden)
        return added.add_(hidden)

    __call__ = forward


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
        self.add_module("heads_norm", self._joined_norm(attention.query_norm, attention.key_norm))

    def forward(
        self, hidden: Float[torch.Tensor, "batch sequence hidden_size"], by: Rotation, attend: Attend
    ) -> Float[torch.Tensor, "batch sequence hidden_size"]:
        """Return what attention adds to the residual stream."""
        parts: Parts = self._modules
        batch, sequence, _ = hidden.shape
        projected = parts["query_key_value"](parts["norm"](hidden))
        num_projected = self.num_heads + 2 * self.num_kv_heads  # said, not -1: there may be no token
        heads = projected.view(batch, sequence, num_projected, self.head_dim).transpose(1, 2)
        turning, value = heads.split_with_sizes((self.num_heads + self.num_kv_heads, self.num_kv_heads), 1)
        heads_norm = parts["heads_norm"]
        rotated = rotate(turning if heads_norm is None else heads_norm(turning), by)
        query, key = rotated.split_with_sizes((self.num_heads, self.num_kv_heads), 1)
        mixed = attend(query, key, value).transpose(1, 2).flatten(2)
        result: torch.Tensor = parts["output"](mixed)
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
        self.widths = (feed_forward.gate.out_features, feed_forward.up.out_features)
        self.norm = _norm_for_inference(feed_forward.norm)
        self.gate_up = _joined(feed_forward.gate, feed_forward.up)
        self.down = _then(feed_forward.down, feed_forward.post_norm)

    def forward(
        self, hidden: Float[torch.Tensor, "batch sequence hidden_size"]
    ) -> Float[torch.Tensor, "batch sequence hidden_size"]:
        """Return what the network adds to the residual stream."""
        parts: Parts = self._modules
        gate, up = parts["gate_up"](parts["norm"](hidden)).split_with_sizes(self.widths, -1)
        result: torch.Tensor = parts["down"](self.activation(gate).mul_(up))
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
        parts: Parts = self._buffers
        weight = parts["weight"]
        norm = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True, dtype=weight.dtype)
        normed: torch.Tensor = (hidden / norm.hypot_(parts["shortest"])).mul_(weight)
        return normed if normed.dtype == hidden.dtype else normed.to(hidden.dtype)

    __call__ = forward


def _then(linear: nn.Linear, norm: nn.Module) -> nn.Module:
    """Return a linear map, and the norm after it where there is one."""
    packed = PackedLinear(linear.weight)
    return nn.Sequential(packed, _norm_for_inference(norm)) if isinstance(norm, RMSNorm) else packed


def _norm_for_inference(module: nn.Module) -> nn.Module:
    return InferenceNorm(_whole_weight(module), module.epsilon) if isinstance(module, RMSNorm) else module


def _whole_weight(norm: RMSNorm) -> torch.Tensor:
    weight = norm.weight.detach()
    return weight.to(torch.promote_types(weight.dtype, torch.float32)) + norm.offset


def _joined(*linears: nn.Linear) -> PackedLinear:
    """Return one linear map whose outputs are those of several maps of the same input, one after the other."""
    return PackedLinear(torch.cat([linear.weight for linear in linears]))
