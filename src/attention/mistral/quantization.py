"""Weights of 8 and 4 bits on the CPU, activations in bfloat16: a decoding step costs what its weights weigh.

    int8    w_nk ≈ s_n q_nk                  s_n = max_k |w_nk| / 127                       one scale for each output n
    int4    w_nk ≈ s_ng (q_nk - 8) + z_ng    s_ng = (max - min) / 15,  z_ng = min + 8 s_ng   over a group g of inputs k

Scales and zeros are rounded to bfloat16 before q is chosen, so that q makes up for their rounding. The products are
torch's own kernels; they read the packed weights, and no weight matrix in bfloat16 is made for a few rows of input.
"""

from typing import Any, Literal, NamedTuple, get_args

import torch
from jaxtyping import Float, Int8, Integer
from torch import nn
from torch.nn import functional

from ...errors import OctoberError
from ...reporting.environment import cpu_multiplies_bfloat16
from ..transformer import Transformer

QuantizedKind = Literal["int8", "int4"]
_KERNELS = {
    "int8": ("_weight_int8pack_mm",),
    "int4": ("_convert_weight_to_int4pack_for_cpu", "_weight_int4pack_mm_for_cpu"),
}
_INT8_INPUTS = 16  # the int8 kernel reads inputs 16 at a time, beyond the end of other widths
_INT4_OUTPUTS = 16  # the int4 kernel's smallest block
_INT4_GROUPS = (32, 64, 128, 256)
_FEW_ROWS = 16  # beyond, unpacking int8 weights once is faster than the kernel, which unpacks them for every few rows
DEFAULT_GROUP_SIZE = 32


def quantize_(decoder: Transformer, kind: QuantizedKind, *, group_size: int = DEFAULT_GROUP_SIZE) -> Transformer:
    """Quantise all linear maps of a decoder in place, its head too; the embedding and the norms stay in bfloat16.

    A head that is tied to the embedding becomes a map of its own.

    Args:
        decoder: In bfloat16, on the CPU.
        kind: `int8`, or `int4`, whose head is int8: it is the most sensitive map.
        group_size: Weights with a common scale, of `int4`.

    Raises:
        OctoberError: An unknown kind, another dtype or device, a width that a kernel does not take, or a torch
            without the kernel.
    """
    weight = decoder.embedding.weight
    check_quantization(kind, weight.dtype, weight.device)
    for layer in decoder.layers:
        quantize_module_(layer, kind, group_size=group_size)
    if isinstance(decoder.head, nn.Linear):
        decoder.add_module("head", Int8Linear(decoder.head))
    return decoder


