"""Figure 3: what a long prompt needs at most, and how long it takes, by the size of the chunks that it is cut into.

Counted are live tensors in float32 during the pre-fill, the cache included and weights left out, as is the mask that
the kernels keep in every process. By formula, with L layers, W slots, K numbers in a token's keys, c tokens in a chunk,
and widths h of the model, f of its feed-forward network and d of a head:

    4 (2 L W K + c (3 h + 3 f + 2 d))     cache, and the states of a chunk where they are widest, in its feed-forward

A chunk far smaller than the window needs a little more: then the copy of the window's keys in order is the widest.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import torch
from pydantic import PositiveInt

from october.attention import DecoderConfig, Transformer, prefill
from october.attention.chunked_prefill import PREFILL_CHUNK
from october.attention.mistral import RollingBufferCache, pack_
from october.attention.ring_attention import TensorMemory
from october.attention.ring_attention.kernels import far_mask
from october.errors import OctoberError
from october.evaluation import exact_cell, mean_cell
from october.experiments.mistral._common import (
    MEBIBYTE,
    Sizes,
    random_decoder,
    random_text,
    seconds_in_turn,
    small_mistral,
)
from october.files import content_hash
from october.reporting import Cell, Result, Row, new_figure, save_figure
from october.run import Run

FLOAT32 = 4  # bytes
WIDE = 2.0  # factor on a random decoder's weights: the likeliest token then stands out


def prefill_chunking(
    prompt_length: PositiveInt,
    chunk_sizes: Sizes,
    window: PositiveInt,
    hidden_size: PositiveInt,
    num_heads: PositiveInt,
    num_kv_heads: PositiveInt,
    num_layers: PositiveInt,
    num_new_tokens: PositiveInt,
    tries: PositiveInt,
    seeds: list[int],
    run: Run,
) -> Result:
    """Pre-fill one prompt in chunks of several sizes, and whole.

    Args:
        prompt_length: Tokens of the prompt.
        chunk_sizes: Tokens that pass through the decoder at once; the whole prompt is added.
        window: Keys that a query sees, itself included.
        hidden_size: Of the decoder.
        num_heads: Query heads.
        num_kv_heads: Key and value heads.
        num_layers: Of the decoder.
        num_new_tokens: Greedy tokens that are compared after the pre-fill.
        tries: Rounds of timing in a repetition, of which the median counts.
        seeds: One decoder and one prompt each.
        run: The run.

    Raises:
        OctoberError: A chunk is larger than the prompt; or heads do not fit the width, or one another.
    """
    if max(chunk_sizes) > prompt_length:
        raise OctoberError(f"chunk_sizes={chunk_sizes}: each must be from 1 to prompt_length={prompt_length}")
    length = prompt_length + num_new_tokens
    config = small_mistral(hidden_size, num_layers, num_heads, num_kv_heads, window, length)
    sizes = sorted({*chunk_sizes, prompt_length})
    peaks = {
        size: run.once(f"bytes, chunks of {size}", peaks_of, config, prompt_length, size)
        for size in run.progress(sizes, "bytes by chunk size")
    }
    passes = [
        run.once(f"seed {seed}", passes_of, config, prompt_length, sizes, num_new_tokens, tries, seed)
        for seed in run.progress(seeds, "prompts")
    ]
    by_size = {size: [each[str(size)] for each in passes] for size in sizes}
    rows = [chunk_row(config, prompt_length, size, peaks[size], by_size[size]) for size in sizes]
    return Result(
        rows=rows,
        evidence=evidence(peaks, by_size),
        figures={"Memory and time by chunk size": draw(run.figures, config, prompt_length, peaks, by_size)},
        fingerprints={"shape": content_hash([repr(config), prompt_length, sizes])},
    )


def peaks_of(config: DecoderConfig, prompt_length: int, chunk_size: int) -> dict[str, int]:
    """Return the most bytes alive: with the prompt, with half of it, and in one pass over chunk + W tokens.

    The latter two only where they say something: half the prompt holds a chunk and a window, the prompt holds both.
    """
    peaks = {"peak": peak_bytes(config, prompt_length, chunk_size)}
    both = chunk_size + (config.sliding_windows[0] or 0)
    if both <= prompt_length // 2:
        peaks["half the prompt"] = peak_bytes(config, prompt_length // 2, chunk_size)
    if both <= prompt_length:
        peaks["one pass"] = peak_bytes(config, both, both)
    return peaks


@torch.inference_mode()
def peak_bytes(config: DecoderConfig, length: int, chunk_size: int) -> int:
    """Return the most bytes alive in a pre-fill, the cache included; weights and the kernels' mask are left out."""
    decoder = decoder_of(config, 0)
    weights = [*decoder.parameters(), *decoder.buffers()]
    with TensorMemory(*weights, far_mask(torch.float32)) as memory:
        held = memory.live_bytes
        prefill(decoder, [random_text(0, length)], RollingBufferCache(config, 1, length), chunk_size=chunk_size)
    return memory.peak_bytes - held


@torch.inference_mode()
def passes_of(
    config: DecoderConfig, prompt_length: int, sizes: Sequence[int], num_new_tokens: int, tries: int, seed: int
) -> dict[str, dict[str, float]]:
    """Return for each chunk size its seconds, and how far logits and tokens are from those after one pass."""
    decoder, text = decoder_of(config, seed), random_text(seed, prompt_length)

    prefilled: dict[int, tuple[RollingBufferCache, torch.Tensor]] = {}

    def pre_fill(size: int) -> None:
        cache = RollingBufferCache(config, 1, prompt_length + num_new_tokens)
        prefilled[size] = cache, decoder.logits(prefill(decoder, [text], cache, chunk_size=size))

    seconds = seconds_in_turn({str(size): lambda size=size: pre_fill(size) for size in sizes}, tries)
    found = {size: greedy(decoder, *prefilled[size], num_new_tokens) for size in sizes}
    tokens, logits = found[prompt_length]
    return {
        str(size): {
            "seconds": seconds[str(size)],
            "apart": float((own_logits - logits).abs().max()),
            "differing": sum(one != other for one, other in zip(own_tokens, tokens, strict=True)),
        }
        for size, (own_tokens, own_logits) in found.items()
    }


