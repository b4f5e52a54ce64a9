"""When a ring hides its communication: seconds of work and of waiting per hop, timelines, and the minimal block.

In a hop a process works on one block while the next one travels: 4 d c² FLOPs at F a second against 2 c d w bytes at B
a second, for w bytes a number. So blocks of c = w F / (2 B) tokens and more hide their transfer (section 3; with two
bytes it is F / B). Here F is what this machine's kernel does and B is a link slowed down such that the minimal block
is the one that the config asks for; blocks around it are then tried.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from pydantic import PositiveFloat, PositiveInt

from october.attention.ring_attention import Layout, Ring, ring_attention
from october.attention.ring_attention.interconnect import DEVICES, Device, hop_cost, minimal_block
from october.attention.ring_attention.layouts import LAYOUTS
from october.attention.ring_attention.plan import Work, journey
from october.attention.ring_attention.tiles import Mask
from october.evaluation import exact_cell, mean_cell
from october.experiments.ring_attention._ring_common import Heads, LazyProcesses, drawn_shard, world_sizes_here
from october.files import content_hash
from october.reporting import Cell, Result, Row, new_figure, save_figure
from october.run import Run

Direction = Literal["forward", "backward"]
Span = list[Any]  # what, hop, start and end in seconds, as JSON gives an `Event` back
Timeline = dict[str, list[Span]]  # one process's spans by direction
BYTES = 4  # of a float32
ABOVE, BELOW = 2.0, 0.5  # blocks of so many times the minimal one and more, or less, are judged: not those in between
KEYS_AND_VALUES = "keys and values"
COLORS = {"compute": "C0", "waiting": "C3", KEYS_AND_VALUES: "C2", "gradients of keys and values": "C4"}
LANES = {"compute": -0.28, "waiting": -0.28, KEYS_AND_VALUES: 0.0, "gradients of keys and values": 0.28}  # of a process


def overlap(
    num_heads: PositiveInt,
    head_dim: PositiveInt,
    length: PositiveInt,
    world_sizes: list[PositiveInt],
    slow_world_size: PositiveInt,
    slow_minimal_block: PositiveInt,
    block_ratios: list[PositiveFloat],
    seeds: list[int],
    run: Run,
) -> Result:
    """Time every hop of rings, then of rings on a slowed link with blocks around the minimal one.

    Args:
        num_heads: Query heads, and as many of keys and values.
        head_dim: Width of a head.
        length: Of the sequence whose timelines are drawn and whose work is compared between layouts.
        world_sizes: Processes of those rings; under torchrun its own number alone.
        slow_world_size: Processes on the slowed link; best as many as there are cores.
        slow_minimal_block: Tokens of the block at which the slowed link takes as long as the work.
        block_ratios: Blocks that are tried, in units of it.
        seeds: One repetition each.
        run: The run.
    """
    heads, sizes = Heads(num_heads, num_heads, head_dim), world_sizes_here(world_sizes)
    rows, lines = minimal_block_rows(), {}
    for size in sizes:
        with LazyProcesses(size) as processes:
            for layout in LAYOUTS:
                key = f"{size} processes, {layout}"
                lines[size, layout] = run.once(key, processes.run, timeline_on_rank, length, heads, layout)
        rows += [hop_row(size, direction, lines[size, "zigzag"]) for direction in ("forward", "backward")]
        rows += [balance_row(size, layout, length, lines[size, layout]) for layout in LAYOUTS]
    blocks = [max(1, round(ratio * slow_minimal_block)) for ratio in block_ratios]
    (slow_size,) = world_sizes_here([slow_world_size])
    with LazyProcesses(slow_size) as processes:
        rate = run.once("rate of the kernel", kernel_rate, processes, max(blocks), heads)
        link = BYTES * rate / (2 * slow_minimal_block)
        shares = {
            block: [
                run.once(f"block {block}, seed {seed}", waiting_share, processes, block, heads, link) for seed in seeds
            ]
            for block in run.progress(blocks, "blocks")
        }
    rows += [slow_row(block, slow_minimal_block, slow_size, rate, link, heads, shares[block]) for block in blocks]
    rows += counted_rows(rate, link, heads, slow_minimal_block)
    return Result(
        rows=rows,
        evidence=evidence(shares, slow_minimal_block),
        figures={
            "Timeline of every process, zigzag, forward and backward": draw_timelines(
                run.figures, lines[max(sizes), "zigzag"]
            ),
            "Share of time spent waiting on a slowed link": draw_shares(
                run.figures, shares, slow_minimal_block, slow_size
            ),
        },
        fingerprints={"shapes": content_hash([num_heads, head_dim, length, blocks])},
    )


def timeline_on_rank(length: int, heads: Heads, layout: Layout) -> Timeline:
    """Return this rank's spans of work, waiting and transfers, in a causal forward and backward pass."""
    *inputs, grad_output = drawn_shard(length, heads, torch.float32, layout)
    ring = Ring()
    output = ring_attention(*inputs, ring, layout=layout)
    torch.autograd.grad(output, inputs, grad_output)  # alone: agreeing and first allocations are not what is timed
    dist.barrier()
    ring.transport.events = forward = []
    output = ring_attention(*inputs, ring, layout=layout)
    ring.transport.events = backward = []
    torch.autograd.grad(output, inputs, grad_output)
    return {"forward": [[*event] for event in forward], "backward": [[*event] for event in backward]}


