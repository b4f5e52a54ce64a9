"""Table 1: the most activation bytes alive in one layer, by method, and in a ring by process count; all measured.

A layer is attention and a feed-forward network of width 4 h, each on its own, forward and backward. Counted are live
tensors in float32 with the layer's inputs, which its caller holds, but without weights. In a ring's forward pass the
formula is section 3's six blocks: the query, the current key and value, two buffers that receive the next ones, the
output. Backward, which the paper does not count, it is twelve: the query, the output, its gradient and the query's,
and twice (current and arriving) the key, the value and the gradients of both.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from pydantic import PositiveInt
from torch import Tensor, nn

from october.attention.ring_attention import BlockwiseFeedForward, blockwise_attention, shard_length
from october.attention.ring_attention.activation_memory import Method, layer_activations, ring_attention_elements
from october.attention.ring_attention.tensor_memory import TensorMemory
from october.evaluation import exact_cell
from october.experiments.ring_attention._common import METHOD_LABELS
from october.experiments.ring_attention._ring_common import (
    Heads,
    LazyProcesses,
    attention_memory,
    attention_peaks,
    drawn,
    world_sizes_here,
)
from october.files import content_hash
from october.reporting import Cell, Result, Row, new_figure, save_figure
from october.run import Run

Peaks = dict[str, int | None]
BASELINES: tuple[Method, ...] = ("vanilla", "memory_efficient_attention", "blockwise_feedforward")
BYTES = 4  # of a float32
MEBIBYTE = 1 << 20
COLUMNS = {  # what a table shows, and the peak that it shows
    "attention, forward": "forward",
    "attention, backward": "backward",
    "feed-forward, forward": "feed-forward forward",
    "feed-forward, backward": "feed-forward backward",
}


def memory(
    num_heads: PositiveInt,
    head_dim: PositiveInt,
    tokens_per_process: PositiveInt,
    world_sizes: list[PositiveInt],
    lengths: list[PositiveInt],
    block_size: PositiveInt,
    run: Run,
) -> Result:
    """Measure a layer's activations under each of Table 1's four methods.

    Args:
        num_heads: Query heads, and as many of keys and values.
        head_dim: Width of a head.
        tokens_per_process: Block of the ring whose sequence grows with its processes.
        world_sizes: Processes of the rings; under torchrun its own number alone.
        lengths: Sequences of all methods; the rings spread each over their processes.
        block_size: Keys a block, and tokens of a feed-forward block, in the blockwise methods.
        run: The run.
    """
    heads, sizes = Heads(num_heads, num_heads, head_dim), world_sizes_here(world_sizes)
    baselines = {
        (method, length): run.once(f"{method}, {length}", baseline_peaks, method, length, heads, block_size)
        for method in run.progress(BASELINES, "baselines")
        for length in lengths
    }
    rings: dict[tuple[int, int], Peaks] = {}  # by processes and length
    for size in run.progress(sizes, "rings"):
        with LazyProcesses(size) as processes:
            for length in dict.fromkeys([size * tokens_per_process, *lengths]):
                key = f"ring of {size}, {length}"
                rings[size, length] = run.once(key, ring_peaks, processes, length, heads, block_size)
    fixed = {size: rings[size, size * tokens_per_process] for size in sizes}
    longest = max(lengths)
    together = {(size, size * tokens_per_process): peaks for size, peaks in fixed.items()}
    apart = {(size, longest): rings[size, longest] for size in sizes if (size, longest) not in together}
    rows = [baseline_row(method, longest, heads, block_size, baselines[method, longest]) for method in BASELINES]
    rows += [ring_row(*key, heads, peaks) for key, peaks in {**together, **apart}.items()]
    return Result(
        rows=rows,
        evidence={
            **evidence_of_rings(fixed, tokens_per_process, heads),
            **evidence_beside(baselines, rings, sizes, longest),
        },
        figures={"Peak activations of a layer by sequence": draw(run.figures, heads, block_size, baselines, rings)},
        fingerprints={"shapes": content_hash([num_heads, head_dim, tokens_per_process, lengths, block_size])},
    )


def baseline_peaks(method: Method, length: int, heads: Heads, block_size: int) -> Peaks:
    """Measure a layer of one process that holds the whole sequence."""
    *inputs, grad_output = drawn(0, length, heads, torch.float32)
    inputs = [tensor.requires_grad_() for tensor in inputs]
    attend = vanilla_attention if method == "vanilla" else partial(blockwise_attention, block_size=block_size)
    in_blocks = method == "blockwise_feedforward"
    with TensorMemory():  # torch loads what it keeps
        attend(*(tensor[:, :, :1] for tensor in inputs))
    return {
        **attention_peaks(lambda: attend(*inputs), inputs, grad_output),
        **feed_forward_peaks(length, heads, block_size if in_blocks else None),
    }


def ring_peaks(processes: LazyProcesses, length: int, heads: Heads, block_size: int) -> Peaks:
    """Measure a layer of a ring: each peak on the process where it is largest."""
    found = processes.run(peaks_on_rank, length, heads, block_size)
    return {name: max((rank[name] for rank in found if rank[name] is not None), default=None) for name in found[0]}


def peaks_on_rank(length: int, heads: Heads, block_size: int) -> Peaks:
    """Measure this rank's part of a layer, with a blockwise feed-forward network."""
    tokens = shard_length(length, dist.get_rank(), dist.get_world_size(), "zigzag")
    return {
        **attention_memory(length, heads, "float32", "zigzag"),
        **feed_forward_peaks(tokens, heads, block_size),
    }


