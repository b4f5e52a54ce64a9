"""Pre-fill against transformers, windowed attention against full, and chunk sizes against one another."""

import statistics
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
import transformers
from shared_cases.threads import threads
from shared_cases.timing import seconds_of, spread_of
from torch import Tensor
from transformers import DynamicCache

from mistral_cases.models import WINDOW, our_model, peer_model, small_config
from october.attention import Transformer
from october.attention.chunked_prefill import PREFILL_CHUNK, prefill
from october.attention.mistral import RollingBufferCache
from october.attention.ring_attention import blockwise_attention
from october.experiments.ring_attention._ring_common import Heads, drawn
from october.reporting.benchmarks import Case, Measured

PROMPT, LONG_PROMPT, ATTENTION_LENGTH = 4096, 65_536, 16_384
CHUNKS = (256, PREFILL_CHUNK, 1024, 4096)
REPEATS = 3  # of all chunk sizes in turn; each call takes over ten seconds
HEADS = Heads(num_heads=8, num_kv_heads=2, head_dim=64)


def prefill_cases(divisor: int) -> list[Case]:
    """Return the cases of a prompt as long as the window, in float32."""
    return [prefill_case(batch, PROMPT // divisor) for batch in (1, 8)]


def prefill_case(batch: int, length: int) -> Case:
    """Return one case: the logits after the last tokens, from prompts to a filled cache."""
    decoder, peer = our_model(length), peer_model(length)
    token_ids = prompts(batch, length)

    @torch.inference_mode()
    def theirs() -> Tensor:
        cache = DynamicCache(config=peer.config)
        return peer(token_ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]

    def check(one: Tensor, other: Tensor) -> None:
        assert (one - other).abs().max() <= 1e-4 * other.abs().max(), "logits differ from those of transformers"

    return Case(
        name=f"pre-fill of {length:,} tokens, float32, batch {batch}: against transformers",
        ours=lambda: prefilled(decoder, token_ids, None),
        peer=theirs,
        bar=">=1.4",
        check=check,
        peer_settings=f"transformers {transformers.__version__}, sdpa, logits_to_keep=1; {threads()}",
    )


@torch.inference_mode()
def prefilled(decoder: Transformer, token_ids: Tensor, chunk_size: int | None) -> Tensor:
    """Return the logits after the last tokens, from an empty cache on; None is the default chunk."""
    rows, length = token_ids.shape
    cache = RollingBufferCache(decoder.config, rows, length, dtype=decoder.embedding.weight.dtype)
    return decoder.logits(prefill(decoder, token_ids.tolist(), cache, chunk_size=chunk_size))


def prompts(batch: int, length: int) -> Tensor:
    """Return random tokens."""
    return torch.randint(small_config(1).vocab_size, (batch, length), generator=torch.Generator().manual_seed(2))


def window_cases(divisor: int) -> list[Case]:
    """Return attention alone with a window against full causal attention: the whole prompt, and chunk by chunk."""
    length, window = ATTENTION_LENGTH // divisor, WINDOW // divisor
    states = drawn(0, length, HEADS, torch.float32)[:3]

    @torch.inference_mode()
    def whole(sliding_window: int | None) -> Tensor:
        return blockwise_attention(*states, sliding_window=sliding_window)

    def case(how: str, attend: Callable[[int | None], Tensor], kernel: str) -> Case:
        return Case(
            name=f"attention alone, {length:,} tokens, {how}: W = {window:,} against full causal",
            ours=lambda: attend(window),
            peer=lambda: attend(None),
            bar=">=2.0",
            peer_settings=f"{kernel}, without a window; {threads()}",
        )

    return [
        case("the whole prompt", whole, "ours, the same kernel"),
        case(f"chunks of {PREFILL_CHUNK}", partial(chunked_attention, states), "ours, on a cache of all tokens"),
    ]


@torch.inference_mode()
def chunked_attention(states: list[Tensor], sliding_window: int | None, chunk: int = PREFILL_CHUNK) -> Tensor:
    """Attend chunk by chunk through the rolling buffer of one layer; return the last chunk's output."""
    length = states[0].shape[2]
    config = replace(small_config(WINDOW), num_layers=1, sliding_windows=(sliding_window,))
    cache = RollingBufferCache(config, 1, length)
    for first in range(0, length, chunk):
        parts = [each[:, :, first : first + chunk] for each in states]
        positions = cache.begin((1, parts[0].shape[2]))
        output = cache.attend(0, *parts, positions=positions, sliding_window=sliding_window, scale=HEADS.head_dim**-0.5)
    return output


def chunk_cases(divisor: int) -> list[Measured]:
    """Return the time of a long prompt at the default chunk against the best of several, medians of calls in turn."""
    length = LONG_PROMPT // divisor
    decoder, token_ids = our_model(WINDOW // divisor), prompts(1, length)
    prefilled(decoder, token_ids[:, : 2 * PREFILL_CHUNK], None)
    calls = {chunk: partial(prefilled, decoder, token_ids, min(chunk, token_ids.shape[1])) for chunk in CHUNKS}
    rounds = [{chunk: seconds_of(call) for chunk, call in calls.items()} for _ in range(REPEATS)]
    turns = {chunk: [each[chunk] for each in rounds] for chunk in CHUNKS}
    seconds = {chunk: statistics.median(taken) for chunk, taken in turns.items()}
    best = min(seconds, key=seconds.__getitem__)
    return [
        Measured(
            name=f"pre-fill of {length:,} tokens, W = {WINDOW // divisor:,}: chunks of {PREFILL_CHUNK} (the default) "
            "against the best",
            ours=seconds[PREFILL_CHUNK],
            peer=seconds[best],
            unit="s",
            bar="<=1.2",
            peer_settings=f"the best is {best}: "
            + ", ".join(f"{chunk} in {taken:.1f} s" for chunk, taken in seconds.items())
            + f"; {threads()}",
            spread=spread_of(turns[PREFILL_CHUNK], turns[best]),
            repeats=REPEATS,
        )
    ]