def kernel_rate(processes: LazyProcesses, block: int, heads: Heads) -> float:
    """Return the FLOPs a second of a process while all compute: the fastest hop of a ring on its usual link."""
    lines = [spans for _ in range(3) for spans in processes.run(forward_on_rank, block, heads, None)]
    flops = hop_cost(block, num_heads=heads.num_heads, head_dim=heads.head_dim).flops
    return float(flops / min(end - start for spans in lines for what, _, start, end in spans if what == "compute"))


def waiting_share(processes: LazyProcesses, block: int, heads: Heads, bytes_per_second: float) -> float:
    """Return the share of a forward pass that the process which waits longest spends waiting."""
    return max(share_of(spans) for spans in processes.run(forward_on_rank, block, heads, bytes_per_second))


def forward_on_rank(block: int, heads: Heads, bytes_per_second: float | None) -> list[Span]:
    """Return this rank's spans in a forward pass without a mask, blocks travelling whole as in the paper."""
    *inputs, _ = drawn_shard(block * dist.get_world_size(), heads, torch.float32, "contiguous")
    ring = Ring(num_pieces=1, bytes_per_second=bytes_per_second)
    with torch.no_grad():
        ring_attention(*inputs, ring, causal=False, layout="contiguous")
        dist.barrier()
        ring.transport.events = events = []
        ring_attention(*inputs, ring, causal=False, layout="contiguous")
    return [[*event] for event in events]


def share_of(spans: Sequence[Span]) -> float:
    """Return the waiting in a pass over its duration."""
    waiting = sum(end - start for what, _, start, end in spans if what.startswith("waiting"))
    return float(waiting / (max(span[3] for span in spans) - min(span[2] for span in spans)))


def expected_share(ratio: float, world_size: int) -> float:
    """Return the share of waiting by formula, for a block of `ratio` minimal ones.

    N rounds of work take N t; each of the N - 1 transfers takes t / ratio and is hidden up to t.
    """
    waiting = (world_size - 1) * max(0.0, 1 / ratio - 1)
    return waiting / (world_size + waiting)


def minimal_block_rows() -> list[Row]:
    """Return the minimal block of every interconnect by formula, in thousands of tokens of bfloat16."""
    return [
        Row(
            name=f"minimal block, {device.name}",
            cells={
                "minimal block": exact_cell(minimal_block(device) / 1000, "thousand"),
                "minimal block, causal": exact_cell(minimal_block(device, causal=True) / 1000, "thousand"),
            },
            published="minimal block",
        )
        for device in DEVICES.values()
    ]


def hop_row(size: int, direction: Direction, lines: Sequence[Timeline]) -> Row:
    """Return the row of a ring: a hop's mean work, the time keys are under way, and the largest share of waiting."""
    spans = [span for line in lines for span in line[direction]]
    work = [end - start for what, hop, start, end in spans if what == "compute" and hop > 0]
    under_way = [end - start for what, _, start, end in spans if what == KEYS_AND_VALUES]
    cells = {
        "work of a hop": _milliseconds(work),
        "under way": _milliseconds(under_way),
        "waiting": Cell(value=100 * max(share_of(line[direction]) for line in lines), unit="%"),
    }
    return Row(name=f"{size} process{'es' * (size > 1)}, zigzag, {direction}", cells=cells)


def balance_row(size: int, layout: Layout, length: int, lines: Sequence[Timeline]) -> Row:
    """Return a layout's row: pairs and seconds of the busiest process, both over the mean."""
    plan = journey(length, size, layout, Mask(), 1)
    pairs = [Work(plan, rank, None).num_pairs() for rank in range(size)]
    seconds = [
        sum(end - start for spans in line.values() for what, _, start, end in spans if what == "compute")
        for line in lines
    ]
    cells = {
        "pairs of the busiest": exact_cell(max(pairs) * size / sum(pairs), "x mean"),
        "seconds of the busiest": Cell(value=max(seconds) * size / sum(seconds), unit="x mean"),
        "busiest": Cell(value=max(seconds), unit="s"),
    }
    return Row(name=f"{size} process{'es' * (size > 1)}, {layout}, forward and backward", cells=cells)


