"""The small decoder that both trained tables use, and the ranks' places when several rings train it together."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from october.attention import DecoderConfig, Transformer
from october.attention.ring_attention import Ring
from october.errors import OctoberError

MAX_GRADIENT_NORM = 1.0
WARMUP = 0.05  # share of the steps
ROPE_BASE = 1000.0  # fewer of a small head's few frequencies lie idle than with the usual 10,000
USUAL = 0.02  # standard deviation of the decoder's own initial matrices
EMBEDDING = 0.2  # of the initial embedding: what the layers add does not drown it
INITIAL = 0.6  # standard deviation of the initial matrices, in units of 1 / sqrt(hidden_size)


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
            rope_bases=(ROPE_BASE,),
        )
        decoder = Transformer(config, seed=seed)
        widen(decoder)
        return decoder


@torch.no_grad()
def widen(decoder: Transformer) -> None:
    """Scale initial weights from a standard deviation of 0.02, right for states thousands wide, to a small model's."""
    decoder.embedding.weight *= EMBEDDING / USUAL
    for parameter in decoder.layers.parameters():
        if parameter.ndim == 2:
            parameter *= INITIAL * decoder.config.hidden_size**-0.5 / USUAL


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


def learning_rates(highest: float, num_steps: int) -> Iterator[float]:
    """Yield the rate of each step: a linear rise over the first twentieth, then half a cosine down to a tenth."""
    rise = max(1, round(WARMUP * num_steps))
    for step in range(num_steps):
        fall = max(0.0, (step - rise) / max(1, num_steps - rise))
        cosine = 0.55 + 0.45 * float(torch.cos(torch.tensor(torch.pi * fall)))
        yield highest * min(1.0, (step + 1) / rise) * cosine


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give the optimiser its rate for the next step."""
    for group in optimizer.param_groups:
        group["lr"] = rate
