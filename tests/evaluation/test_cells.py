"""Cells carry what their intervals say."""

import pytest

from october.evaluation import exact_cell, interval_cell, mean_cell, t_interval


def test_an_exact_number_is_its_own_interval():
    cell = exact_cell(11, "tokens")
    assert (cell.value, cell.interval, cell.n, cell.unit) == (11, (11, 11), None, "tokens")


def test_means_keep_their_interval_and_their_number():
    interval = t_interval([1.0, 2.0, 4.0])
    cell = mean_cell([1.0, 2.0, 4.0], "s")
    assert cell == interval_cell(interval, "s")
    assert cell.value == pytest.approx(7 / 3)
    assert cell.interval == (interval.low, interval.high)
    assert cell.n == 3
