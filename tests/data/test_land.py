"""The coastline: closed lines in range, around the land that one knows."""

import hashlib
from importlib.resources import files

import numpy as np
import pytest
from matplotlib.path import Path as Outline

from october.data import coastline


def test_lines_are_closed_and_in_range() -> None:
    lines = coastline()
    assert len(lines) == 127
    assert sum(map(len, lines)) == 4_575
    for line in lines:
        assert line.dtype == np.float64
        assert line.shape[1] == 2
        assert (np.abs(line) <= [180, 90]).all()
        np.testing.assert_array_equal(line[0], line[-1])


@pytest.mark.parametrize(
    ("longitude", "latitude", "on_land"),
    [(2.35, 48.85, True), (133, -25, True), (-100, 40, True), (-30, 40, False), (80, -20, False), (-150, 0, False)],
)
def test_cities_stand_on_land_and_oceans_do_not(longitude: float, latitude: float, on_land: bool) -> None:
    assert any(Outline(line).contains_point((longitude, latitude)) for line in coastline()) is on_land


def test_the_vendored_file_is_unchanged() -> None:
    content = (files("october.data") / "land_110m.json").read_bytes()
    assert hashlib.sha256(content).hexdigest() == "e09ddf304cbf3073c36a0ff88e1402fa7b75e5ead2b5ad73dc27aeba572813fe"