def vanilla_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend causally by the whole matrix of scores."""
    scores = (query * query.shape[-1] ** -0.5) @ key.mT
    later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return torch.softmax(scores.masked_fill_(later, -torch.inf), dim=-1) @ value


def feed_forward_peaks(tokens: int, heads: Heads, block_size: int | None) -> Peaks:
    """Return peaks in bytes of a feed-forward network of width 4 h, whole or in blocks; its weights do not count."""
    hidden = heads.num_heads * heads.head_dim
    module = nn.Sequential(nn.Linear(hidden, 4 * hidden), nn.GELU(), nn.Linear(4 * hidden, hidden))
    states = torch.randn(1, tokens, hidden, requires_grad=True)
    grad_output = torch.ones_like(states)
    weights = sum(weight.nbytes for weight in module.parameters())
    with TensorMemory(states, *module.parameters()) as counted:
        counted.live_bytes -= weights  # held and taken off, lest those that an operation takes a view of count
        counted.reset_peak()
        output = module(states) if block_size is None else BlockwiseFeedForward(block_size)(module, states)
        forward = counted.peak_bytes
        counted.hold(grad_output)
        counted.reset_peak()
        torch.autograd.grad(output, states, grad_output)
        return {"feed-forward forward": forward, "feed-forward backward": counted.peak_bytes}


def baseline_row(method: Method, length: int, heads: Heads, block_size: int, peaks: Peaks) -> Row:
    """Return the row of a method on one process, beside Table 1's."""
    formula = BYTES * formula_elements(method, length, block_size, heads)
    cells = {**_measured(peaks), **_against(peaks, formula)}
    name = f"{METHOD_LABELS[method]}, {length:,} tokens"
    return Row(name=name, cells=cells, published=f"activation_sizes/{METHOD_LABELS[method]}")


