"""Verdicts against the definition, read off point by point."""

import itertools
import math

import pytest

from october.errors import OctoberError
from october.reporting import Cell, decide
from october.reporting.published import Claim

GRID = [-math.inf, -2.0, -1.0, 0.0, 1.0, 2.0, math.inf]


def claim(direction=">", margin=0.0, sizes=("small", "full")):
    return Claim(
        name="c",
        statement="s",
        where="w",
        table="t",
        metric="m",
        direction=direction,
        margin=margin,
        sizes=list(sizes),
    )


def slow_verdict(low, high, direction, margin):
    """Try every quarter step of the interval, its ends included: does the claim hold there?"""
    first, last = max(low, -4.0), min(high, 4.0)
    points = [first + step / 4 for step in range(int((last - first) * 4) + 1)]
    agreeing = [point > margin if direction == ">" else point < margin for point in points]
    if all(agreeing):
        return "holds"
    return "undecided" if any(agreeing) else "does not hold"


@pytest.mark.parametrize("direction", [">", "<"])
@pytest.mark.parametrize("margin", [-1.0, 0.0, 1.0])
def test_every_position_of_interval_and_margin(direction, margin):
    seen = set()
    for low, high in itertools.combinations_with_replacement(GRID, 2):
        if low == high and math.isinf(low):
            continue
        cell = Cell(value=0.0, interval=(low, high))
        verdict = decide(claim(direction, margin), {"m": cell}, "full").verdict
        assert verdict == slow_verdict(low, high, direction, margin), (low, high)
        seen.add(verdict)
    assert seen == {"holds", "does not hold", "undecided"}


@pytest.mark.parametrize(
    ("direction", "interval", "verdict", "reason"),
    [
        (">", (0.1, 0.3), "holds", "the whole 95 % interval is above 0"),
        (">", (-0.1, 0.0), "does not hold", "the whole 95 % interval is at or below 0"),
        (">", (0.0, 0.1), "undecided", "the 95 % interval spans 0"),
        (">", (0.0, 0.0), "does not hold", "the whole 95 % interval is at or below 0"),
        ("<", (-0.3, -0.1), "holds", "the whole 95 % interval is below 0"),
        ("<", (0.0, 0.3), "does not hold", "the whole 95 % interval is at or above 0"),
    ],
)
def test_reasons(direction, interval, verdict, reason):
    result = decide(claim(direction), {"m": Cell(value=0.0, interval=interval)}, "small")
    assert (result.verdict, result.reason) == (verdict, reason)


@pytest.mark.parametrize(
    ("evidence", "size", "sizes", "reason"),
    [
        ({}, "full", ("full",), "this run measured no m"),
        ({"m": Cell(value=math.nan, interval=(0, 1))}, "full", ("full",), "this run measured no m"),
        ({"m": Cell(value=1, interval=(1, 1))}, "small", ("full",), "judged at size=full only"),
        ({"m": Cell(value=1, interval=(1, 1))}, "tiny", ("small", "full"), "judged at size=small or full only"),
    ],
)
def test_not_tested(evidence, size, sizes, reason):
    result = decide(claim(sizes=sizes), evidence, size)
    assert (result.verdict, result.reason, result.evidence) == ("not tested at this scale", reason, None)


def test_a_value_without_interval_decides_nothing():
    result = decide(claim(), {"m": Cell(value=99)}, "full")
    assert (result.verdict, result.reason) == ("undecided", "no interval was measured")


def test_a_run_may_say_why_its_value_decides_nothing():
    measured = {"m": Cell(value=99, interval=(98, 100))}
    result = decide(claim(), measured, "full", {"m": "too few were asked"})
    assert (result.verdict, result.reason, result.evidence) == ("undecided", "too few were asked", measured["m"])
    assert decide(claim(), measured, "full", {"n": "too few were asked"}).verdict == "holds"


@pytest.mark.parametrize("value", ["high", True])
def test_evidence_must_be_a_number(value):
    with pytest.raises(OctoberError, match=r"evidence m: .* is not a number"):
        decide(claim(), {"m": Cell(value=value)}, "full")


def test_a_result_carries_the_claim():
    cell = Cell(value=1.0, interval=(0.5, 1.5))
    result = decide(claim("<", 3.0), {"m": cell}, "full")
    assert (result.name, result.statement, result.where, result.metric) == ("c", "s", "w", "m")
    assert (result.direction, result.margin, result.evidence) == ("<", 3.0, cell)
