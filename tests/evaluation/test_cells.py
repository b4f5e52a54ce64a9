"""Cells carry what their intervals say."""

import pytest

from october.evaluation import (
    bootstrap_interval,
    exact_cell,
    interval_cell,
    mean_cell,
    paired_bootstrap_interval,
    percent_cell,
    points_cell,
    t_interval,
)


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


def test_shares_are_percent_and_nothing_measured_is_no_number():
    cell = percent_cell([True, False, False, True])
    assert (cell.value, cell.n, cell.unit) == (50, 4, "%")
    assert cell == interval_cell(bootstrap_interval([100, 0, 0, 100]), "%")
    assert (percent_cell([]).value, percent_cell([]).n) == (None, 0)


def test_differences_are_paired_and_in_points():
    ours, theirs = [1, 1, 0, 1], [0, 1, 0, 0]
    cell = points_cell(ours, theirs)
    assert (cell.value, cell.n, cell.unit) == (50, 4, "points")
    both = paired_bootstrap_interval([100, 100, 0, 100], [0, 100, 0, 0])
    assert cell.bounds == (both.low, both.high)