def ring_row(size: int, length: int, heads: Heads, peaks: Peaks) -> Row:
    """Return the row of a ring, with its attention's peaks over six and twelve blocks."""
    block = -(-length // size)
    formula = BYTES * formula_elements("ring", length, block, heads)
    cells = {
        **_measured(peaks),
        **_against(peaks, formula),
        "over six blocks": exact_cell(over_blocks(peaks, block, heads, backward=False)),
        "backward over twelve": exact_cell(over_blocks(peaks, block, heads, backward=True)),
    }
    name = f"{METHOD_LABELS['ring']}, {size} process{'es' * (size > 1)}, {length:,} tokens"
    return Row(name=name, cells=cells, published=f"activation_sizes/{METHOD_LABELS['ring']}")


def formula_elements(method: Method, length: int, block: int, heads: Heads) -> int:
    """Return Table 1's total for a layer, in numbers."""
    hidden = heads.num_heads * heads.head_dim
    return layer_activations(
        method, batch=1, sequence=length, block=block, hidden_size=hidden, num_heads=heads.num_heads
    ).total


def over_blocks(peaks: Peaks, block: int, heads: Heads, *, backward: bool) -> float:
    """Return attention's peak over the formula: six blocks forward, twelve backward."""
    elements = ring_attention_elements(
        batch=1,
        block=block,
        num_heads=heads.num_heads,
        num_kv_heads=heads.num_kv_heads,
        head_dim=heads.head_dim,
        backward=backward,
    )
    return (peaks["backward" if backward else "forward"] or 0) / (BYTES * elements)


def layer_peak(peaks: Peaks) -> int:
    """Return the most bytes alive in any part of the layer."""
    return max(peaks[name] or 0 for name in COLUMNS.values())


def evidence_of_rings(fixed: Mapping[int, Peaks], block: int, heads: Heads) -> dict[str, Cell]:
    """Return what decides the claims on rings with a fixed block. Counts of bytes: the same in every run."""
    found = {
        "peak over six blocks": exact_cell(
            max(over_blocks(peaks, block, heads, backward=False) for peaks in fixed.values())
        )
    }
    rings = [layer_peak(peaks) for size, peaks in fixed.items() if size > 1]  # alone, nothing is under way
    if len(rings) > 1:
        found["growth of the peak at a fixed block"] = exact_cell(max(rings) / rings[0])
    return found


def evidence_beside(
    baselines: Mapping[tuple[Method, int], Peaks],
    rings: Mapping[tuple[int, int], Peaks],
    sizes: Sequence[int],
    length: int,
) -> dict[str, Cell]:
    """Return the peak of the largest ring over the smallest of the baselines', all at one length."""
    smallest = min(layer_peak(baselines[method, length]) for method in BASELINES)
    return {"ring's peak over the smallest baseline's": exact_cell(layer_peak(rings[max(sizes), length]) / smallest)}


def draw(
    folder: Path,
    heads: Heads,
    block_size: int,
    baselines: Mapping[tuple[Method, int], Peaks],
    rings: Mapping[tuple[int, int], Peaks],
) -> Path:
    """Draw measured peaks by sequence as dots, with Table 1's totals as dashed lines of the same colour."""
    figure, (axes,) = new_figure(width=7.2, height=4.4)
    curves = {
        METHOD_LABELS[method]: {length: peaks for (other, length), peaks in baselines.items() if other == method}
        for method in BASELINES
    }
    sizes = sorted({size for size, _ in rings})
    curves |= {
        f"ring of {size}": {length: peaks for (other, length), peaks in rings.items() if other == size}
        for size in sizes
    }
    methods: list[tuple[Method, int]] = [(method, 1) for method in BASELINES]
    methods += [("ring", size) for size in sizes]
    for (label, curve), (method, size) in zip(curves.items(), methods, strict=True):
        lengths = sorted(curve)
        (line,) = axes.plot(lengths, [layer_peak(curve[n]) / MEBIBYTE for n in lengths], "o-", label=label)
        blocks = [-(-n // size) if method == "ring" else block_size for n in lengths]
        formula = [
            BYTES * formula_elements(method, *pair, heads) / MEBIBYTE for pair in zip(lengths, blocks, strict=True)
        ]
        axes.plot(lengths, formula, "--", color=line.get_color(), linewidth=1)
    ticks = sorted({length for curve in curves.values() for length in curve})
    axes.set(xscale="log", yscale="log", xlabel="sequence (tokens)", ylabel="MiB per layer and process")
    axes.set_xticks(ticks, [f"{length:,}" for length in ticks])
    axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    axes.legend(fontsize=8, title="measured (dashed: Table 1)")
    return save_figure(figure, folder, "memory")


def _measured(peaks: Peaks) -> dict[str, Cell]:
    cells = {column: exact_cell((peaks[name] or 0) / MEBIBYTE, "MiB") for column, name in COLUMNS.items()}
    for direction in ("forward", "backward"):
        grown = peaks[f"{direction} growth"]
        if grown is not None:  # sampled, and blind to memory that the C library uses again
            cells[f"{direction} grew by"] = Cell(value=grown / MEBIBYTE, unit="MiB")
    return cells


def _against(peaks: Peaks, formula: int) -> dict[str, Cell]:
    peak = layer_peak(peaks)
    return {
        "peak": exact_cell(peak / MEBIBYTE, "MiB"),
        "formula": exact_cell(formula / MEBIBYTE, "MiB"),
        "peak over formula": exact_cell(peak / formula),
    }