def greedy(
    decoder: Transformer, cache: RollingBufferCache, logits: torch.Tensor, count: int
) -> tuple[list[int], torch.Tensor]:
    """Return the likeliest tokens after a prompt, and the logits that the first was chosen from."""
    first, tokens = logits, []
    for _ in range(count):
        tokens.append(int(logits.argmax()))
        logits = decoder.logits(prefill(decoder, [tokens[-1:]], cache))
    return tokens, first


@lru_cache(maxsize=1)
def decoder_of(config: DecoderConfig, seed: int) -> Transformer:
    """Return a random decoder as it decodes."""
    decoder = random_decoder(config, seed)
    with torch.no_grad():
        for parameter in decoder.parameters():
            if parameter.ndim > 1:
                parameter.mul_(WIDE)
    return pack_(decoder)


def formula_bytes(config: DecoderConfig, prompt_length: int, chunk_size: int) -> int:
    """Return this module's formula."""
    slots = min(config.sliding_windows[0] or prompt_length, prompt_length)
    cache = 2 * config.num_layers * slots * config.num_kv_heads * config.head_dim
    widths = 3 * config.hidden_size + 3 * config.intermediate_size + 2 * config.head_dim
    return FLOAT32 * (cache + chunk_size * widths)


def chunk_row(
    config: DecoderConfig,
    prompt_length: int,
    size: int,
    peaks: Mapping[str, int],
    found: Sequence[Mapping[str, float]],
) -> Row:
    """Return the row of a chunk size."""
    cells = {"chunk": exact_cell(size, "tokens"), "peak": exact_cell(peaks["peak"] / MEBIBYTE, "MiB")}
    cells["by formula"] = exact_cell(formula_bytes(config, prompt_length, size) / MEBIBYTE, "MiB")
    if "one pass" in peaks:
        cells["one pass over chunk + W"] = exact_cell(peaks["one pass"] / MEBIBYTE, "MiB")
    if "half the prompt" in peaks:
        cells["half the prompt"] = exact_cell(peaks["half the prompt"] / MEBIBYTE, "MiB")
    cells |= {
        "pre-fill": mean_cell([each["seconds"] for each in found], "s"),
        "tokens per second": mean_cell([prompt_length / each["seconds"] for each in found]),
        "difference of logits": exact_cell(max(each["apart"] for each in found)),
        "greedy tokens that differ": exact_cell(sum(each["differing"] for each in found)),
    }
    whole, default = size == prompt_length, size == PREFILL_CHUNK
    name = "whole prompt" if whole else f"chunks of {size:,}{' (default)' if default else ''}"
    return Row(name=name, cells=cells)


def evidence(
    peaks: Mapping[int, Mapping[str, int]], by_size: Mapping[int, Sequence[Mapping[str, float]]]
) -> dict[str, Cell]:
    """Return what decides the claims, as far as the sizes allow."""
    decided = {
        "greedy tokens that differ from those after one pass": exact_cell(
            sum(each["differing"] for found in by_size.values() for each in found)
        )
    }
    growths = [each["peak"] / each["half the prompt"] for each in peaks.values() if "half the prompt" in each]
    bounds = [each["peak"] / each["one pass"] for each in peaks.values() if "one pass" in each]
    if growths:
        decided["growth of the peak when the prompt doubles"] = exact_cell(max(growths))
    if bounds:
        decided["peak over that of chunk + W tokens in one pass"] = exact_cell(max(bounds))
    if PREFILL_CHUNK in by_size:
        best = [min(each["seconds"] for each in found) for found in zip(*by_size.values(), strict=True)]
        own = [each["seconds"] for each in by_size[PREFILL_CHUNK]]
        slower = [one / other for one, other in zip(own, best, strict=True)]
        decided["seconds at the default chunk over the best"] = mean_cell(slower)
    return decided


def draw(
    folder: Path,
    config: DecoderConfig,
    prompt_length: int,
    peaks: Mapping[int, Mapping[str, int]],
    by_size: Mapping[int, Sequence[Mapping[str, float]]],
) -> Path:
    """Draw the peak by chunk size beside the formula, and the seconds of every repetition."""
    figure, (memory, seconds) = new_figure(1, 2, width=10.4, height=3.9)
    sizes = list(peaks)
    memory.plot(sizes, [peaks[size]["peak"] / MEBIBYTE for size in sizes], "o", label="most bytes alive")
    formula = [formula_bytes(config, prompt_length, size) / MEBIBYTE for size in sizes]
    memory.plot(sizes, formula, "--", color="0.4", label="cache and chunk by formula")
    for size, found in by_size.items():
        seconds.plot([size] * len(found), [each["seconds"] for each in found], "o", color="C0")
    memory.set(xscale="log", yscale="log", xlabel="chunk (tokens; last: the whole prompt)", ylabel="MiB")
    seconds.set(xscale="log", xlabel="chunk (tokens)", ylabel=f"seconds for {prompt_length:,} tokens", ylim=(0, None))
    for panel in (memory, seconds):
        panel.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=45)
        panel.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    memory.legend()
    return save_figure(figure, folder, "prefill_chunking")
