"""Generation with a Hugging Face model from prompts that are spread over a ring.

The prompt runs through the ring, each rank on its shard. Every further token runs on all ranks, and each attends to the
keys and values that it keeps (`sharded_cache.py`): no rank ever holds those of the whole text.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...errors import OctoberError
from . import agreement
from .batch import shard_batch
from .hugging_face import NAME, ring_context
from .layouts import Layout, shard_positions
from .ring import Ring
from .sharded_cache import ShardedCache


@torch.inference_mode()
def ring_generate(
    model: Any,
    input_ids: Int[Tensor, "batch prompt"],
    ring: Ring,
    *,
    max_new_tokens: int,
    layout: Layout = "zigzag",
    temperature: float = 0.0,
    seed: int = 0,
) -> Int[Tensor, "batch text"]:
    """Continue prompts of one length; all ranks call it and get the same tokens.

    Of the model's generation config only the end and padding tokens are used.

    Args:
        model: A causal language model with `attn_implementation="ring"`, the same on every rank.
        input_ids: The whole prompts, on every rank.
        ring: The ranks.
        max_new_tokens: Tokens to add; fewer if all texts end before.
        layout: How the prompts are dealt out.
        temperature: 0 for the likeliest token, else tokens are drawn from the softmax of logits / temperature.
        seed: Of the draws.

    Returns:
        Prompts and what follows; texts that end are filled up with the padding token.

    Raises:
        OctoberError: An argument is out of range, or the model's attention is not the ring.
        RingError: A rank did not answer in time.
    """
    _check(model, input_ids, max_new_tokens, temperature)
    generator = torch.Generator(input_ids.device).manual_seed(seed)
    ends, padding = _special_tokens(model)
    cache = ShardedCache(ring, input_ids.shape[1], layout=layout)
    logits = _prefill(model, input_ids, cache)
    ended = torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)
    text, chooser = [input_ids], _holder_of_last(cache)
    for index in range(max_new_tokens):
        token = _chosen(ring, chooser, logits, temperature, generator).masked_fill(ended, padding)
        text.append(token[:, None])
        ended |= torch.isin(token, ends)
        if bool(ended.all()) or index + 1 == max_new_tokens:
            break
        positions = cache.begin((len(token), 1))
        logits = _logits(model, token[:, None], positions, cache)
    return torch.cat(text, dim=1)


def _prefill(model: Any, input_ids: Tensor, cache: ShardedCache) -> Tensor:
    """Run the prompts; the logits are of the last token on the rank that holds it."""
    inputs = shard_batch({"input_ids": input_ids}, cache.ring, cache.layout)
    shape = (inputs["input_ids"].shape[0], inputs["input_ids"].shape[1])
    positions = cache.begin(shape, positions=inputs["position_ids"])
    return _logits(model, inputs["input_ids"], positions, cache)


def _logits(
    model: Any, input_ids: Tensor, positions: Tensor, cache: ShardedCache
) -> Float[Tensor, "batch at_most_one vocab"]:
    positions = positions.to(input_ids.device)
    with ring_context(cache.ring, layout=cache.layout, sequence_length=cache.prompt_length, cache=cache):
        logits: Tensor = model(input_ids=input_ids, position_ids=positions, use_cache=False, logits_to_keep=1).logits
    return logits


def _holder_of_last(cache: ShardedCache) -> int:
    last, world = cache.prompt_length - 1, cache.ring.world_size
    place = (world, cache.layout)
    return next(rank for rank in range(world) if last in shard_positions(cache.prompt_length, rank, *place))


def _chosen(
    ring: Ring, chooser: int, logits: Tensor, temperature: float, generator: torch.Generator
) -> Int[Tensor, " batch"]:
    """Return the choice of one rank: others may lack the logits, or differ in the last bit on another processor."""
    choice = None
    if ring.rank == chooser:
        last = logits[:, -1].float()
        drawn = last.argmax(-1)
        if temperature > 0:
            drawn = torch.multinomial(torch.softmax(last / temperature, -1), 1, generator=generator)[:, 0]
        choice = drawn.tolist()
    told = agreement.gather(ring.transport, choice)
    return torch.tensor(told[chooser], device=logits.device)


def _special_tokens(model: Any) -> tuple[Int[Tensor, " ends"], int]:
    """Return the tokens that end a text, and the one that fills it up."""
    config = model.generation_config
    ends: Any = config.eos_token_id
    ends = [] if ends is None else list(ends) if isinstance(ends, Sequence) else [ends]
    padding: int = config.pad_token_id if config.pad_token_id is not None else ends[0] if ends else 0
    return torch.tensor(ends, dtype=torch.long, device=model.device), padding


def _check(model: Any, input_ids: Tensor, max_new_tokens: int, temperature: float) -> None:
    if model.config._attn_implementation != NAME:
        raise OctoberError(f'attn_implementation="{model.config._attn_implementation}": must be "{NAME}"')
    if input_ids.dim() != 2 or not input_ids.shape[1]:
        raise OctoberError(f"input_ids {tuple(input_ids.shape)}: must be [batch, tokens], at least one token")
    if max_new_tokens < 1:
        raise OctoberError(f"max_new_tokens={max_new_tokens}: must be at least 1")
    if temperature < 0:
        raise OctoberError(f"temperature={temperature}: must not be negative")
