"""What can be counted to the byte or to the pair: the cache, what a step makes, what the kernels are asked for."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mistral_cases.models import WINDOW, our_full_cache, our_model, small_config
from mistral_cases.prefilling import ATTENTION_LENGTH, HEADS, LONG_PROMPT, chunked_attention, prefilled, prompts
from october.attention import DecoderConfig
from october.attention.chunked_prefill import PREFILL_CHUNK
from october.attention.mistral import RollingBufferCache
from october.attention.ring_attention import blockwise_attention
from october.attention.ring_attention.tensor_memory import TensorMemory
from october.attention.ring_attention.work_balance import attended_pairs
from october.experiments.ring_attention._ring_common import drawn
from october.reporting.benchmarks import Measured

# the operations that compute attention, with the place of `is_causal` among their arguments
FUSED = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default: 4,
    torch.ops.aten.scaled_dot_product_attention.default: 5,
}
FLOAT = 4  # bytes


def counted_cases(divisor: int) -> list[Measured]:
    """Return all counted cases."""
    window = WINDOW // divisor
    return [*cache_cases(window), *step_cases(window), *pair_cases(divisor), memory_case(divisor)]


def cache_cases(window: int) -> list[Measured]:
    """Return a cache's bytes when its window is full, and long after, against the formula."""
    config, cases = replace(small_config(window), num_layers=2), []
    cache = RollingBufferCache(config, 1, 8 * window)
    for tokens in (window, 8 * window):
        state = torch.zeros(1, 1, tokens - cache.lengths[0], config.head_dim)
        query, key = (state.expand(-1, heads, -1, -1) for heads in (config.num_heads, config.num_kv_heads))
        positions = cache.begin((1, state.shape[2]))
        for layer in range(config.num_layers):
            cache.attend(layer, query, key, key, positions=positions, sliding_window=window, scale=config.scale)
        cases.append(
            Measured(
                name=f"bytes of a cache after {tokens:,} tokens, W = {window:,}, two layers: against the formula",
                ours=cache.memory_bytes(),
                peer=cache_bytes(config, window),
                unit="B",
                bar="<=1",
                peer_settings="2 L W kv_heads head_dim bytes",
            )
        )
    return cases


def cache_bytes(config: DecoderConfig, window: int) -> int:
    """Return 2 L W kv_heads head_dim times the bytes of a float32."""
    return 2 * config.num_layers * window * config.num_kv_heads * config.head_dim * FLOAT


@torch.inference_mode()
def step_cases(window: int) -> list[Measured]:
    """Return all that a decode step has alive at once, besides weights and cache, against one layer's keys."""
    cases = []
    for batch in (1, 8):
        decoder = our_model(window)
        cache = our_full_cache(decoder, batch)
        token_ids = torch.ones(batch, 1, dtype=torch.long)
        held = [*decoder.parameters(), *decoder.buffers(), *cache.keys, *cache.values]
        with TensorMemory(*held, token_ids) as memory:
            before = memory.live_bytes
            decoder.logits(decoder(token_ids, cache=cache))
        cases.append(
            Measured(
                name=f"bytes that a decode step makes, batch {batch}, W = {window:,}: against one layer's keys",
                ours=memory.peak_bytes - before,
                peer=cache.keys[0].nbytes,
                unit="B",
                bar="<=0.5",
                peer_settings="most alive at once: logits of 32,000 tokens a row are the greater part",
            )
        )
    return cases


def pair_cases(divisor: int) -> list[Measured]:
    """Return the pairs of query and key that the kernels are asked for in a pre-fill, against the formulae."""
    length, window = ATTENTION_LENGTH // divisor, WINDOW // divisor
    states = drawn(0, length, HEADS, torch.float32)[:3]
    pairs = int(attended_pairs(length, 1, "contiguous", window).sum()) * HEADS.num_heads
    ways: dict[str, Callable[[], Any]] = {
        "the whole prompt": lambda: blockwise_attention(*states, sliding_window=window),
        f"chunks of {PREFILL_CHUNK}": lambda: chunked_attention(states, window),
    }
    return [
        Measured(
            name=f"pairs that the kernels compute, {length:,} tokens, W = {window:,}, {way}: against those in reach",
            ours=kernel_pairs(attend),
            peer=pairs,
            unit="pairs",
            bar="<=1",
            peer_settings="the pairs within the window, of all heads; a triangle counts as its pairs",
        )
        for way, attend in ways.items()
    ]


@torch.inference_mode()
def kernel_pairs(attend: Callable[[], Any]) -> int:
    """Return how many pairs the fused kernel is asked for; a causal call counts its triangle."""
    with _KernelPairs() as counter:
        attend()
    return counter.pairs


class _KernelPairs(TorchDispatchMode):
    """Counts the pairs of query and key, head by head, of all calls of the fused kernel."""

    pairs = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in FUSED:
            query, key = args[:2]
            rows, columns = query.shape[2], key.shape[2]
            causal = args[FUSED[func]] if len(args) > FUSED[func] else (kwargs or {}).get("is_causal", False)
            assert not causal or rows == columns, "a causal call is square"
            mask = (kwargs or {}).get("attn_mask")
            seen = rows * (rows + 1) // 2 if causal else rows * columns if mask is None else int((mask == 0).sum())
            self.pairs += query.shape[0] * query.shape[1] * seen
        return func(*args, **(kwargs or {}))


@torch.inference_mode()
def memory_case(divisor: int) -> Measured:
    """Return the most bytes alive while a long prompt is pre-filled, weights apart, against those of chunk and window.

    With C tokens a chunk, W keys a window, h hidden, f inside the feed-forward network, g = kv_heads head_dim:

        cache                   2 L W g
        keys and values read    2 (W - 1 + C) g       in the order of their positions
        states                  C (3 h + 3 f)         residual stream twice, what is added; gate, up, their product
        rotation                2 C head_dim          cosines and sines
    """
    length, window = LONG_PROMPT // divisor, WINDOW // divisor
    decoder = our_model(window)
    token_ids = prompts(1, length)
    held = [*decoder.parameters(), *decoder.buffers(), token_ids]
    with TensorMemory(*held) as memory:
        before = memory.live_bytes
        prefilled(decoder, token_ids, None)
    config, chunk = decoder.config, PREFILL_CHUNK
    reach, width = window - 1 + chunk, config.num_kv_heads * config.head_dim
    states = chunk * (3 * config.hidden_size + 3 * config.intermediate_size + 2 * config.head_dim)
    formula = cache_bytes(config, window) + FLOAT * (2 * reach * width + states)
    return Measured(
        name=f"most bytes alive in a pre-fill of {length:,} tokens, W = {window:,}, chunks of {chunk}",
        ours=memory.peak_bytes - before,
        peer=formula,
        unit="B",
        bar="<=1",
        peer_settings="chunk + W: cache, keys and values read, states of one layer, rotation; weights apart",
    )
