"""Cells of perplexity by word, with intervals over windows.

    log-perplexity = sum of the windows' losses / sum of their words

A ratio of sums has no score of its own for each window. To first order it varies as the mean of

    z_i = ratio + (loss_i - ratio · words_i) / mean words

whose mean is the ratio itself; that is what is resampled. Windows count as independent, neighbours included.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from october.evaluation import Interval, bootstrap_interval, interval_cell, paired_test
from october.reporting import Cell

PERCENT = 100.0


def log_perplexity(losses: Sequence[float] | Float[np.ndarray, " windows"], words: Sequence[int]) -> Interval:
    """Return log-perplexity by word (nats) with its interval; of differences of losses, the difference."""
    values, counts = np.asarray(losses, dtype=np.float64), np.asarray(words, dtype=np.float64)
    ratio = values.sum() / counts.sum()
    return bootstrap_interval(ratio + (values - ratio * counts) / counts.mean())


def perplexity_cell(losses: Sequence[float], words: Sequence[int]) -> Cell:
    """Return perplexity by word."""
    found = log_perplexity(losses, words)
    return Cell(value=math.exp(found.value), n=found.n, interval=(math.exp(found.low), math.exp(found.high)))


def difference_cell(ours: Sequence[float], theirs: Sequence[float], words: Sequence[int]) -> Cell:
    """Return the difference of two log-perplexities (nats per word), window by window."""
    return interval_cell(log_perplexity(np.subtract(ours, theirs), words), "nats per word")


def p_value_cell(ours: Sequence[float], theirs: Sequence[float]) -> Cell:
    """Return the p-value of a paired permutation test over windows."""
    return Cell(value=paired_test(ours, theirs), n=len(ours))
