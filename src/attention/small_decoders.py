"""What small decoders trained from scratch need otherwise than large ones: initial weights, rotary base, rates."""

import math

import torch

from .transformer import Transformer

SMALL_ROPE_BASE = 1000.0  # fewer of a small head's few frequencies lie idle than with the usual 10,000
_USUAL = 0.02  # standard deviation of the decoder's own initial matrices
_EMBEDDING = 0.2  # of the initial embedding: what the layers add does not drown it
_INITIAL = 0.6  # standard deviation of the initial matrices, in units of 1 / sqrt(hidden_size)
_RISING = 0.05  # share of the steps
_LAST_RATE = 0.1  # of the highest learning rate


@torch.no_grad()
def scale_small_weights_(decoder: Transformer) -> Transformer:
    """Scale fresh weights from a standard deviation of 0.02, right for states thousands wide, to a small model's.

    Returns:
        The same decoder.
    """
    decoder.embedding.weight.mul_(_EMBEDDING / _USUAL)
    for parameter in decoder.layers.parameters():
        if parameter.ndim == 2:
            parameter.mul_(_INITIAL * decoder.config.hidden_size**-0.5 / _USUAL)
    return decoder


def learning_rate_share(step: int, num_steps: int) -> float:
    """Return a step's learning rate over the highest: a linear rise, then half a cosine down to a tenth.

    Args:
        step: From 0 on; the first has a rate above 0.
        num_steps: Of the whole training; a twentieth of them rise.
    """
    rise = max(1, round(_RISING * num_steps))
    fall = max(0.0, (step - rise) / max(1, num_steps - rise))
    cosine = (1 + math.cos(math.pi * fall)) / 2
    return min(1.0, (step + 1) / rise) * (_LAST_RATE + (1 - _LAST_RATE) * cosine)
