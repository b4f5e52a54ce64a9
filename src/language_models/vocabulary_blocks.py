"""Scores of tokens without all logits: the vocabulary passes a block at a time.

    log p(y) = z_y - logsumexp_b [ logsumexp_(v in block b) z_v ]

The logits of a block lie in the processor's caches, all of them would not: with 262,144 words a row alone has 1 MiB.
A block's product has the weights as its left factor; of a right one torch copies all, at every call.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import nn

_BLOCK, _SMALLEST_BLOCK = 2048, 256  # words
_NUMBERS = 1 << 21  # logits of a block, 8 MiB


def gains_from_blocks(linear: Any) -> bool:
    """Return whether a head gains: in float32 on processors without AVX-512, where alone it was measured."""
    if type(linear) is not nn.Linear or len(list(linear.parameters())) > 1:  # adapters and biases are more
        return False
    on_cpu = linear.weight.dtype == torch.float32 and linear.weight.device.type == "cpu"
    return on_cpu and torch.backends.cpu.get_cpu_capability() == "AVX2"


def scores_by_blocks(
    weight: Float[torch.Tensor, "vocabulary width"],
    hidden: Float[torch.Tensor, "states width"],
    targets: Int[torch.Tensor, " n"],
    places: Int[torch.Tensor, " n"],
    logits_of: Callable[[torch.Tensor], torch.Tensor] = lambda product: product,
) -> tuple[Float[torch.Tensor, " n"], Bool[torch.Tensor, " n"]]:
    """Return the log-probability of each target behind its state, and whether no token is likelier there.

    Args:
        weight: Of the head.
        hidden: States.
        targets: Tokens.
        places: Of the state that each target follows.
        logits_of: What is done to products, element by element, before they are logits.
    """
    size = max(_SMALLEST_BLOCK, min(_BLOCK, _NUMBERS // max(1, len(hidden))))
    order = targets.argsort()
    edges = torch.searchsorted(targets[order], torch.arange(0, len(weight) + size, size)).tolist()
    chosen = torch.empty(len(targets))
    normalizers, largest = [], []
    for number, block in enumerate(torch.split(weight, size)):
        logits = logits_of(torch.mm(block, hidden.T))
        normalizers.append(logits.logsumexp(dim=0))
        largest.append(logits.amax(dim=0))
        here = order[edges[number] : edges[number + 1]]
        if len(here):
            chosen[here] = logits[targets[here] - number * size, places[here]]
    normalizer, highest = torch.stack(normalizers).logsumexp(dim=0), torch.stack(largest).amax(dim=0)
    return chosen - normalizer[places], chosen == highest[places]
