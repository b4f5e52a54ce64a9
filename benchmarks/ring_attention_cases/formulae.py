"""Ours against its own formulae: traffic, error, memory, balance, and the window's share of pairs."""

import itertools
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

from shared_cases.dtypes import dtypes
from shared_cases.timing import seconds_of, spread_of

from october.attention.processes import Processes
from october.attention.ring_attention import Layout
from october.attention.ring_attention.activation_memory import ring_attention_elements
from october.attention.ring_attention.layouts import LAYOUTS
from october.attention.ring_attention.work_balance import attended_pairs
from october.experiments.ring_attention._ring_common import QUANTITIES, Heads, attention_memory
from october.experiments.ring_attention.exactness import mean_errors
from october.reporting.benchmarks import Measured
from ring_attention_cases.tasks import HEADS, Task, forget, step, timeline, traffic

SMALL_HEADS = Heads(num_heads=2, num_kv_heads=2, head_dim=64)  # where eight processes share two cores
WINDOW, WINDOW_LENGTH = 2048, 32768
TRAFFIC_LENGTH, BALANCE_LENGTH = 8192, 16384
TOKENS_A_PROCESS = 4096  # where memory is measured; shorter shards travel whole
RING_SIZES = (1, 2, 4, 8)
MEMORY_SIZES = (*RING_SIZES, 16)
WAYS = ("forward", "backward")
PIECES_LENGTH, FEW_PIECES = 8192, 4  # of the shortest shard that travels in pieces: as chosen against a few long ones
ERROR_LENGTH, ERROR_SEEDS = 2048, (0, 1, 2)


def window_cases(ring: Processes, divisor: int) -> list[Measured]:
    """Return the window's time against its share of pairs at the full causal rate."""
    length, window = WINDOW_LENGTH // divisor, WINDOW // divisor
    windowed, full = Task("ring", length, layout="contiguous", window=window), Task("ring", length)
    share = float(attended_pairs(length, 1, "contiguous", window).sum() / attended_pairs(length, 1, "contiguous").sum())
    name = f"window of {window:,}, float32, S = {length:,}: against its share of pairs at the full causal rate"
    settings = "ours, causal without a window, zigzag, times the share; medians of interleaved runs"
    return [seconds_case(name, ring, (windowed, full), share, "<=1.25", settings)]


def pieces_cases(ring: Processes, divisor: int) -> list[Measured]:
    """Return what the small pieces cost, with which memory does not grow with the processes."""
    length, cases = PIECES_LENGTH // divisor, []
    for dtype in dtypes():
        small, long = (Task("ring", length, dtype, num_pieces=pieces) for pieces in (None, FEW_PIECES))
        name = f"causal, {dtype}, S = {length:,}, 2 processes: pieces as chosen against {FEW_PIECES}"
        cases.append(seconds_case(name, ring, (small, long), 1.0, None, "ours; medians of interleaved runs"))
    return cases


def seconds_case(
    name: str, ring: Processes, tasks: tuple[Task, Task], share: float, bar: str | None, settings: str
) -> Measured:
    """Return one task's seconds against a share of another's."""
    ours, whole = interleaved(*(partial(ring.run, step, task) for task in tasks))
    bound = [seconds * share for seconds in whole]
    for task in tasks:
        ring.run(forget, task)
    return Measured(
        name=name,
        ours=statistics.median(ours),
        peer=statistics.median(bound),
        unit="s",
        bar=bar,
        peer_settings=settings,
        spread=spread_of(ours, bound),
        repeats=len(ours),
    )


