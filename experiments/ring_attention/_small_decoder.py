"""The small decoder that both trained tables use, the ranks' places when several rings train it together, and names."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from october.attention import (
    SMALL_ROPE_BASE,
    DecoderConfig,
    Transformer,
    learning_rate_share,
    scale_small_weights_,
)
from october.attention.ring_attention import Ring
from october.errors import OctoberError

MAX_GRADIENT_NORM = 1.0


@dataclass(frozen=True)
class Shape:
    """Size of a decoder.

    Raises:
        OctoberError: Heads do not divide the hidden size.
    """

    hidden_size: int
    intermediate_size: int
    num_layers: int
    head_dim: int

    def __post_init__(self) -> None:
        if self.hidden_size % self.head_dim:
            raise OctoberError(f"hidden_size={self.hidden_size}: must be a multiple of head_dim={self.head_dim}")

    def decoder(self, vocab_size: int, max_positions: int, seed: int) -> Transformer:
        """Return the decoder with fresh weights, the same on every rank."""
        num_heads = self.hidden_size // self.head_dim
        config = DecoderConfig(
            vocab_size=vocab_size,
            hidden_size=self.hidden_size,
            intermediate_size=self.intermediate_size,
            num_layers=self.num_layers,
            num_heads=num_heads,
            num_kv_heads=num_heads,
            head_dim=self.head_dim,
            max_positions=max_positions,
            rope_bases=(SMALL_ROPE_BASE,),
        )
        return scale_small_weights_(Transformer(config, seed=seed))


@dataclass(frozen=True)
class Rings:
    """Several rings of one size over all ranks, each with its own sequences.

    Attributes:
        own: This rank's ring.
        everyone: All ranks.
        number: Which ring this rank is in.
        count: How many there are.
    """

    own: Ring
    everyone: Ring
    number: int
    count: int

    def share(self, sequences: Tensor) -> Tensor:
        """Return the sequences (rows) of this rank's ring; all rings get as many."""
        return sequences[self.number :: self.count].contiguous()


def rings_of(ring_size: int) -> Rings:
    """Form rings of neighbouring ranks; every rank makes the call."""
    rank, world_size = dist.get_rank(), dist.get_world_size()
    groups = [dist.new_group(list(range(first, first + ring_size))) for first in range(0, world_size, ring_size)]
    return Rings(Ring(groups[rank // ring_size]), Ring(), rank // ring_size, len(groups))


def processes_in_words(count: int) -> str:
    """Return "1 process", "2 processes" and so on, for the names of rows."""
    return "1 process" if count == 1 else f"{count} processes"


def learning_rates(highest: float, num_steps: int) -> Iterator[float]:
    """Yield the rate of each step (`learning_rate_share`)."""
    for step in range(num_steps):
        yield highest * learning_rate_share(step, num_steps)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give the optimiser its rate for the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate
