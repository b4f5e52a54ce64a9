"""Figure 1 and the speed of section 2: what a window saves by length, and how far information moves through layers.

Attention alone: full and windowed causal attention through one kernel, in which blocks outside the window are never
computed, and torch's own kernel with the window as a mask, which computes them all. Then a decoder's pre-fill, where
the window spares nothing of the linear layers. Pairs of query and key are counted tile by tile.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypedDict

import torch
from pydantic import PositiveInt
from torch.nn import functional

from october.attention import DecoderConfig, Transformer, prefill
from october.attention.mistral import RollingBufferCache
from october.attention.ring_attention import blockwise_attention
from october.attention.ring_attention.layouts import Run as Positions
from october.attention.ring_attention.tiles import Mask
from october.evaluation import exact_cell, mean_cell
from october.experiments.mistral._common import (
    MISTRAL_7B,
    Sizes,
    random_decoder,
    random_text,
    seconds_in_turn,
    small_mistral,
    without_window,
)
from october.files import content_hash
from october.language_models.handles import Device
from october.language_models.loading import chosen_device
from october.reporting import Cell, Result, Row, new_figure, save_figure
from october.run import Run

Seconds = dict[str, float]


class Options(TypedDict):
    """How tensors are made."""

    dtype: torch.dtype
    device: torch.device


MILLISECONDS = {  # columns of seconds, and what was timed
    "full attention": "full",
    "windowed attention": "windowed",
    "mask in torch's kernel": "masked",
    "full pre-fill": "full pre-fill",
    "windowed pre-fill": "windowed pre-fill",
}
WIDE = 8.0  # factor on a random decoder's weights: attention then is far from uniform


def sliding_window(
    lengths: Sizes,
    window: PositiveInt,
    hidden_size: PositiveInt,
    num_heads: PositiveInt,
    num_kv_heads: PositiveInt,
    num_layers: PositiveInt,
    reach_windows: Sizes,
    reach_layers: Sizes,
    tries: PositiveInt,
    dtype: Literal["float32", "bfloat16"],
    device: Device,
    seeds: list[int],
    run: Run,
) -> Result:
    """Time attention and pre-fill with and without a window, and measure receptive fields.

    Args:
        lengths: Tokens of the prompts.
        window: Keys that a query sees, itself included.
        hidden_size: Width of the heads together, and of the decoder that pre-fills.
        num_heads: Query heads.
        num_kv_heads: Key and value heads.
        num_layers: Layers of that decoder.
        reach_windows: Windows of the random decoders whose receptive field is measured.
        reach_layers: Their numbers of layers, each with each window.
        tries: Rounds of timing in a repetition, of which the median counts.
        dtype: Of what is timed.
        device: Where it is timed.
        seeds: Repetitions, and random decoders for each receptive field.
        run: The run.

    Raises:
        OctoberError: Heads that do not fit the width, or one another; or a device that is not there.
    """
    config = small_mistral(hidden_size, num_layers, num_heads, num_kv_heads, window, max(lengths))
    options: Options = {"dtype": getattr(torch, dtype), "device": chosen_device(device)}
    seconds = {
        length: [
            run.once(f"{length} tokens, seed {seed}", timed, config, length, seed, tries, options) for seed in seeds
        ]
        for length in run.progress(lengths, "lengths")
    }
    reaches = {
        (size, layers): [
            run.once(f"reach of {layers} x {size}, seed {seed}", reach, size, layers, seed) for seed in seeds
        ]
        for size in run.progress(reach_windows, "receptive fields")
        for layers in reach_layers
    }
    rows = [reach_row(*key, found) for key, found in reaches.items()]
    rows += [length_row(length, window, seconds[length]) for length in lengths]
    span = receptive_field(MISTRAL_7B.sliding_windows[0] or 0, MISTRAL_7B.num_layers)
    rows.append(
        Row(name="span of Mistral 7B, by formula", cells={"span": exact_cell(span, "tokens")}, published="Mistral 7B")
    )
    return Result(
        rows=rows,
        evidence={**evidence_of_times(seconds, window), **evidence_of_reach(reaches, span)},
        figures={"Time by length, and receptive field by layers": draw(run.figures, seconds, window, reaches)},
        fingerprints={"shape": content_hash([repr(config), lengths])},
    )


@torch.inference_mode()
def timed(config: DecoderConfig, length: int, seed: int, tries: int, options: Options) -> Seconds:
    """Return the seconds of one sequence, of attention in one layer and of a decoder's pre-fill."""
    generator = torch.Generator(options["device"]).manual_seed(seed)
    heads = (config.num_heads, config.num_kv_heads, config.num_kv_heads)
    query, key, value = (
        torch.randn(1, number, length, config.head_dim, generator=generator, **options) for number in heads
    )
    window, tokens = config.sliding_windows[0], random_text(seed, length)
    places = torch.arange(length, device=options["device"])
    mask = (places <= places[:, None]) & (places > places[:, None] - (window or length))
    calls = {
        "full": lambda: blockwise_attention(query, key, value),
        "windowed": lambda: blockwise_attention(query, key, value, sliding_window=window),
        "masked": lambda: functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=True),
        "full pre-fill": lambda: pre_fill(without_window(config), tokens, options),
        "windowed pre-fill": lambda: pre_fill(config, tokens, options),
    }
    for shape in (config, without_window(config)):
        pre_fill(shape, tokens[:64], options)  # weights are drawn, and what torch keeps is there
    return seconds_in_turn(calls, tries, options["device"])


