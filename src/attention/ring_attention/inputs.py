"""What attention here takes, and what it refuses by name."""

import torch
from torch import Tensor

from ...errors import OctoberError
from .documents import check_segment_ids

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def unit_stride(tensor: Tensor) -> Tensor:
    """Return a tensor whose last dimension lies side by side in memory: the fused kernels take that for granted."""
    return tensor if tensor.shape[-1] == 1 or tensor.stride(-1) == 1 else tensor.contiguous()


def check_tensors(query: Tensor, key: Tensor, value: Tensor, segment_ids: Tensor | None) -> None:
    """Check shapes and types of one process's tensors.

    Raises:
        OctoberError: One line that names the tensor and what is allowed.
    """
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        if tensor.dim() != 4:
            raise OctoberError(f"{name} {tuple(tensor.shape)}: must be [batch, heads, tokens, head_dim]")
        if tensor.dtype not in DTYPES:
            raise OctoberError(f"{name} is {tensor.dtype}: must be one of {', '.join(map(str, DTYPES))}")
        if tensor.dtype != query.dtype or tensor.device != query.device:
            raise OctoberError(
                f"{name} is {tensor.dtype} on {tensor.device}, query {query.dtype} on {query.device}: must be the same"
            )
    if key.shape != value.shape:
        raise OctoberError(f"key {tuple(key.shape)} and value {tuple(value.shape)}: must have one shape")
    batch, heads, tokens, head_dim = query.shape
    if (batch, tokens, head_dim) != (key.shape[0], key.shape[2], key.shape[3]):
        raise OctoberError(
            f"query {tuple(query.shape)} and key {tuple(key.shape)}: may differ in the number of heads only"
        )
    if not key.shape[1] or heads % key.shape[1]:
        raise OctoberError(f"{heads} query heads over {key.shape[1]} key/value heads: must divide evenly")
    if not head_dim:
        raise OctoberError("head_dim=0: must be at least 1")
    if segment_ids is not None:
        check_segment_ids(segment_ids, query)
