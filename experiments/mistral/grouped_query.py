"""Grouped-query attention: bytes of the cache, time of a decoding step, and quality, by number of KV heads.

Decoders of bytes that differ in their key and value heads are trained on the same text in the same order; a decoding
step is timed on full buffers. What fewer heads save in parameters goes into the feed-forward network, as in Mistral 7B,
or is left out: the table says how many there are.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional

from october.attention import DecoderConfig, Transformer
from october.attention.mistral import RollingBufferCache, pack_
from october.data import wikipedia_documents_fingerprint
from october.errors import OctoberError
from october.evaluation import bootstrap_cell, bootstrap_interval, exact_cell, mean_cell, t_interval
from october.experiments.mistral._common import seconds_in_turn
from october.experiments.mistral._quality_cells import difference_cell
from october.experiments.mistral._small_decoder import (
    Batches,
    held_out_windows,
    small_decoder,
    text_windows,
    train,
)
from october.reporting import Cell, Result, Row, line_with_band, new_figure, save_figure
from october.run import Run

PAPER_RATIO = 4  # query heads for each key and value head
BYTES_OF_A_NUMBER = 4  # float32
WINDOWS_AT_ONCE = 16  # of the evaluation
STEPS_A_TRY = 4  # decoded and timed together


def grouped_query(
    num_heads: PositiveInt,
    num_kv_heads: list[PositiveInt],
    hidden_size: PositiveInt,
    num_layers: PositiveInt,
    equal_parameters: bool,
    window: PositiveInt,
    context: PositiveInt,
    num_sequences: PositiveInt,
    num_steps: PositiveInt,
    learning_rate: PositiveFloat,
    num_documents: PositiveInt,
    decode_window: PositiveInt,
    decode_batch: PositiveInt,
    num_tries: PositiveInt,
    seeds: list[int],
    run: Run,
) -> Result:
    """Train a decoder for each number of key and value heads, measure its held-out loss, and time its decoding.

    Args:
        num_heads: Query heads.
        num_kv_heads: Numbers of key and value heads, descending from that of query heads; they divide it.
        hidden_size: A multiple of twice the query heads.
        num_layers: Layers.
        equal_parameters: Whether a wider feed-forward network takes up the parameters that fewer heads save.
        window: Keys that a query sees while training.
        context: Bytes of a text.
        num_sequences: Texts in a step.
        num_steps: Steps of training.
        learning_rate: The highest.
        num_documents: Held-out documents.
        decode_window: Slots of the full buffers on which decoding is timed.
        decode_batch: Rows that are decoded together.
        num_tries: Times that each is timed, in turn.
        seeds: Of the weights and of the text.
        run: The run.
    """
    check_heads(num_heads, num_kv_heads)
    held_out = held_out_windows(num_documents, context + 1)

    def decoder_of(kv_heads: int, keys: int, length: int, seed: int) -> Transformer:
        heads = (num_heads, kv_heads)
        return small_decoder(hidden_size, num_layers, heads, keys, length, seed, equal_parameters=equal_parameters)

    def trained_bits(kv_heads: int, seed: int) -> list[float]:
        decoder = decoder_of(kv_heads, window, context, seed)
        train(decoder, text_batches(seed, num_sequences, context), num_steps, learning_rate)
        return bits_by_window(decoder, held_out)

    bits: dict[int, np.ndarray] = {}
    for kv_heads in run.progress(num_kv_heads, "training by number of KV heads"):
        by_seed = [run.once(f"{kv_heads} KV heads, seed {seed}", trained_bits, kv_heads, seed) for seed in seeds]
        bits[kv_heads] = np.array(by_seed)
        run.log({f"bits per byte, {kv_heads} KV heads": float(bits[kv_heads].mean())})
    decoders = {kv: pack_(decoder_of(kv, decode_window, 2 * decode_window, 0)).eval() for kv in num_kv_heads}
    seconds = run.once("decoding", decode_seconds, decoders, decode_batch, decode_window, num_tries)
    sizes = {kv: run.once(f"cache, {kv} KV heads", buffer_bytes, decoders[kv].config, decode_window) for kv in bits}
    parameters = {kv: sum(p.numel() for p in decoder_of(kv, window, context, 0).parameters()) for kv in bits}
    return Result(
        rows=[
            row(kv, parameters[kv], sizes[kv], seconds[str(kv)], bits[kv], bits[num_heads], decoders[kv].config)
            for kv in num_kv_heads
        ],
        evidence=evidence_of(bits, sizes, seconds, num_heads),
        figures={"Bits per byte, and decoding time, by cache bytes": draw(run.figures, bits, sizes, seconds)},
        fingerprints={"Wikipedia's vital articles, as long documents": wikipedia_documents_fingerprint()},
    )


def check_heads(num_heads: int, num_kv_heads: Sequence[int]) -> None:
    """Check numbers of key and value heads.

    Raises:
        OctoberError: They do not begin with `num_heads`, descend from there, and divide it.
    """
    if list(num_kv_heads) != sorted(set(num_kv_heads), reverse=True) or num_kv_heads[:1] != [num_heads]:
        raise OctoberError(f"num_kv_heads={list(num_kv_heads)}: must descend, and begin with num_heads={num_heads}")
    wrong = [number for number in num_kv_heads if num_heads % number]
    if wrong:
        raise OctoberError(f"num_kv_heads={wrong}: must divide num_heads={num_heads}")


def text_batches(seed: int, num_sequences: int, context: int) -> Batches:
    """Yield texts of the training documents [sequences, context], and the bytes that follow as labels."""
    for windows in text_windows(torch.Generator().manual_seed(seed), num_sequences, context + 1):
        yield windows[:, :-1], windows[:, 1:]


@torch.inference_mode()
def bits_by_window(decoder: Transformer, windows: Tensor) -> list[float]:
    """Return the mean bits per byte of each window."""
    bits: list[float] = []
    for some in windows.split(WINDOWS_AT_ONCE):
        logits = decoder.logits(decoder(some[:, :-1]))
        nats = functional.cross_entropy(logits.mT, some[:, 1:], reduction="none").double().mean(dim=1)
        bits += (nats / np.log(2)).tolist()
    return bits


def buffer_bytes(config: DecoderConfig, window: int) -> int:
    """Return the bytes of a full buffer of one row, as counted on its tensors."""
    return RollingBufferCache(config, 1, window).memory_bytes()


def formula_bytes(config: DecoderConfig, window: int) -> int:
    """Return the bytes of a full buffer of one row by section 2: keys and values of W tokens in every layer."""
    return 2 * config.num_layers * window * config.num_kv_heads * config.head_dim * BYTES_OF_A_NUMBER


@torch.inference_mode()
def decode_seconds(
    decoders: Mapping[int, Transformer], batch: int, window: int, num_tries: int
) -> dict[str, list[float]]:
    """Return, by number of KV heads, the seconds of a decoding step on full buffers in each of several rounds."""
    caches = {}
    for kv_heads, decoder in decoders.items():
        caches[kv_heads] = RollingBufferCache(decoder.config, batch, window)
        text = next(text_windows(torch.Generator().manual_seed(0), batch, window))
        for chunk in text.split(512, dim=1):
            decoder(chunk, cache=caches[kv_heads])

    def steps(kv_heads: int) -> None:
        for _ in range(STEPS_A_TRY):
            decoders[kv_heads](torch.full((batch, 1), 32), cache=caches[kv_heads])

    calls = {str(kv_heads): lambda kv_heads=kv_heads: steps(kv_heads) for kv_heads in decoders}
    seconds_in_turn(calls, 1)  # the first calls are slower
    rounds = [seconds_in_turn(calls, 1) for _ in range(num_tries)]
    return {name: [each[name] / STEPS_A_TRY for each in rounds] for name in calls}


def row(
    kv_heads: int,
    num_parameters: int,
    cache_bytes: int,
    seconds: Sequence[float],
    bits: np.ndarray,
    ungrouped: np.ndarray,
    config: DecoderConfig,
) -> Row:
    """Return the row of a number of key and value heads."""
    window = config.sliding_windows[0]
    assert window is not None
    cells = {
        "parameters": Cell(value=num_parameters),
        "cache of a row": exact_cell(cache_bytes, "bytes"),
        "by formula": exact_cell(formula_bytes(config, window), "bytes"),
        "decode step": middle(seconds, scale=1e3, unit="ms"),
        "held-out bits per byte": mean_cell(bits.mean(axis=1), "bits"),
        "over ungrouped": difference_cell(bits.mean(axis=1), ungrouped.mean(axis=1), "bits"),
    }
    return Row(name=f"{kv_heads} KV head{'s' * (kv_heads > 1)}", cells=cells)


def middle(values: Sequence[float], scale: float = 1.0, unit: str | None = None) -> Cell:
    """Return the mean of timings with a bootstrap interval."""
    return bootstrap_cell(scale * np.array(values), unit)


def evidence_of(
    bits: Mapping[int, np.ndarray],
    sizes: Mapping[int, int],
    seconds: Mapping[str, Sequence[float]],
    num_heads: int,
) -> dict[str, Cell]:
    """Return what decides the claims: one KV head for four query heads, as in the paper, against one for each."""
    grouped = num_heads // PAPER_RATIO
    if num_heads % PAPER_RATIO or grouped not in bits:
        return {}
    ratios = np.divide(seconds[str(grouped)], seconds[str(num_heads)])
    return {
        "cache bytes over ungrouped": exact_cell(sizes[grouped] / sizes[num_heads]),
        "decode step over ungrouped": middle(ratios),
        "bits per byte over ungrouped": difference_cell(
            bits[grouped].mean(axis=1), bits[num_heads].mean(axis=1), "bits"
        ),
    }


def draw(
    folder: Path, bits: Mapping[int, np.ndarray], sizes: Mapping[int, int], seconds: Mapping[str, Sequence[float]]
) -> Path:
    """Draw quality and decoding time by number of key and value heads."""
    figure, (quality, time) = new_figure(1, 2, width=10.4, height=3.9)
    heads = sorted(bits)
    losses = [t_interval(bits[number].mean(axis=1)) for number in heads]
    steps = [bootstrap_interval(1e3 * np.array(seconds[str(number)])) for number in heads]
    for axes, intervals, label in ((quality, losses, "held-out bits per byte"), (time, steps, "ms a decoding step")):
        mean, low, high = ([interval[place] for interval in intervals] for place in range(3))
        line_with_band(axes, heads, mean, low, high, label)
        axes.set_xscale("log", base=2)
        axes.set_xticks(heads, [f"{number}\n{sizes[number] / 2**20:.3g} MiB" for number in heads])
        axes.set(xlabel="KV heads, and cache of a row", ylabel=label)
    return save_figure(figure, folder, "grouped_query")