def pre_fill(config: DecoderConfig, tokens: list[int], options: Options) -> None:
    """Pass a prompt whole through a random decoder, into a rolling buffer."""
    decoder = decoder_of(config, options["dtype"], options["device"])
    prefill(decoder, [tokens], RollingBufferCache(config, 1, len(tokens), **options), chunk_size=len(tokens))


@lru_cache(maxsize=2)
def decoder_of(config: DecoderConfig, dtype: torch.dtype, device: torch.device) -> Transformer:
    """Return the decoder that pre-fills; made once."""
    return random_decoder(config).to(device, dtype)


def num_pairs(length: int, window: int | None) -> int:
    """Count the pairs of query and key in the tiles that the kernel computes."""
    whole = Positions(0, 1, length)
    return sum(tile.num_pairs for tile in Mask(True, window).tiles([whole], [whole]))


def receptive_field(window: int, num_layers: int) -> int:
    """Return how many positions the last of some layers sees, itself included: each layer adds W - 1."""
    return num_layers * (window - 1) + 1


@torch.inference_mode()
def reach(window: int, num_layers: int, seed: int) -> int:
    """Change the first token of a text and return the number of positions up to the last state that changes."""
    config = small_mistral(32, num_layers, 4, 2, window, 4096)
    decoder = random_decoder(config, seed).double()
    for parameter in decoder.parameters():
        if parameter.ndim > 1:
            parameter.mul_(WIDE)
    text = torch.tensor([random_text(seed, receptive_field(window, num_layers) + window)])
    other = text.clone()
    other[0, 0] = (text[0, 0] + 1) % config.vocab_size
    changed = (decoder(text) != decoder(other)).any(dim=-1)[0].nonzero()
    return int(changed.max()) + 1


def length_row(length: int, window: int, seconds: Sequence[Seconds]) -> Row:
    """Return the row of a length."""
    times = {column: mean_cell([1000 * each[name] for each in seconds], "ms") for column, name in MILLISECONDS.items()}
    cells = {
        "tokens": exact_cell(length),
        "pairs, full over window": exact_cell(num_pairs(length, None) / num_pairs(length, window)),
        **times,
        "full over window": mean_cell(ratios(seconds, "full", "windowed")),
        "full over window, pre-fill": mean_cell(ratios(seconds, "full pre-fill", "windowed pre-fill")),
    }
    return Row(
        name=f"{length / window:g} W tokens", cells=cells, published="Mistral 7B" if length == 4 * window else None
    )


def reach_row(window: int, num_layers: int, found: Sequence[int]) -> Row:
    """Return the row of a receptive field: as measured, and as k (W - 1) + 1 says."""
    cells = {
        "span": Cell(value=max(found), n=len(found), interval=(min(found), max(found)), unit="tokens"),
        "k (W - 1) + 1": exact_cell(receptive_field(window, num_layers), "tokens"),
    }
    return Row(name=f"span of {num_layers} layer{'s' * (num_layers > 1)} of W = {window}", cells=cells)


def ratios(seconds: Sequence[Seconds], slow: str, fast: str) -> list[float]:
    """Return how many times longer one took than the other, by repetition."""
    return [each[slow] / each[fast] for each in seconds]


def evidence_of_times(seconds: Mapping[int, Sequence[Seconds]], window: int) -> dict[str, Cell]:
    """Return what decides the claim on speed, where four windows were measured."""
    if 4 * window not in seconds:
        return {}
    times = ratios(seconds[4 * window], "full", "windowed")
    return {"full attention's seconds over windowed attention's at 4 W": mean_cell(times)}


def evidence_of_reach(reaches: Mapping[tuple[int, int], Sequence[int]], span: int) -> dict[str, Cell]:
    """Return what decides the claims on the span. Counts: the same in every run."""
    deviations = [abs(each - receptive_field(*key)) for key, found in reaches.items() for each in found]
    return {
        "largest deviation of the measured reach": exact_cell(max(deviations)),
        "positions that 32 layers of W = 4096 see": exact_cell(span),
    }


def draw(
    folder: Path,
    seconds: Mapping[int, Sequence[Seconds]],
    window: int,
    reaches: Mapping[tuple[int, int], Sequence[int]],
) -> Path:
    """Draw attention's time by length, and measured spans as dots on the formula's lines."""
    figure, (times, spans) = new_figure(1, 2, width=10.4, height=3.9)
    for label, name in (("full", "full"), ("window as a mask", "masked"), ("window", "windowed")):
        means = [1000 * sum(each[name] for each in found) / len(found) for found in seconds.values()]
        times.plot(list(seconds), means, "o-", label=label)
    times.axvline(window, color="0.6", linestyle="--", linewidth=1)
    times.set(xscale="log", yscale="log", xlabel="prompt (tokens; dashed: W)", ylabel="attention of a layer (ms)")
    times.set_xticks(list(seconds), [f"{length:,}" for length in seconds])
    times.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    times.legend()
    for size in dict.fromkeys(size for size, _ in reaches):
        found = {layers: each for (other, layers), each in reaches.items() if other == size}
        (line,) = spans.plot(list(found), [max(each) for each in found.values()], "o", label=f"W = {size}")
        spans.plot([0, *found], [receptive_field(size, layers) for layers in (0, *found)], color=line.get_color())
    spans.set(xlabel="layers", ylabel="positions that change a state")
    spans.legend(title="measured (line: k (W - 1) + 1)")
    return save_figure(figure, folder, "sliding_window")
