"""Decoding against transformers' `generate`, both on the same full window and from the same token.

Neither side writes the prompt: the same random keys and values are put into both caches. `generate` goes on from its
cache, call after call, as the house's loop does, which also looks for ends and keeps each token's log-probability. Its
cache and its attention are the fastest of those that it has.
"""

from collections.abc import Callable

import torch
import transformers
from shared_cases.dtypes import dtypes
from shared_cases.threads import threads
from shared_cases.timing import seconds_of
from torch import Tensor
from transformers import MistralForCausalLM

from mistral_cases.models import (
    WINDOW,
    any_tokenizer,
    our_full_cache,
    our_model,
    our_text,
    peer_full_cache,
    peer_model,
)
from october.attention import Transformer
from october.attention.mistral import MistralModel, quantize_
from october.reporting.benchmarks import Case

STEPS = 16  # of a timed call
MOST_CALLS = 32  # of one cache, those that choose it included
PEERS = [(cache, attention) for cache in ("dynamic", "static") for attention in ("sdpa", "eager")]
BARS = {1: ">=1.2", 8: ">=1.5"}


def generation_cases(divisor: int) -> list[Case]:
    """Return the cases of both batches and dtypes, and those of int8 and int4 weights."""
    window = WINDOW // divisor
    cases = [generation_case(dtype, batch, window) for dtype in dtypes() for batch in BARS]
    return [*cases, *(quantized_case(weights, window, bar) for weights, bar in (("int8", ">=2.5"), ("int4", None)))]


def generation_case(dtype: str, batch: int, window: int) -> Case:
    """Return the case of one dtype and batch; tokens must be the same in float32, in 16 bits some may differ."""
    steps, (peer, settings) = ours(our_model(window, dtype), batch), fastest_peer(dtype, batch, window)
    if dtype != "float32":
        settings += f"; {agreement(steps(STEPS), peer())}"
    return Case(
        name=f"{STEPS} greedy tokens, {dtype}, batch {batch}, W = {window:,} full: against transformers' generate",
        ours=lambda: steps(STEPS),
        peer=peer,
        bar=BARS[batch] if dtype == "float32" else None,  # it asks for the same tokens
        unit="ms",
        check=same_tokens if dtype == "float32" else None,
        peer_settings=settings,
    )


def quantized_case(weights: str, window: int, bar: str | None) -> Case:
    """Return the case of quantised weights at batch 1, against transformers in bfloat16."""
    decoder = quantize_(our_model(window, "bfloat16"), weights)
    steps, (peer, settings) = ours(decoder, 1), fastest_peer("bfloat16", 1, window)
    return Case(
        name=f"{STEPS} greedy tokens, {weights}, batch 1, W = {window:,} full: against transformers in bfloat16",
        ours=lambda: steps(STEPS),
        peer=peer,
        bar=bar,
        unit="ms",
        peer_settings=settings,
    )


def ours(decoder: Transformer, batch: int) -> Callable[[int], Tensor]:
    """Return the loop of the house's `generate` on a full cache, from the token that the peer's begins with."""
    return our_text(MistralModel(decoder, any_tokenizer()), our_full_cache(decoder, batch), [1] * batch)


def fastest_peer(dtype: str, batch: int, window: int) -> tuple[Callable[[], Tensor], str]:
    """Return transformers' call with its fastest cache and attention, on a cache that is new, and its settings."""
    seconds = {}
    for cache, attention in PEERS:
        call = peer_call(peer_model(window, dtype, attention), cache, batch)
        call()
        seconds[cache, attention] = min(seconds_of(call) for _ in range(3))
    cache, attention = min(seconds, key=seconds.__getitem__)
    settings = f"transformers {transformers.__version__}, {cache} cache, {attention}: the fastest of four; {threads()}"
    return peer_call(peer_model(window, dtype, attention), cache, batch), settings


def peer_call(model: MistralForCausalLM, kind: str, batch: int) -> Callable[[], Tensor]:
    """Return a function that lets `generate` write the next tokens after those of the last call."""
    window = model.config.sliding_window
    cache = peer_full_cache(model, kind, batch, window + MOST_CALLS * STEPS)
    text = [torch.ones(batch, window + 1, dtype=torch.long)]  # the last one is not in the cache yet

    def call() -> Tensor:
        before = text[0].shape[1]
        text[0] = model.generate(
            text[0],
            attention_mask=torch.ones_like(text[0]),
            past_key_values=cache,
            max_new_tokens=STEPS,
            do_sample=False,
        )
        return text[0][:, before:]

    return call


def same_tokens(our_tokens: Tensor, their_tokens: Tensor) -> None:
    """Check that both sides wrote the same."""
    assert torch.equal(our_tokens, their_tokens), "greedy tokens differ from those of transformers"


def agreement(our_tokens: Tensor, their_tokens: Tensor) -> str:
    """Say in how many texts both sides wrote the same, where rounding decides between near ties."""
    same, texts = int((our_tokens == their_tokens).all(dim=1).sum()), len(our_tokens)
    return f"not checked but counted: {same} of {texts} texts of {STEPS} tokens are the same, each side rounds its own"