def quantize_module_(module: nn.Module, kind: QuantizedKind, *, group_size: int = DEFAULT_GROUP_SIZE) -> None:
    """Quantise the linear maps inside a module in place; arguments and errors as in `quantize_`."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            module.add_module(name, Int8Linear(child) if kind == "int8" else Int4Linear(child, group_size))
        else:
            quantize_module_(child, kind, group_size=group_size)


def check_quantization(kind: str, dtype: torch.dtype, device: torch.device) -> None:
    """Check that this torch quantises to a kind of weights, for these activations and this device.

    Raises:
        OctoberError: It does not; the line says what does.
    """
    if kind not in get_args(QuantizedKind):
        raise OctoberError(f"weights={kind}: must be one of {', '.join(get_args(QuantizedKind))}")
    if device.type != "cpu":
        raise OctoberError(f"weights={kind} on {device}: the kernels are the CPU's; choose bfloat16")
    if dtype != torch.bfloat16:
        raise OctoberError(f"weights={kind} with dtype {dtype}: the kernels want bfloat16 activations")
    lacking = [name for name in _KERNELS[kind] if not hasattr(torch, name)]
    if lacking:
        raise OctoberError(f"weights={kind}: torch {torch.__version__} has no {lacking[0]}; choose bfloat16")


class Int8Linear(nn.Module):
    """A linear map of bfloat16 activations whose weights are int8, with one scale for each output.

    Raises:
        OctoberError: The map has a bias, or a width that is not a multiple of 16.
    """

    weight: torch.Tensor
    scales: torch.Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        _check_linear("int8", linear, _INT8_INPUTS, 1)
        integers, scales = quantized_int8(linear.weight.detach())
        self.register_buffer("weight", integers)
        self.register_buffer("scales", scales)

    def forward(self, hidden: Float[torch.Tensor, "*places inputs"]) -> Float[torch.Tensor, "*places outputs"]:
        """Return the product with the weights."""
        parts: dict[str, Any] = self._buffers  # as in a packed decoder: a module's own look-up is a search in Python
        weight, scales = parts["weight"], parts["scales"]
        rows = hidden.reshape(-1, hidden.shape[-1])
        if len(rows) > _FEW_ROWS:
            dtype = hidden.dtype if cpu_multiplies_bfloat16() else torch.float32
            return functional.linear(hidden.to(dtype), weight.to(dtype)).mul_(scales).to(hidden.dtype)
        return torch._weight_int8pack_mm(rows, weight, scales).view(*hidden.shape[:-1], weight.shape[0])

    __call__ = forward


class Int4Linear(nn.Module):
    """A linear map of bfloat16 activations whose weights are int4, with a scale and a zero for each group.

    Raises:
        OctoberError: The map has a bias, its width is not a multiple of `group_size` or its outputs not one of 16, or
            `group_size` is not 32, 64, 128 or 256.
    """

    weight: torch.Tensor
    scales_and_zeros: torch.Tensor

    def __init__(self, linear: nn.Linear, group_size: int = DEFAULT_GROUP_SIZE) -> None:
        super().__init__()
        if group_size not in _INT4_GROUPS:
            raise OctoberError(f"group_size={group_size}: must be one of {', '.join(map(str, _INT4_GROUPS))}")
        _check_linear("int4", linear, group_size, _INT4_OUTPUTS)
        self.group_size = group_size
        integers, scales, zeros = quantized_int4(linear.weight.detach(), group_size)
        self.register_buffer("weight", torch._convert_weight_to_int4pack_for_cpu(integers.int(), 1))
        self.register_buffer("scales_and_zeros", torch.stack([scales.T, zeros.T], dim=2).contiguous())

    def forward(self, hidden: Float[torch.Tensor, "*places inputs"]) -> Float[torch.Tensor, "*places outputs"]:
        """Return the product with the weights."""
        parts: dict[str, Any] = self._buffers
        rows = hidden.reshape(-1, hidden.shape[-1])
        scales_and_zeros = parts["scales_and_zeros"]
        product = torch._weight_int4pack_mm_for_cpu(rows, parts["weight"], self.group_size, scales_and_zeros)
        return product.view(*hidden.shape[:-1], scales_and_zeros.shape[1])

    __call__ = forward


class Int8Weights(NamedTuple):
    """What stands for a weight matrix: scales[n] times integers[n, k]."""

    integers: Int8[torch.Tensor, "outputs inputs"]
    scales: Float[torch.Tensor, " outputs"]


class Int4Weights(NamedTuple):
    """What stands for a weight matrix: scales[n, g] (integers[n, k] - 8) + zeros[n, g], integers from 0 to 15."""

    integers: Integer[torch.Tensor, "outputs inputs"]
    scales: Float[torch.Tensor, "outputs groups"]
    zeros: Float[torch.Tensor, "outputs groups"]


def quantized_int8(weight: Float[torch.Tensor, "outputs inputs"]) -> Int8Weights:
    """Round each output's weights to multiples of a 127th of the largest."""
    wide = weight.float()
    scales = (wide.abs().amax(dim=1) / 127).bfloat16()
    integers = (wide / _not_zero(scales)[:, None]).round_().clamp_(-127, 127)
    return Int8Weights(integers.to(torch.int8), scales)


def quantized_int4(weight: Float[torch.Tensor, "outputs inputs"], group_size: int) -> Int4Weights:
    """Round each group's weights to 16 values that are evenly spaced from the smallest to the largest."""
    groups = weight.float().view(len(weight), -1, group_size)
    smallest, largest = groups.aminmax(dim=2)
    scales = ((largest - smallest) / 15).bfloat16()
    zeros = (smallest + 8 * scales.float()).bfloat16()
    steps = (groups - zeros.float()[:, :, None]) / _not_zero(scales)[:, :, None] + 8
    integers = steps.round_().clamp_(0, 15).flatten(1)
    return Int4Weights(integers.to(torch.uint8), scales, zeros)


def _not_zero(scales: torch.Tensor) -> torch.Tensor:
    """Return scales to divide by: where all weights are equal, any number serves."""
    return torch.where(scales == 0, 1.0, scales.float())


def _check_linear(kind: str, linear: nn.Linear, input_multiple: int, output_multiple: int) -> None:
    if any(name == "bias" for name, _ in linear.named_parameters()):
        raise OctoberError(f"weights={kind}: a linear map with a bias is not quantised")
    for what, width, multiple in (
        ("inputs", linear.in_features, input_multiple),
        ("outputs", linear.out_features, output_multiple),
    ):
        if width % multiple:
            raise OctoberError(f"weights={kind}: a linear map has {width} {what}; must be a multiple of {multiple}")
