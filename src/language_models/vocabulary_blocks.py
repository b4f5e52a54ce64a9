"""A language model's head, the vocabulary a block at a time.

    log p(y) = z_y - logsumexp_b [ logsumexp_(v in block b) z_v ]

The logits of a block lie in the processor's caches, all of them would not: with 262,144 words a row alone has 1 MiB.
A block's product has the weights as its left factor; of a right one torch copies all, at every call.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import nn
from torch.nn import functional

_BLOCK, _SMALLEST_BLOCK = 2048, 256  # words
_NUMBERS = 1 << 21  # logits of a block, 8 MiB
_FEW, _COLUMNS = 8, 16  # states: few are fastest in one product, more in a multiple of so many columns


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
    order = targets.argsort()
    in_order = targets[order]
    chosen = torch.empty(len(targets))
    normalizers, largest = [], []
    for first, product in block_products(weight, hidden):
        logits = logits_of(product)
        normalizers.append(logits.logsumexp(dim=0))
        largest.append(logits.amax(dim=0))
        start, stop = torch.searchsorted(in_order, torch.tensor([first, first + len(logits)])).tolist()
        if stop > start:
            here = order[start:stop]
            chosen[here] = logits[targets[here] - first, places[here]]
    normalizer, highest = torch.stack(normalizers).logsumexp(dim=0), torch.stack(largest).amax(dim=0)
    return chosen - normalizer[places], chosen == highest[places]


def products_by_blocks(
    weight: Float[torch.Tensor, "vocabulary width"], hidden: Float[torch.Tensor, "states width"]
) -> Float[torch.Tensor, "states vocabulary"]:
    """Return the product of hidden states with all weights."""
    made = hidden.new_empty(len(hidden), len(weight))
    for first, product in block_products(weight, hidden):
        made[:, first : first + len(product)] = product.T
    return made


def block_products(
    weight: Float[torch.Tensor, "vocabulary width"], hidden: Float[torch.Tensor, "states width"]
) -> Iterator[tuple[int, Float[torch.Tensor, "block states"]]]:
    """Yield each block's first word and its product with hidden states."""
    count = len(hidden)
    if count <= _FEW:
        yield 0, torch.mm(weight, hidden.T)
        return
    size = max(_SMALLEST_BLOCK, min(_BLOCK, _NUMBERS // count))
    columns = functional.pad(hidden, (0, 0, 0, -count % _COLUMNS)).T.contiguous()
    for number, block in enumerate(torch.split(weight, size)):
        yield number * size, torch.mm(block, columns)[:, :count]
