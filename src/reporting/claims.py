"""The verdict on a claim: where the measured 95 % interval lies relative to the margin that was fixed beforehand."""

from collections.abc import Mapping

from ..errors import OctoberError
from .published import Claim
from .records import Cell, ClaimResult, Size, Verdict


def decide(
    claim: Claim, evidence: Mapping[str, Cell], size: Size, undecided: Mapping[str, str] | None = None
) -> ClaimResult:
    """Judge a claim `metric > margin` (or `<`) by the 95 % interval of its metric.

    - holds: every point of the interval agrees with the claim;
    - does not hold: no point does (an interval that ends exactly on the margin agrees with the contrary there);
    - undecided: some do, or a value without an interval, or the run says that its value must decide nothing;
    - not tested at this scale: no evidence, or a size at which the claim may not be judged.

    Args:
        claim: What is claimed.
        evidence: By metric.
        size: Of the run.
        undecided: By metric, why its evidence must decide nothing.

    Raises:
        OctoberError: The evidence is not a number.
    """
    cell = evidence.get(claim.metric)
    if size not in claim.sizes:
        return _result(claim, None, "not tested at this scale", f"judged at size={' or '.join(claim.sizes)} only")
    if cell is None or cell.value is None:
        return _result(claim, None, "not tested at this scale", f"this run measured no {claim.metric}")
    if isinstance(cell.value, str | bool):
        raise OctoberError(
            f"evidence {claim.metric}: {cell.value!r} is not a number, so claim {claim.name} cannot be judged"
        )
    if undecided and claim.metric in undecided:
        return _result(claim, cell, "undecided", undecided[claim.metric])
    if cell.interval is None:
        return _result(claim, cell, "undecided", "no interval was measured")
    return _result(claim, cell, *_place(claim, *cell.bounds))


def _place(claim: Claim, low: float, high: float) -> tuple[Verdict, str]:
    margin = f"{claim.margin:g}"
    if claim.direction == "<":  # the mirror image of '>'
        low, high, bound = -high, -low, -claim.margin
        beyond, short = "below", "at or above"
    else:
        bound = claim.margin
        beyond, short = "above", "at or below"
    if low > bound:
        return "holds", f"the whole 95 % interval is {beyond} {margin}"
    if high <= bound:
        return "does not hold", f"the whole 95 % interval is {short} {margin}"
    return "undecided", f"the 95 % interval spans {margin}"


def _result(claim: Claim, evidence: Cell | None, verdict: Verdict, reason: str) -> ClaimResult:
    return ClaimResult(
        name=claim.name,
        statement=claim.statement,
        where=claim.where,
        metric=claim.metric,
        direction=claim.direction,
        margin=claim.margin,
        verdict=verdict,
        evidence=evidence,
        reason=reason,
    )
