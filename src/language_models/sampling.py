"""Choosing the next token of each row: greedily, or by a generator that belongs to the row."""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int

_BLOCK, _SMALLEST_BLOCK = 512, 64  # numbers; below the smallest, blocks gain nothing


def row_generators(prompts: Sequence[str], seed: int) -> list[torch.Generator]:
    """Return one generator per prompt: seeded by `seed`, the prompt, and the equal prompts before it."""
    seen: Counter[str] = Counter()
    generators = []
    for prompt in prompts:
        digest = hashlib.sha256(f"{seed}\0{seen[prompt]}\0{prompt}".encode()).digest()
        generators.append(torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True)))
        seen[prompt] += 1
    return generators


def next_tokens(
    logits: Float[torch.Tensor, "rows vocabulary"],
    temperature: float,
    top_p: float,
    generators: Sequence[torch.Generator],
) -> Int[torch.Tensor, " rows"]:
    """Return each row's next token: the likeliest at temperature 0, else a sample from the nucleus `top_p`."""
    if temperature == 0:
        return likeliest_tokens(logits)
    draws = torch.stack([torch.rand((), generator=generator, dtype=torch.float64) for generator in generators])
    probabilities = torch.softmax(logits.double() / temperature, dim=-1)
    if top_p == 1:
        return _inverse_cdf(probabilities.cumsum(dim=-1), draws)
    ordered, tokens = probabilities.sort(dim=-1, descending=True, stable=True)
    cumulative = ordered.cumsum(dim=-1)
    outside = cumulative - ordered >= top_p  # the likeliest token is always inside
    cumulative = ordered.masked_fill(outside, 0.0).cumsum(dim=-1)
    return tokens.gather(1, _inverse_cdf(cumulative, draws)[:, None])[:, 0]


def likeliest_tokens(logits: Float[torch.Tensor, "rows vocabulary"]) -> Int[torch.Tensor, " rows"]:
    """Return the first of each row's likeliest tokens.

    A CPU looks for a maximum and its place number by number, for a maximum alone by vectors. So the largest of each
    block is taken, and the place looked for among these, then in the one block.
    """
    rows, vocabulary = logits.shape
    block = math.gcd(vocabulary, _BLOCK)
    if logits.device.type != "cpu" or block < _SMALLEST_BLOCK:
        return logits.max(dim=-1).indices  # argmax of bfloat16 takes four times as long
    blocks = torch.unflatten(logits, -1, (-1, block))
    chosen = blocks.amax(dim=-1).max(dim=-1).indices
    within = blocks[torch.arange(rows), chosen].max(dim=-1).indices
    return chosen * block + within


def _inverse_cdf(
    cumulative: Float[torch.Tensor, "rows vocabulary"], draws: Float[torch.Tensor, " rows"]
) -> Int[torch.Tensor, " rows"]:
    """Return the first index whose cumulative mass exceeds the draw's share of the whole mass."""
    targets = draws.to(cumulative.device)[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, targets, right=True)[:, 0].clamp(max=cumulative.shape[1] - 1)