def traffic_cases(pool: Processes, divisor: int) -> list[Measured]:
    """Return bytes sent in a forward and backward pass against the formula; they must be equal."""
    windows, cases = (WINDOW // divisor, None), []
    short = [(TRAFFIC_LENGTH // divisor, layout, window) for window in windows for layout in LAYOUTS]
    for length, layout, window in [(WINDOW_LENGTH // divisor, "contiguous", windows[0]), *short]:
        task = Task("ring", length, layout=layout, window=window)
        sent, formula = sum(pool.run(traffic, task)), traffic_formula(length, pool.world_size, layout, window)
        assert sent == formula, f"{task}: {sent} bytes were sent, the formula has {formula}"
        what = "causal" if window is None else f"window of {window:,}"
        name = f"bytes sent by {pool.world_size} processes, {what}, {layout}, S = {length:,}"
        cases.append(Measured(name=name, ours=sent, peer=formula, unit="B", bar="<=1", peer_settings="the formula"))
        pool.run(forget, task)
    return cases


def traffic_formula(length: int, world_size: int, layout: Layout, window: int | None) -> int:
    """Return the bytes of a step in float32: keys and values to all in reach, twice; their gradients home, once.

    The sequence lies in chunks, one a rank (contiguous) or two (zigzag). Of a chunk, the ranks after it need the tokens
    that the window sees from the next chunk of another rank. A rank sends what another needs as one message to all of
    them. In a striped layout the ranks after it hold the next tokens, so that all but the last one are needed.
    """
    a_token = 2 * HEADS.num_kv_heads * HEADS.head_dim * 4
    reach = length if window is None else window - 1
    if layout == "striped":
        return 3 * a_token * (length - 1) * min(world_size - 1, reach)
    owners = [*range(world_size), *(reversed(range(world_size)) if layout == "zigzag" else ())]
    chunk = length // len(owners)
    total = 0
    for rank in range(world_size):
        receivers, tokens = set(), 0
        for place in (place for place, owner in enumerate(owners) if owner == rank):
            after = [(reach - gap * chunk, owner) for gap, owner in enumerate(owners[place + 1 :]) if owner != rank]
            receivers |= {owner for seen, owner in after if seen > 0}
            tokens += max((min(chunk, seen) for seen, _ in after if seen > 0), default=0)
        total += tokens * len(receivers)
    return 3 * a_token * total


def error_cases() -> list[Measured]:
    """Return how much larger the error of each quantity against float64 is in a ring than in one process."""
    errors = {
        size: mean_errors(size, ("float32", "bfloat16"), ERROR_LENGTH, SMALL_HEADS, ERROR_SEEDS) for size in RING_SIZES
    }
    cases, settings = [], f"largest error, mean of {len(ERROR_SEEDS)} seeds, S = {ERROR_LENGTH:,}, zigzag, causal"
    for dtype in ("float32", "bfloat16"):
        for size, name in itertools.product(RING_SIZES[1:], QUANTITIES):
            cases.append(
                Measured(
                    name=f"error of the {name} against float64, {dtype}: {size} processes against 1",
                    ours=errors[size][dtype][name],
                    peer=errors[1][dtype][name],
                    unit="of the largest value",
                    bar="<=1.5",
                    peer_settings=settings,
                )
            )
    return cases


def memory_cases(divisor: int) -> list[Measured]:
    """Return peaks of live tensor bytes against the formula, and the peak's growth with the number of processes."""
    tokens = TOKENS_A_PROCESS // divisor
    peaks = {size: largest_peaks(size, tokens) for size in MEMORY_SIZES}
    cases = [peak_case(way, tokens, size, found) for size, found in peaks.items() for way in WAYS]
    for way in WAYS:
        name = f"peak live tensor bytes, {way}, {tokens:,} tokens a process"
        cases += [
            growth_case(name, way, peaks, (16, 8), "<=1.01", "constant, though the sequence has doubled"),
            growth_case(name, way, peaks, (8, 2), "<=1.1", "of two, one needs half of the other's keys only"),
            growth_case(name, way, peaks, (8, 1), "<=1.1", "one alone has nothing under way"),
        ]
    return cases


def largest_peaks(size: int, tokens: int) -> dict[str, Any]:
    """Return the most bytes alive on any of some processes, and the growth of the first one's anonymous memory."""
    with Processes(size) as pool:
        found = pool.run(attention_memory, tokens * size, SMALL_HEADS, "float32", "zigzag")
    return found[0] | {way: max(rank[way] for rank in found) for way in WAYS}  # growth is None where no system tells


def peak_case(way: str, tokens: int, size: int, found: dict[str, Any]) -> Measured:
    """Return a peak against the paper's formula."""
    grown = found[f"{way} growth"]
    return Measured(
        name=f"peak live tensor bytes, {way}, {tokens:,} tokens on each of {size}: against the formula",
        ours=found[way],
        peer=4 * formula_elements(tokens, way),
        unit="B",
        bar="<=1.2",
        peer_settings=f"six blocks forward, twelve backward; anonymous memory grew by {grown} B",
    )


def growth_case(
    name: str, way: str, peaks: dict[int, dict[str, Any]], sizes: tuple[int, int], bar: str, why: str
) -> Measured:
    """Return a peak among more processes against the one among fewer, the sequence growing with them."""
    more, fewer = sizes
    return Measured(
        name=f"{name}: {more} processes against {fewer}",
        ours=peaks[more][way],
        peer=peaks[fewer][way],
        unit="B",
        bar=bar,
        peer_settings=why,
    )


def formula_elements(tokens: int, way: str) -> int:
    """Return the paper's six blocks, or twelve in the backward pass."""
    sizes = {"num_heads": SMALL_HEADS.num_heads, "num_kv_heads": SMALL_HEADS.num_kv_heads, "head_dim": 64}
    return ring_attention_elements(batch=1, block=tokens, backward=way == "backward", **sizes)


def balance_cases(pool: Processes, divisor: int) -> list[Measured]:
    """Return the busiest process's pairs against the mean, for ring sizes by count, and its seconds in one of them."""
    length, cases = BALANCE_LENGTH // divisor, []
    for size in RING_SIZES[1:]:
        work = attended_pairs(length, size, "zigzag").sum(axis=1)
        cases.append(
            Measured(
                name=f"attended pairs, zigzag, {size} processes, S = {length:,}: busiest against the mean",
                ours=int(work.max()),
                peer=float(work.mean()),
                unit="pairs",
                bar="<=1.05",
                peer_settings="the mean over the processes",
            )
        )
    task = Task("ring", length)
    seconds = [rank["compute"] for rank in pool.run(timeline, task)]
    pool.run(forget, task)
    cases.append(
        Measured(
            name=f"seconds of work, zigzag, 2 processes, S = {length:,}: busiest against the mean",
            ours=max(seconds),
            peer=statistics.mean(seconds),
            unit="s",
            peer_settings="the mean over the processes, one step",
        )
    )
    return cases


def interleaved(ours: Callable[[], Any], peer: Callable[[], Any], repeats: int = 5) -> tuple[list[float], list[float]]:
    """Return the seconds of both calls, run in turn after an untimed call of each."""
    ours()
    peer()
    pairs = [(seconds_of(ours), seconds_of(peer)) for _ in range(repeats)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]
