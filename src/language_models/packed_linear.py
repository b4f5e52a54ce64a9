"""Linear maps for inference, their weights laid out once as the kernel reads them.

For a few rows of input torch's product in float32 first copies the whole weight into another layout, at every call: a
decoding step then costs more memory traffic than its weights weigh. oneDNN, which comes with torch, takes weights that
lie so already: two to four times as fast for 2 to 16 rows where there is no AVX-512, and the same for very many.
"""

from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import nn
from torch.nn import functional

Network = TypeVar("Network", bound=nn.Module)


class PackedLinear(nn.Linear):
    """A linear map without gradients, called without torch's hooks.

    In float32 on a CPU its weight is a tensor of oneDNN's: it has a shape and `to_dense`, but no storage that others
    could share, and it stays where it is.

    Args:
        weight: [outputs, inputs]; copied only where it is laid out anew.
        bias: [outputs], or none.
    """

    def __init__(self, weight: Float[torch.Tensor, "outputs inputs"], bias: torch.Tensor | None = None) -> None:
        super().__init__(weight.shape[1], weight.shape[0], bias=False, device="meta")
        self.weight = nn.Parameter(_laid_out(weight.detach()), requires_grad=False)
        self.register_parameter("bias", None if bias is None else nn.Parameter(bias.detach(), requires_grad=False))

    def forward(self, hidden: Float[torch.Tensor, "*places inputs"]) -> Float[torch.Tensor, "*places outputs"]:
        """Return the product with the weight, and the bias added."""
        parts: dict[str, Any] = self._parameters  # a module's own look-up is a search in Python
        weight, bias = parts["weight"], parts["bias"]
        if weight.is_mkldnn:
            product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(hidden, weight, bias, "none", [], "")
            return product
        return functional.linear(hidden, weight, bias)

    __call__ = forward


def pack_linears_(module: Network) -> Network:
    """Pack the linear maps inside a module in place, and return it; it can no longer be trained or moved.

    A head that is tied to the embedding becomes a map of its own.
    """
    for name, child in module.named_children():
        if type(child) is nn.Linear and _gains(child.weight):
            module.add_module(name, PackedLinear(child.weight, child.bias))
        else:
            pack_linears_(child)
    return module


def _laid_out(weight: Float[torch.Tensor, "outputs inputs"]) -> torch.Tensor:
    """Return a weight as the fastest kernel for it reads it."""
    if not _gains(weight):
        return weight
    laid_out: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)
    return laid_out


def _gains(weight: torch.Tensor) -> bool:
    there: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return there and weight.dtype == torch.float32 and weight.device.type == "cpu"
