"""Figure 2: what a text keeps in memory, and how long a decode step takes, by the position in the text.

One random model reads one text with a rolling buffer, with a full cache (under the same window, and without one), and
inside transformers with its own two caches and with ours. Bytes are counted where they are allocated.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from pydantic import PositiveInt

from october.attention import DecoderConfig, DenseCache
from october.attention.mistral import RollingBufferCache
from october.errors import OctoberError
from october.evaluation import exact_cell, mean_cell
from october.experiments.mistral._common import (
    MEBIBYTE,
    MISTRAL_7B,
    Sizes,
    random_text,
    small_mistral,
)
from october.experiments.mistral._decoding import CACHES, DYNAMIC, FULL, NO_WINDOW, ROLLING, STATIC, decode_side_by_side
from october.files import content_hash
from october.reporting import Cell, Result, Row, new_figure, save_figure
from october.run import Run

Measured = dict[str, dict[str, float]]  # by cache: bytes, seconds of a step, largest relative difference of logits
LONG = 32_768  # tokens at which the paper compares


def rolling_cache(
    window: PositiveInt,
    positions: Sizes,
    hidden_size: PositiveInt,
    num_heads: PositiveInt,
    num_kv_heads: PositiveInt,
    num_layers: PositiveInt,
    num_steps: PositiveInt,
    seeds: list[int],
    run: Run,
) -> Result:
    """Decode at ever later positions of a text, with every kind of cache.

    Args:
        window: Keys that a query sees, itself included.
        positions: Tokens of the text before the steps that are timed, ascending.
        hidden_size: Of the model.
        num_heads: Query heads.
        num_kv_heads: Key and value heads.
        num_layers: Of the model.
        num_steps: Decode steps at each position; their median counts.
        seeds: One model and one text each.
        run: The run.

    Raises:
        OctoberError: Heads that do not fit the width, or one another; or positions are not more than the steps apart.
    """
    if any(later - earlier <= num_steps for earlier, later in pairwise(positions)):
        raise OctoberError(f"positions={positions}: each must be more than num_steps={num_steps} after the one before")
    length = positions[-1] + num_steps
    config = small_mistral(hidden_size, num_layers, num_heads, num_kv_heads, window, length)
    found = [
        run.once(f"seed {seed}", decode_side_by_side, config, random_text(seed, length), positions, num_steps, seed)
        for seed in run.progress(seeds, "texts")
    ]
    by_position = dict(zip(positions, ([text[i] for text in found] for i in range(len(positions))), strict=True))
    rows = [position_row(config, position, each) for position, each in by_position.items()]
    return Result(
        rows=[*rows, row_of_mistral_7b()],
        evidence=evidence(config, by_position),
        figures={"Cache and decode step by position": draw(run.figures, config, by_position)},
        fingerprints={"shape": content_hash([repr(config), positions])},
    )


def position_row(config: DecoderConfig, position: int, found: Sequence[Measured]) -> Row:
    """Return the row of a position."""
    window = config.sliding_windows[0] or position
    cells = {"tokens": exact_cell(position), **bytes_cells(config, position)}
    cells |= {f"{name}, bytes": exact_cell(found[0][name]["bytes"] / MEBIBYTE, "MiB") for name in (DYNAMIC, STATIC)}
    cells |= {f"{name}, step": mean_cell([1000 * each[name]["seconds"] for each in found], "ms") for name in CACHES}
    cells |= {
        f"difference, {name}": exact_cell(max(each[name]["apart"] for each in found))
        for name in (ROLLING, DYNAMIC, STATIC)
    }
    return Row(name=f"{position / window:g} W tokens", cells=cells)


def row_of_mistral_7b() -> Row:
    """Return the row of the paper's own shape and length: bytes only."""
    cells = {"tokens": exact_cell(LONG), **bytes_cells(MISTRAL_7B, LONG, torch.bfloat16)}
    return Row(name="Mistral 7B in bfloat16, 8 W tokens", cells=cells, published="32K tokens", status="reproduced")


def bytes_cells(config: DecoderConfig, length: int, dtype: torch.dtype = torch.float32) -> dict[str, Cell]:
    """Return the bytes of both caches for a text, and their ratio."""
    rolling, full = cache_bytes(config, length, dtype)
    return {
        f"{ROLLING}, bytes": exact_cell(rolling / MEBIBYTE, "MiB"),
        f"{FULL}, bytes": exact_cell(full / MEBIBYTE, "MiB"),
        "full over rolling": exact_cell(full / rolling),
    }


def cache_bytes(config: DecoderConfig, length: int, dtype: torch.dtype = torch.float32) -> tuple[int, int]:
    """Return the bytes of a rolling and of a full cache made for a text; nothing is allocated."""
    place = {"dtype": dtype, "device": torch.device("meta")}
    rolling, full = RollingBufferCache(config, 1, length, **place), DenseCache(config, 1, length, **place)
    return rolling.memory_bytes(), full.memory_bytes()


def evidence(config: DecoderConfig, by_position: Mapping[int, Sequence[Measured]]) -> dict[str, Cell]:
    """Return what decides the claims, as far as the positions reach."""
    window, last = config.sliding_windows[0] or 1, max(by_position)
    rolling, full = cache_bytes(config, 8 * window)
    apart = max(each[ROLLING]["apart"] for found in by_position.values() for each in found)
    decided = {
        "bytes of a full cache over a rolling one's at 8 W": exact_cell(full / rolling),
        "largest difference from a full cache's logits": exact_cell(apart),
    }
    if 2 * window in by_position and last > 2 * window:
        pairs = zip(by_position[last], by_position[2 * window], strict=True)
        slower = [late[ROLLING]["seconds"] / early[ROLLING]["seconds"] for late, early in pairs]
        decided["decode step at the last position over one at 2 W"] = mean_cell(slower)
    return decided


def draw(folder: Path, config: DecoderConfig, by_position: Mapping[int, Sequence[Measured]]) -> Path:
    """Draw bytes and seconds of a step by position."""
    figure, (sizes, steps) = new_figure(1, 2, width=10.4, height=3.9)
    positions = list(by_position)
    pairs = [cache_bytes(config, position) for position in positions]
    for label, index in ((ROLLING, 0), (FULL, 1)):
        sizes.plot(positions, [pair[index] / MEBIBYTE for pair in pairs], "o-", label=label)
    held = [found[0][DYNAMIC]["bytes"] / MEBIBYTE for found in by_position.values()]
    sizes.plot(positions, held, "x--", label=DYNAMIC)
    for name in (ROLLING, FULL, NO_WINDOW, DYNAMIC, STATIC):
        means = [1000 * sum(each[name]["seconds"] for each in found) / len(found) for found in by_position.values()]
        steps.plot(positions, means, "o-", label=name)
    for panel, label in ((sizes, "MiB of keys and values"), (steps, "decode step (ms)")):
        panel.axvline(config.sliding_windows[0] or 0, color="0.6", linestyle="--", linewidth=1)
        panel.set(xscale="log", xlabel="tokens so far (dashed: W)", ylabel=label)
        panel.set_xticks(positions, [f"{position:,}" for position in positions])
        panel.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
        panel.legend(fontsize=8)
    sizes.set(yscale="log")
    steps.set(ylim=(0, None))
    return save_figure(figure, folder, "rolling_cache")
