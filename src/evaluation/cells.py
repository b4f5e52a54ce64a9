"""Cells of numbers that know how sure they are."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped

from ..reporting import Cell
from .intervals import Interval, Scores, bootstrap_interval, paired_bootstrap_interval, t_interval

PERCENT = 100.0


def exact_cell(value: float, unit: str | None = None) -> Cell:
    """Return a counted or computed number, whose interval is itself: nothing about it is uncertain."""
    return Cell(value=value, interval=(value, value), unit=unit)


def interval_cell(interval: Interval, unit: str | None = None) -> Cell:
    """Return a mean with its interval and the number of scores behind it."""
    return Cell(value=interval.value, n=interval.n, interval=(interval.low, interval.high), unit=unit)


def mean_cell(scores: Scores, unit: str | None = None) -> Cell:
    """Return the mean of one number a seed, or of other independent runs, with its t interval."""
    return interval_cell(t_interval(scores), unit)


def bootstrap_cell(values: Scores, unit: str | None = None) -> Cell:
    """Return the mean of one number a question, or of other cases, with its bootstrap interval."""
    return interval_cell(bootstrap_interval(values), unit)


def percent_cell(cases: Sequence[Any] | Shaped[np.ndarray, " n"]) -> Cell:
    """Return a share in percent with its bootstrap interval; no cases, no number."""
    if not len(cases):
        return Cell(n=0, unit="%")
    return bootstrap_cell(PERCENT * np.asarray(cases, dtype=float), "%")


def points_cell(ours: Scores, theirs: Scores) -> Cell:
    """Return the mean difference, question by question, in percentage points."""
    return interval_cell(
        paired_bootstrap_interval(PERCENT * np.asarray(ours, float), PERCENT * np.asarray(theirs, float)), "points"
    )
