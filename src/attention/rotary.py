"""Rotary position embedding (RoPE; Su et al., 2021, section 3.2).

Coordinates j and j + D/2 of a head of width D form a pair, which is turned by the angle p ω_j at position p:

    x'_j       = x_j cos(p ω_j) - x_{j+D/2} sin(p ω_j)          ω_j = θ^(-2j/D),  0 <= j < D/2
    x'_{j+D/2} = x_{j+D/2} cos(p ω_j) + x_j sin(p ω_j)

The product of a turned query and a turned key depends on the difference of their positions only. Both lines are one,
x cos + roll(x) sin, where the roll by D/2 brings each coordinate's partner and the sine of the first half is negative.
"""

import math
from functools import cache
from typing import NamedTuple

import torch
from jaxtyping import Float, Int

from .decoder_config import RopeScaling


class Rotation(NamedTuple):
    """Cosines and sines of every token's angles, to be used for all heads and layers with the same frequencies.

    Both stand for each coordinate of a pair; the first one's sine is negative.
    """

    cosine: Float[torch.Tensor, "batch 1 sequence head_dim"]
    sine: Float[torch.Tensor, "batch 1 sequence head_dim"]


def rotation(
    positions: Int[torch.Tensor, "batch sequence"],
    head_dim: int,
    base: float,
    scaling: RopeScaling | None = None,
    dtype: torch.dtype = torch.float32,
) -> Rotation:
    """Return the rotation of tokens at the given positions.

    Angles are computed in float64: in float32 that of position 100,000 would be off by up to a hundredth.
    """
    precise = torch.float32 if positions.device.type == "mps" else torch.float64  # mps has no float64
    return rotation_by(signed_frequencies(head_dim, base, scaling).to(positions.device, precise), positions, dtype)


def rotation_by(
    frequencies: Float[torch.Tensor, " head_dim"], positions: Int[torch.Tensor, "batch sequence"], dtype: torch.dtype
) -> Rotation:
    """Return the rotation of tokens at the given positions, by frequencies as precise as angles are to be."""
    angles = positions[:, None, :, None].to(frequencies.dtype) * frequencies
    return Rotation(angles.cos().to(dtype), angles.sin().to(dtype))


def rotate(
    heads: Float[torch.Tensor, "batch heads sequence head_dim"], by: Rotation
) -> Float[torch.Tensor, "batch heads sequence head_dim"]:
    """Turn the pairs of coordinates of queries or keys."""
    return torch.addcmul(heads * by.cosine, heads.roll(heads.shape[-1] // 2, -1), by.sine)


@cache
def inverse_frequencies(
    head_dim: int, base: float, scaling: RopeScaling | None = None
) -> Float[torch.Tensor, " half_head_dim"]:
    """Return ω, in radians per position, in float32 as models are trained with."""
    with torch.inference_mode(False), torch.device("cpu"):  # kept for any later call, of training too
        frequencies = 1.0 / base ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
        if scaling is None:
            return frequencies
        return frequencies / scaling.factor if scaling.kind == "linear" else _llama3(frequencies, scaling)


@cache
def signed_frequencies(head_dim: int, base: float, scaling: RopeScaling | None) -> Float[torch.Tensor, " head_dim"]:
    """Return -ω for the first coordinates of the pairs, ω for their partners, in float64."""
    with torch.inference_mode(False):
        frequencies = inverse_frequencies(head_dim, base, scaling).double()
        return torch.cat((-frequencies, frequencies))


def _llama3(
    frequencies: Float[torch.Tensor, " half_head_dim"], scaling: RopeScaling
) -> Float[torch.Tensor, " half_head_dim"]:
    """Divide low frequencies by the factor, keep high ones, and mix linearly between (Llama 3.1)."""
    turns = scaling.original_max_positions * frequencies / (2 * math.pi)  # within the context of pre-training
    low, high = scaling.low_frequency_factor, scaling.high_frequency_factor
    kept = ((turns - low) / (high - low)).clamp(0.0, 1.0)
    return (1 - kept) * frequencies / scaling.factor + kept * frequencies
