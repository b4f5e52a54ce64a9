"""Side-by-side measurements: ours against a peer, interleaved, in one run on one machine.

A file of `benchmarks/` builds its cases and hands them to `run_benchmark`, which prints a table and writes
`results/benchmarks/NAME.MACHINE.json`, one file a machine, for ratios depend on it:

    {"environment": {...}, "cases": [{"case", "ours", "peer", "unit", "ratio", "spread", "bar", "met"}]}

`ratio` is the peer's time over ours, so that higher is better. A bar is either `>=5`, "at least 5 times as good as the
peer" (ratio >= 5), or `<=1.05`, "at most 1.05 times the peer's cost" (1 / ratio <= 1.05).
"""

import gc
import json
import math
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import OctoberError
from ..files import write_whole
from .environment import commit, hardware, peak_memory_bytes, versions
from .records import Hardware
from .text import aligned

LONG_RUN_SECONDS = 10.0  # a call that takes longer is repeated only so often:
LONG_RUN_REPEATS = 3
SHORT_RUNS_SECONDS = 30.0  # shorter ones are repeated until they fill so much: one core may be slow for seconds on end,
MOST_REPEATS = 25  # where it shares its hardware; but no oftener than this
SELF_WARMED_SECONDS = 60.0  # where both calls take longer, what the first of each costs to start is lost among the rest


@dataclass(frozen=True)
class Case:
    """Two calls to time against each other.

    Attributes:
        name: What is measured, with its shape.
        ours: Our call, complete (a CUDA one ends with a synchronisation).
        peer: The peer's call for the same result.
        bar: `>=5`, `<=1.05` (see the module), or None for a number without a bar.
        unit: 's', or 'ms' to show milliseconds.
        repeats: Timed calls of each, after one untimed: at least so many, more where calls are short (up to 25 in half
            a minute), 3 where a call takes over 10 s. Where both take over a minute the first counts too.
        check: Called with both results of the first calls; raises where they differ.
        peer_settings: Version, threads and options of the peer, as favourable to it as a knowing user makes them.
    """

    name: str
    ours: Callable[[], Any]
    peer: Callable[[], Any]
    bar: str | None = ">=5"
    unit: Literal["s", "ms"] = "s"
    repeats: int = 5
    check: Callable[[Any, Any], None] | None = None
    peer_settings: str = ""


@dataclass(frozen=True)
class Measured:
    """Two numbers measured elsewhere (bytes, tokens per second), to compare under a bar.

    Attributes:
        name: What is measured.
        ours: Our number.
        peer: The peer's, or the formula's, or the bound's.
        unit: Unit of both.
        bar: As in `Case`.
        better: Whether a lower number is better (cost: ratio = peer / ours) or a higher one (rate: ours / peer).
        peer_settings: As in `Case`.
        spread: The least and the largest ratio of rounds measured in turn, where both numbers are medians of such.
        repeats: Rounds.
    """

    name: str
    ours: float
    peer: float
    unit: str
    bar: str | None = None
    better: Literal["lower", "higher"] = "lower"
    peer_settings: str = ""
    spread: tuple[float, float] | None = None
    repeats: int = 1


def run_benchmark(
    name: str, cases: Sequence[Case | Measured], results: str | Path = Path("results/benchmarks")
) -> list[dict[str, Any]]:
    """Measure every case, print the table, write `results/NAME.MACHINE.json`, and return its cases.

    Args:
        name: Name of the file.
        cases: What to measure, in order.
        results: Folder of the file.

    Raises:
        OctoberError: A bar that is not `>=number` or `<=number`, fewer than one repeat, no case, or a doubled name.
    """
    _refuse(cases)
    code, clean = commit()  # before the runs: these are the files that were imported
    measured = []
    for case in cases:
        print(f"{name}: {case.name} ...", flush=True)
        measured.append(_timed(case) if isinstance(case, Case) else _compared(case))
    machine = hardware()
    environment = {
        "commit": code,
        "clean": clean,
        "hardware": machine.model_dump(),
        "versions": versions(),
        "peak_memory_bytes": peak_memory_bytes(),
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "peer_settings": {case.name: case.peer_settings for case in cases},
        "repeats": {entry["case"]: entry.pop("repeats") for entry in measured},
    }
    path = Path(results) / f"{name}.{machine_name(machine)}.json"
    write_whole(path, json.dumps({"environment": environment, "cases": measured}, indent=2) + "\n")
    print(benchmark_table(measured), f"written: {path}", sep="\n\n")
    return measured


