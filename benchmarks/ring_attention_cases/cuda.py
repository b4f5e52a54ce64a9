"""Where a CUDA device is at hand: the blockwise path against torch's flash attention, and ranks that share the card."""

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

from october.attention.processes import Processes
from october.attention.ring_attention import blockwise_attention, ring_attention, shard
from october.experiments.ring_attention._ring_common import drawn, relative_error
from october.reporting.benchmarks import Case, Measured
from ring_attention_cases.tasks import HEADS, TOLERANCE

CUDA_LENGTHS = (32768, 65536, 131072, 262144)
SHARED_LENGTH, SHARED_RANKS = 2048, 4


def cuda_cases(divisor: int) -> list[Case | Measured]:
    """Return the blockwise path against torch's flash attention on a CUDA device, and several ranks sharing it."""
    if not torch.cuda.is_available():
        print("skipped: cases on a CUDA device, as there is none")
        return []
    cases: list[Case | Measured] = [cuda_case(length // divisor) for length in CUDA_LENGTHS]
    with Processes(SHARED_RANKS) as pool:
        error = max(pool.run(error_on_shared_device, SHARED_LENGTH))
    name = f"error against dense float64, {SHARED_RANKS} ranks sharing the CUDA device over gloo, bfloat16"
    bound = TOLERANCE["bfloat16"]
    return [*cases, Measured(name=name, ours=error, peer=bound, unit="of the largest value", bar="<=1")]


def cuda_case(length: int) -> Case:
    """Return the case of one length, in bfloat16."""
    *inputs, grad_output = (tensor.to("cuda") for tensor in drawn(0, length, HEADS, torch.bfloat16))
    for tensor in inputs:
        tensor.requires_grad_()

    def run(attend: Callable[..., Tensor]) -> list[Tensor]:
        output = attend(*inputs)
        found = [output.detach(), *torch.autograd.grad(output, inputs, grad_output)]
        torch.cuda.synchronize()
        return found

    def torch_attention(*tensors: Tensor) -> Tensor:
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.FLASH_ATTENTION):
            return functional.scaled_dot_product_attention(*tensors, is_causal=True)

    def check(ours: list[Tensor], theirs: list[Tensor]) -> None:
        for one, other in zip(ours, theirs, strict=True):
            assert relative_error(one, other.double()) <= TOLERANCE["bfloat16"]

    return Case(
        name=f"causal, bfloat16, S = {length:,}, CUDA: blockwise path against torch's flash attention",
        ours=lambda: run(blockwise_attention),
        peer=lambda: run(torch_attention),
        bar="<=1.10",
        unit="ms",
        check=check,
        peer_settings=f"torch {torch.__version__}, FLASH_ATTENTION, {torch.cuda.get_device_name()}",
    )


def error_on_shared_device(length: int) -> float:
    """Return the largest error of this rank's output and gradients, all ranks on the same device."""
    rank, world_size = dist.get_rank(), dist.get_world_size()
    whole = [tensor.to("cuda") for tensor in drawn(0, length, HEADS, torch.bfloat16)]
    wide = [tensor.double().requires_grad_() for tensor in whole[:3]]
    dense = functional.scaled_dot_product_attention(*wide, is_causal=True)
    expected = [dense.detach(), *torch.autograd.grad(dense, wide, whole[3].double())]
    *inputs, grad_output = (shard(tensor, rank, world_size, "zigzag", dim=2) for tensor in whole)
    inputs = [tensor.requires_grad_() for tensor in inputs]
    output = ring_attention(*inputs)
    found = [output.detach(), *torch.autograd.grad(output, inputs, grad_output)]
    parts = [shard(tensor, rank, world_size, "zigzag", dim=2) for tensor in expected]
    return max(relative_error(one, other) for one, other in zip(found, parts, strict=True))