def slow_row(
    block: int, minimal: int, size: int, rate: float, link: float, heads: Heads, shares: Sequence[float]
) -> Row:
    """Return the row of a block on the slowed link, what was measured beside the formula."""
    cost = hop_cost(block, num_heads=heads.num_heads, head_dim=heads.head_dim, bytes_per_element=BYTES)
    cells = {
        "over the minimal block": exact_cell(block / minimal),
        "work of a hop": Cell(value=1000 * cost.flops / rate, unit="ms"),
        "transfer of a hop": Cell(value=1000 * cost.bytes_sent / link, unit="ms"),
        "waiting": _percent(shares),
        "waiting, by formula": exact_cell(100 * expected_share(block / minimal, size), "%"),
    }
    return Row(name=f"slowed link, {size} processes, block of {block:,}", cells=cells)


def counted_rows(rate: float, link: float, heads: Heads, minimal: int) -> list[Row]:
    """Return section 3's formulae as they stand here, at the slowed link's minimal block."""
    cost = hop_cost(minimal, num_heads=heads.num_heads, head_dim=heads.head_dim, bytes_per_element=BYTES)
    here = Device("this machine", rate, link, 0, "measured; slowed down")
    return [
        Row(name="FLOPs per hop, here", cells={"count": exact_cell(cost.flops)}, published="FLOPs per hop"),
        Row(
            name="bytes per hop, here (float32)",
            cells={"count": exact_cell(cost.bytes_sent)},
            published="bytes per hop",
        ),
        Row(
            name="minimal block, here",
            cells={"minimal block": exact_cell(minimal_block(here, bytes_per_element=BYTES) / 1000, "thousand")},
            published="minimal block",
        ),
    ]


def evidence(shares: Mapping[int, Sequence[float]], minimal: int) -> dict[str, Cell]:
    """Return the shares of waiting that decide the claims: the largest above the minimal block, the least below."""
    above = [found for block, found in shares.items() if block >= ABOVE * minimal]
    below = [found for block, found in shares.items() if block <= BELOW * minimal]
    decided = {}
    if above:
        decided["share of time spent waiting, above the minimal block"] = mean_cell(
            [max(s) for s in zip(*above, strict=True)]
        )
    if below:
        decided["share of time spent waiting, below the minimal block"] = mean_cell(
            [min(s) for s in zip(*below, strict=True)]
        )
    return decided


def draw_timelines(folder: Path, lines: Sequence[Timeline]) -> Path:
    """Draw when each process works and waits, and below it when messages are under way to it."""
    from matplotlib.patches import Patch

    figure, panels = new_figure(2, 1, width=9.0, height=1.2 + 1.6 * len(lines))
    for panel, direction in zip(panels, ("forward", "backward"), strict=True):
        first = min(span[2] for line in lines for span in line[direction])
        for rank, line in enumerate(lines):
            for what, _, start, end in line[direction]:
                kind = "waiting" if what.startswith("waiting") else what
                panel.barh(rank + LANES[kind], end - start, left=start - first, height=0.26, color=COLORS[kind])
        panel.set(title=direction, ylabel="process", yticks=range(len(lines)))
        panel.invert_yaxis()
    panels[-1].set_xlabel("seconds")
    handles = [Patch(color=color, label=kind) for kind, color in COLORS.items()]
    figure.legend(handles=handles, loc="outside lower center", fontsize=8, ncols=len(COLORS))
    return save_figure(figure, folder, "timelines")


def draw_shares(folder: Path, shares: Mapping[int, Sequence[float]], minimal: int, world_size: int) -> Path:
    """Draw the share of waiting by block, in units of the minimal one, beside the formula's."""
    figure, (axes,) = new_figure()
    ratios = [block / minimal for block in shares]
    for ratio, found in zip(ratios, shares.values(), strict=True):
        axes.plot([ratio] * len(found), [100 * share for share in found], "o", color="C0")
    curve = [min(ratios) * (max(ratios) / min(ratios)) ** (step / 100) for step in range(101)]
    axes.plot(curve, [100 * expected_share(ratio, world_size) for ratio in curve], color="0.4", label="formula")
    axes.set_xscale("log", base=2)
    axes.set_xticks(ratios, [f"{ratio:g}" for ratio in ratios])
    axes.set(xlabel="block, in units of the minimal one (w F / 2B)", ylabel="time spent waiting (%)")
    axes.legend()
    return save_figure(figure, folder, "waiting")


def _percent(shares: Sequence[float]) -> Cell:
    return mean_cell([100 * share for share in shares], "%")


def _milliseconds(seconds: Sequence[float]) -> Cell:
    return Cell(value=1000 * sum(seconds) / len(seconds), n=len(seconds), unit="ms") if seconds else Cell()
