"""The pictures of this paper that come from formulae: they need no run, so the notebook draws them too."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from october.attention.ring_attention.activation_memory import METHODS, layer_activations
from october.attention.ring_attention.interconnect import GIBIBYTE
from october.attention.ring_attention.layouts import LAYOUTS
from october.attention.ring_attention.model_shapes import ModelShape
from october.attention.ring_attention.step_estimate import StepEstimate
from october.attention.ring_attention.work_balance import attended_pairs, imbalance
from october.experiments.ring_attention._common import METHOD_LABELS
from october.reporting import new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_scale(
    folder: Path,
    fewest: Mapping[str, Sequence[StepEstimate]],
    spread: Mapping[str, Sequence[StepEstimate]],
) -> Path:
    """Draw a step's hours and traffic by context, and memory and waiting when one sequence is spread over more devices.

    Args:
        folder: Where the picture goes.
        fewest: By device, estimates for each context on the fewest devices that hold it.
        spread: By device, estimates for one context on a growing number of devices.
    """
    figure, (hours, sent, memory, waiting) = new_figure(2, 2, width=10.4, height=7.4)
    for name, steps in fewest.items():
        tokens = [s.num_devices * s.block for s in steps]
        hours.plot(tokens, [s.step_seconds / 3600 for s in steps], "o-", label=name)
        sent.plot(tokens, [s.bytes_sent / 1e12 for s in steps], "o-", label=name)
    for name, steps in spread.items():
        devices = [s.num_devices for s in steps]
        memory.plot(devices, [s.memory.total / GIBIBYTE for s in steps], "o-", label=name)
        waiting.plot(devices, [100 * s.exposed_seconds / s.step_seconds for s in steps], "o-", label=name)
    by_context = {"xscale": "log", "yscale": "log", "xlabel": "context (tokens), on the fewest devices"}
    hours.set(**by_context, ylabel="hours for a step")
    sent.set(**by_context, ylabel="TB that a device sends in a step")
    memory.set(xscale="log", yscale="log", xlabel="devices for one sequence", ylabel="GiB on each device")
    waiting.set(xscale="log", xlabel="devices for one sequence", ylabel="time spent waiting (%)")
    hours.legend(fontsize=8)
    return save_figure(figure, folder, "scale")


def work_balance(sequence: int, world_size: int, sliding_window: int | None = None) -> "Figure":
    """Draw, for each layout, how many pairs each rank attends at each hop, under a causal mask."""
    figure, panels = new_figure(1, len(LAYOUTS), width=4.2 * len(LAYOUTS), height=3.4)
    for panel, layout in zip(panels, LAYOUTS, strict=True):
        pairs = attended_pairs(sequence, world_size, layout, sliding_window)
        below = np.zeros(world_size)
        for hop in range(world_size):
            work = _at_hop(pairs, hop)
            panel.bar(range(world_size), work, bottom=below, label=f"hop {hop}")
            below += work
        panel.axhline(below.mean(), color="black", linestyle="--", linewidth=1)
        title = f"{layout}: busiest {imbalance(pairs):.2f} x mean"
        panel.set(title=title, xlabel="rank", ylabel="pairs of query and key", xticks=range(world_size))
    panels[0].legend(fontsize=8)
    return figure


def ring_timeline(sequence: int, world_size: int, sliding_window: int | None = None) -> "Figure":
    """Draw when each rank computes each hop, by formula: work in pairs, transfers hidden, blocks awaited.

    A rank begins a hop when it has done the one before and its neighbour, which had the block, has begun to hand it on.
    """
    figure, panels = new_figure(len(LAYOUTS), 1, width=9.0, height=1.1 * len(LAYOUTS) * max(2, world_size / 2))
    for panel, layout in zip(panels, LAYOUTS, strict=True):
        _timeline(panel, attended_pairs(sequence, world_size, layout, sliding_window))
        panel.set(ylabel="rank", title=layout, yticks=range(world_size))
        panel.invert_yaxis()
    panels[-1].set_xlabel("pairs of query and key computed")
    return figure


def memory_curves(shape: ModelShape, num_devices: int, block_of_one_device: int = 1024) -> "Figure":
    """Draw Table 1's activations of a layer in bfloat16 by sequence length, the ring's on `num_devices` devices."""
    figure, (axes,) = new_figure()
    lengths = [1 << power for power in range(12, 25)]
    for method in METHODS:
        counts = [
            layer_activations(
                method,
                batch=1,
                sequence=length,
                block=length // num_devices if method == "ring" else block_of_one_device,
                hidden_size=shape.hidden_size,
                num_heads=shape.num_heads,
            ).total
            for length in lengths
        ]
        label = METHOD_LABELS[method] + (f", {num_devices} devices" if method == "ring" else "")
        axes.plot(lengths, [2 * count / GIBIBYTE for count in counts], "o-", label=label)
    axes.set(xscale="log", yscale="log", xlabel="sequence (tokens)", ylabel="GiB per layer and device")
    axes.legend()
    return figure


def _timeline(panel: "Axes", pairs: np.ndarray) -> None:
    world_size = len(pairs)
    done = np.zeros(world_size)
    started = np.zeros(world_size)
    for hop in range(world_size):
        begin = done if hop == 0 else np.maximum(done, np.roll(started, 1))
        work = _at_hop(pairs, hop)
        panel.barh(range(world_size), work, left=begin, edgecolor="white", linewidth=0.5)
        started, done = begin, begin + work


def _at_hop(pairs: np.ndarray, hop: int) -> np.ndarray:
    """Return each rank's pairs with the block that came from `hop` ranks before it."""
    ranks = np.arange(len(pairs))
    work: np.ndarray = pairs[ranks, (ranks - hop) % len(pairs)]
    return work
