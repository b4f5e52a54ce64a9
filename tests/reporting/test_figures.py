import subprocess
import sys

import numpy as np
import pytest

from october.reporting import figures, save_figure
from october.reporting.figures import PALETTE, house_style, line_with_band, new_figure


def drawing(points=5):
    figure, (axes,) = new_figure()
    x = np.arange(points, dtype=float)
    line_with_band(axes, x, x**2, x**2 - 1, x**2 + 1, "squares")
    axes.legend()
    return figure


def test_the_same_numbers_give_the_same_bytes(tmp_path):
    first, second = (save_figure(drawing(), tmp_path / folder, "squares") for folder in "ab")
    assert first == tmp_path / "a" / "squares.svg"
    assert first.read_bytes() == second.read_bytes()
    text = first.read_text()
    assert "<dc:date>" not in text
    assert "<dc:creator>" not in text  # it would change with matplotlib's version


def test_a_drawing_too_large_for_svg_becomes_a_png_and_replaces_it(tmp_path, monkeypatch):
    svg = save_figure(drawing(), tmp_path, "squares")
    monkeypatch.setattr(figures, "LARGEST_SVG_BYTES", 100)
    png = save_figure(drawing(), tmp_path, "squares")
    assert png == svg.with_suffix(".png")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert not svg.exists()
    again = save_figure(drawing(), tmp_path / "again", "squares")
    assert again.read_bytes() == png.read_bytes()


def test_a_line_and_its_band_share_a_colour():
    figure = drawing()
    axes = figure.axes[0]
    line, band = axes.lines[0], axes.collections[0]
    assert line.get_color() == PALETTE[0]
    np.testing.assert_allclose(band.get_facecolor()[0][:3], [0, 0x72 / 255, 0xB2 / 255])
    np.testing.assert_array_equal(line.get_ydata(), [0, 1, 4, 9, 16])
    corners = band.get_paths()[0].vertices
    assert (corners[:, 1].min(), corners[:, 1].max()) == (-1, 17)


def test_axes_come_row_by_row():
    _, axes = new_figure(2, 3)
    places = [(cell.get_subplotspec().rowspan.start, cell.get_subplotspec().colspan.start) for cell in axes]
    assert places == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]


def test_the_style_stays_inside():
    import matplotlib

    before = matplotlib.rcParams["axes.grid"]
    with house_style():
        assert matplotlib.rcParams["axes.grid"] is True
    assert matplotlib.rcParams["axes.grid"] == before


def luminance(colour):
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("colour", PALETTE)
def test_every_colour_is_seen_on_white(colour):
    assert 1.05 / (luminance(colour) + 0.05) > 2


def test_drawing_needs_no_display(tmp_path):
    code = (
        "from october.reporting.figures import new_figure, save_figure;"
        f"f, (a,) = new_figure(); a.plot([1, 2]); save_figure(f, {str(tmp_path)!r}, 'f')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PATH": "", "HOME": str(tmp_path)})
    assert (tmp_path / "f.svg").exists()
