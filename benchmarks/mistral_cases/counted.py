"""What can be counted to the byte or to the pair: the cache, what a step makes, what the kernels are asked for."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mistral_cases.models import WINDOW, our_full_cache, our_model, small_config
from mistral_cases.prefilling import ATTENTION_LENGTH, HEADS, LONG_PROMPT, chunked_attention, prefilled, prompts
from october.attention import DecoderConfig
from october.attention.chunked_prefill import PREFILL_CHUNK
from october.attention.mistral import RollingBufferCache
from october.attention.ring_attention import blockwise_attention
from october.attention.ring_attention.kernels import CPU_TRIANGLE
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
    """Return a cache's bytes when its window is full, and long after, against the formula, which they equal."""
    config, cases = small_config(window), []
    cache = RollingBufferCache(config, 1, 8 * window)
    for tokens in (window, 8 * window):
        state = torch.zeros(1, 1, tokens - cache.lengths[0], config.head_dim)
        query, key = (state.expand(-1, heads, -1, -1) for heads in (config.num_heads, config.num_kv_heads))
        positions = cache.begin((1, state.shape[2]))
        for layer in range(config.num_layers):
            cache.attend(layer, query, key, key, positions=positions, sliding_window=window, scale=config.scale)
        cases.append(
            Measured(
                name=f"bytes of a cache after {tokens:,} tokens, W = {window:,}, {config.num_layers} layers: "
                "against the formula",
                ours=equal_bytes(cache, config, window),
                peer=cache_bytes(config, window),
                unit="B",
                bar="<=1",
                peer_settings="2 L W kv_heads head_dim bytes; fewer would fail too",
            )
        )
    return cases


def equal_bytes(cache: RollingBufferCache, config: DecoderConfig, window: int) -> int:
    """Return a cache's bytes; fewer than the formula's are as wrong as more, and no bar says so."""
    found, formula = cache.memory_bytes(), cache_bytes(config, window)
    assert found == formula, f"a cache of {found} bytes, the formula says {formula}"
    return found


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
    ways: dict[str, Callable[[], Any]] = {
        "the whole prompt": lambda: blockwise_attention(*states, sliding_window=window),
        f"chunks of {PREFILL_CHUNK}": lambda: chunked_attention(states, window),
    }
    return [pair_case(way, attend, length, window) for way, attend in ways.items()]


def pair_case(way: str, attend: Callable[[], Any], length: int, window: int) -> Measured:
    """Return one way's pairs against those in reach.

    Of each row's W keys the first ones lie in an upper triangle of `CPU_TRIANGLE` rows, computed whole with a mask:
    half of that many pairs a row are computed for nothing.
    """
    in_reach, counted = pairs_in_reach(length, window), kernel_pairs(attend)
    assert counted >= in_reach, f"{counted} of {in_reach} pairs were seen: some kernel is not counted"
    return Measured(
        name=f"pairs that the kernels compute, {length:,} tokens, W = {window:,}, {way}: against those in reach",
        ours=counted,
        peer=in_reach,
        unit="pairs",
        bar="<=1.05",
        peer_settings="the pairs within the window, of all heads; a causal triangle counts as its pairs, a block with "
        f"a mask whole. Triangles of {CPU_TRIANGLE} rows allow {1 + CPU_TRIANGLE / (2 * window):.3f}",
    )


def pairs_in_reach(length: int, window: int) -> int:
    """Return the pairs within the window, of all heads."""
    return int(attended_pairs(length, 1, "contiguous", window).sum()) * HEADS.num_heads


@torch.inference_mode()
def kernel_pairs(attend: Callable[[], Any]) -> int:
    """Return how many pairs the fused kernel computes: those of a causal call's triangle, all those of any other."""
    with _KernelPairs() as counter:
        attend()
    return counter.pairs


class _KernelPairs(TorchDispatchMode):
    """Counts the pairs of query and key, head by head, of all calls of the fused kernel; a mask spares it none."""

    pairs = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in FUSED:
            query, key = args[:2]
            rows, columns = query.shape[2], key.shape[2]
            causal = args[FUSED[func]] if len(args) > FUSED[func] else (kwargs or {}).get("is_causal", False)
            assert not causal or rows >= columns, "a causal call has no keys beyond its last row"
            computed = columns * (columns + 1) // 2 + (rows - columns) * columns if causal else rows * columns
            self.pairs += query.shape[0] * query.shape[1] * computed
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