def machine_name(machine: Hardware) -> str:
    """Return a machine's processors as they stand in a file's name: `amd_epyc`, `intel_xeon_nvidia_h200`."""
    words = re.findall(r"[a-z0-9]+", re.sub(r"\((r|tm)\)", "", f"{machine.cpu} {machine.gpu or ''}".lower()))
    return "_".join(word for word in words if word not in ("cpu", "processor")) or "unknown"


def recorded_benchmarks(folder: str | Path) -> dict[str, dict[str, Any]]:
    """Return what is written of each benchmark, its `environment` and its `cases`, by its file: `ridge.amd_epyc`.

    Raises:
        OctoberError: A file that is not a benchmark's.
    """
    found = {}
    for path in sorted(Path(folder).glob("*.json")):
        try:
            entry = json.loads(path.read_text(encoding="utf-8"))
            found[path.stem] = {"environment": dict(entry["environment"]), "cases": list(entry["cases"])}
        except (ValueError, KeyError, TypeError) as error:
            raise OctoberError(f"{path}: not a benchmark's file ({error})") from error
    return found


def benchmarks_by_name(files: str | Path, results: str | Path) -> dict[str, list[dict[str, Any]]]:
    """Return what is written of each benchmark that there is, one entry a machine.

    Args:
        files: Folder of the benchmarks themselves.
        results: Folder of what they wrote.

    Raises:
        OctoberError: As `recorded_benchmarks`.
    """
    names = [path.stem for path in sorted(Path(files).glob("*.py"))]
    recorded = recorded_benchmarks(results).items()
    return {name: [entry for place, entry in recorded if place.split(".")[0] == name] for name in names}


def benchmark_block(name: str, entries: Sequence[Mapping[str, Any]]) -> str:
    """Return a benchmark as Markdown, on every machine on which it was measured."""
    return "\n\n".join(map(_on_one_machine, entries)) or f"Not measured yet: `make benchmarks NAME={name}` does it."


def _on_one_machine(benchmark: Mapping[str, Any]) -> str:
    environment, cases = benchmark["environment"], benchmark["cases"]
    bars = [case["met"] for case in cases if case["met"] is not None]
    machine, day = environment["hardware"], environment["measured_at"][:10]
    code = environment["commit"][:10] + ("" if environment["clean"] else " with changes")
    said = f"{bars.count(True)} of {len(bars)} bars are met. Run: {machine['cpu']}, {machine['threads']} threads"
    return f"{benchmark_table(cases)}\n\n{said}, commit {code}, {day}."


def benchmark_table(cases: Sequence[dict[str, Any]]) -> str:
    """Return the cases of a benchmark as a Markdown table."""
    header = ["case", "ours", "peer", "ratio", "spread", "bar", "met"]
    rows = [
        [
            case["case"],
            f"{case['ours']:.4g} {case['unit']}",
            f"{case['peer']:.4g} {case['unit']}",
            f"{case['ratio']:.2f}",
            "{:.2f}–{:.2f}".format(*case["spread"]) if case["spread"] else "–",
            bar_text(case),
            {True: "yes", False: "NO", None: "–"}[case["met"]],
        ]
        for case in cases
    ]
    return aligned(header, rows)


def bar_text(case: Mapping[str, Any]) -> str:
    """Return what a recorded case's bar bounds beside the bar: `5.50 >= 5`, or `1.11 <= 1.15`, ours over the peer's.

    Two digits, or one more where rounding would hide on which side of the bar it is.
    """
    if case["bar"] is None:
        return "–"
    relation, number = _parsed(case["bar"])
    bounded = case["ratio"] if relation == ">=" else 1 / case["ratio"]
    hidden = (round(bounded, 2) >= number if relation == ">=" else round(bounded, 2) <= number) != case["met"]
    return f"{bounded:.{3 if hidden else 2}f} {relation} {number:g}"


