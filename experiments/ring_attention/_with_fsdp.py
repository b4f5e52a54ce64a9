"""Ring Attention with FSDP: weights sharded over all ranks, sequences over the ranks of each ring.

    ranks 0 … 7, rings of 4       data 0: ring 0 1 2 3       data 1: ring 4 5 6 7       weights: 0 1 2 3 4 5 6 7

Run it:  torchrun --nproc-per-node 4 -m october.experiments.ring_attention._with_fsdp
"""

import os
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import MistralConfig, MistralForCausalLM

from october.attention.ring_attention import Ring, ring_context, shard_batch

_NO_LABEL = -100


def with_fsdp(model: Any, ring_size: int, device: str) -> Ring:
    """Shard the weights of a Hugging Face decoder over all ranks, in place, and return this rank's ring.

    Args:
        model: With `attn_implementation="ring"`, the same on every rank.
        ring_size: Ranks that share a sequence; the ranks over it are data parallel.
        device: Type of the devices: `cuda` or `cpu`.
    """
    world_size = dist.get_world_size()
    everyone = init_device_mesh(device, (world_size,))
    by_ring = init_device_mesh(device, (world_size // ring_size, ring_size), mesh_dim_names=("data", "ring"))
    for layer in model.model.layers:
        fully_shard(layer, mesh=everyone)
    fully_shard(model, mesh=everyone)
    return Ring(by_ring["ring"].get_group())


def backward(model: Any, batch: dict[str, Tensor], ring: Ring) -> Tensor:
    """Add the gradients of one batch for each ring, and return the mean loss of all their labels in nats.

    FSDP averages gradients over all W ranks: with T labels everywhere a rank's summed loss counts W / T.
    """
    shard = shard_batch(batch, ring)
    labels, segment_ids = shard.pop("shift_labels"), shard.pop("segment_ids", None)
    with ring_context(ring, sequence_length=batch["input_ids"].shape[1], segment_ids=segment_ids):
        logits = model(**shard, use_cache=False).logits
    summed = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), reduction="sum")
    totals = torch.stack([summed.detach(), (labels != _NO_LABEL).sum().to(summed.dtype)])
    dist.all_reduce(totals)
    (summed * dist.get_world_size() / totals[1]).backward()
    return totals[0] / totals[1]


def main() -> None:
    """Train a small Mistral, whose window is shorter than its texts, on two texts at a time."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=256, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, sliding_window=64, attn_implementation="ring",
    )  # fmt: skip
    model = MistralForCausalLM(config).to(device)
    ring = with_fsdp(model, dist.get_world_size() // 2 or 1, device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    tokens = torch.randint(256, (2, 500), generator=torch.Generator().manual_seed(1)).to(device)
    text = tokens[dist.get_rank() // ring.world_size % 2][None]  # each ring has its own
    for step in range(10):
        loss = backward(model, {"input_ids": text, "labels": text}, ring)
        optimizer.step()
        optimizer.zero_grad()
        if dist.get_rank() == 0:
            print(f"step {step}: loss {float(loss):.3f}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
