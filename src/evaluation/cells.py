"""Cells of numbers that know how sure they are."""

from ..reporting import Cell
from .intervals import Interval, Scores, t_interval


def exact_cell(value: float, unit: str | None = None) -> Cell:
    """Return a counted or computed number, whose interval is itself: nothing about it is uncertain."""
    return Cell(value=value, interval=(value, value), unit=unit)


def interval_cell(interval: Interval, unit: str | None = None) -> Cell:
    """Return a mean with its interval and the number of scores behind it."""
    return Cell(value=interval.value, n=interval.n, interval=(interval.low, interval.high), unit=unit)


def mean_cell(scores: Scores, unit: str | None = None) -> Cell:
    """Return the mean of one number a seed, or of other independent runs, with its t interval."""
    return interval_cell(t_interval(scores), unit)