def meets(bar: str, ratio: float) -> bool:
    """Tell whether a ratio meets a bar: `>=5` asks ratio >= 5, `<=1.05` asks 1 / ratio <= 1.05."""
    relation, number = _parsed(bar)
    return ratio >= number if relation == ">=" else ratio > 0 and 1 / ratio <= number


def _parsed(bar: str) -> tuple[str, float]:
    match = re.fullmatch(r"\s*(>=|<=)\s*(\d+(?:\.\d*)?|\.\d+)\s*", bar)
    if match is None:
        raise OctoberError(f"bar {bar!r} is not of the form >=5 or <=1.05")
    return match[1], float(match[2])


def _refuse(cases: Sequence[Case | Measured]) -> None:
    names = [case.name for case in cases]
    if not names or len(set(names)) < len(names):
        raise OctoberError(f"a benchmark needs cases of different names, got {names}")
    for case in cases:
        if case.bar is not None:
            _parsed(case.bar)
        if case.repeats < 1:
            raise OctoberError(f"case {case.name}: repeats={case.repeats} is less than 1")
        if isinstance(case, Measured) and not (
            case.ours > 0 and case.peer > 0 and math.isfinite(case.ours + case.peer)
        ):
            raise OctoberError(f"case {case.name}: {case.ours} and {case.peer} must be positive, finite numbers")


def _timed(case: Case) -> dict[str, Any]:
    """Warm up and check, then time both calls in turn, so that a slow minute of the machine hits both alike."""
    (our_result, our_seconds), (peer_result, peer_seconds) = _call(case.ours), _call(case.peer)
    if case.check is not None:
        case.check(our_result, peer_result)
    del our_result, peer_result
    repeats = _repeats(case, our_seconds, peer_seconds)
    pairs = [(our_seconds, peer_seconds)] if min(our_seconds, peer_seconds) > SELF_WARMED_SECONDS else []
    pairs += [_pair(case, ours_first=turn % 2 == 0) for turn in range(len(pairs), repeats)]
    ratios = [peer / ours for ours, peer in pairs]
    scale = 1000.0 if case.unit == "ms" else 1.0
    ours = statistics.median(ours for ours, _ in pairs)
    peer = statistics.median(peer for _, peer in pairs)
    spread = [min(ratios), max(ratios)] if len(ratios) > 1 else None
    return {**_entry(case, ours * scale, peer * scale, peer / ours, spread), "repeats": repeats}


def _repeats(case: Case, our_seconds: float, peer_seconds: float) -> int:
    if max(our_seconds, peer_seconds) > LONG_RUN_SECONDS:
        return min(case.repeats, LONG_RUN_REPEATS)
    in_time = SHORT_RUNS_SECONDS / max(our_seconds + peer_seconds, SHORT_RUNS_SECONDS / MOST_REPEATS)
    return max(case.repeats, int(in_time))


def _pair(case: Case, ours_first: bool) -> tuple[float, float]:
    if ours_first:
        ours = _call(case.ours)[1]
        return ours, _call(case.peer)[1]
    peer = _call(case.peer)[1]
    return _call(case.ours)[1], peer


def _call(function: Callable[[], Any]) -> tuple[Any, float]:
    gc.collect()
    started = time.perf_counter()
    result = function()
    return result, time.perf_counter() - started


def _compared(case: Measured) -> dict[str, Any]:
    ratio = case.peer / case.ours if case.better == "lower" else case.ours / case.peer
    spread = None if case.spread is None else list(case.spread)
    return {**_entry(case, case.ours, case.peer, ratio, spread), "repeats": case.repeats}


def _entry(case: Case | Measured, ours: float, peer: float, ratio: float, spread: list[float] | None) -> dict[str, Any]:
    return {
        "case": case.name,
        "ours": ours,
        "peer": peer,
        "unit": case.unit,
        "ratio": ratio,
        "spread": spread,
        "bar": case.bar,
        "met": None if case.bar is None else meets(case.bar, ratio),
    }
