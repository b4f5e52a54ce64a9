"""Cells of measured numbers with their intervals."""

import math

import numpy as np

from october.evaluation import bootstrap_cell, interval_cell, paired_bootstrap_interval, paired_t_interval, t_interval
from october.evaluation.intervals import Scores
from october.reporting import Cell

LARGEST_LOSS = 20.0  # nats; a guess among all tokens of any vocabulary costs less


def share_cell(cases: Scores, less: float = 0.0) -> Cell:
    """Return the mean of many cases of 0 and 1, less a number, with its bootstrap interval; no case, no number."""
    if not len(cases):
        return Cell(n=0)
    return bootstrap_cell(np.asarray(cases, dtype=float) - less)


def difference_cell(ours: Scores, theirs: Scores, unit: str | None = None) -> Cell:
    """Return the mean of ours - theirs, pair by pair, with its t interval."""
    return interval_cell(paired_t_interval(ours, theirs), unit)


def perplexity_cell(losses: Scores) -> Cell:
    """Return the perplexity of documents of equal length from their mean losses (nats), interval over documents."""
    mean = t_interval(losses)
    if mean.n == 1:
        return Cell(value=math.exp(mean.value), n=1)
    high = math.exp(mean.high) if mean.high < LARGEST_LOSS else math.inf  # from two documents
    return Cell(value=math.exp(mean.value), n=mean.n, interval=(math.exp(mean.low), high))


def gain_cell(ours: Scores, theirs: Scores, unit: str | None = None) -> Cell:
    """Return the mean of ours - theirs over many cases, pair by pair, with its bootstrap interval."""
    return interval_cell(paired_bootstrap_interval(ours, theirs), unit)
