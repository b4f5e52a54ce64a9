import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from october.reporting import Cell
from october.reporting.text import aligned, cell_text, duration, gibibytes, number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0, "0"),
        (34006, "34,006"),
        (0.7012, "0.701"),
        (12.345, "12.3"),
        (1587.3, "1,587"),
        (-0.98, "-0.980"),
        (0.00012345, "0.000123"),
        (0.000012345, "1.23e-05"),
        (2.5e12, "2.50e+12"),
    ],
)
def test_numbers(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, "–"),
        (Cell(), "–"),
        (Cell(value=True), "yes"),
        (Cell(value=False), "no"),
        (Cell(value="Paris"), "Paris"),
        (Cell(value=15), "15"),
        (Cell(value=7.5, unit="g"), "7.50 g"),
        (Cell(value=0.701, interval=(0.680, 0.722)), "0.70 ± .02"),
        (Cell(value=0.7, interval=(0.7 - 0.02, 0.7 + 0.02)), "0.70 ± .02"),
        (Cell(value=0.701, interval=(0.688, 0.714)), "0.701 ± .013"),
        (Cell(value=0.701, interval=(0.61, 0.72)), "0.70 [0.61, 0.72]"),
        (Cell(value=1587.3, interval=(1500, 1674.6), unit="km"), "1,587 ± 87 km"),
        (Cell(value=12.0, interval=(9.0, 15.0)), "12 ± 3"),
        (Cell(value=12.0, interval=(10.5, 13.5)), "12.0 ± 1.5"),
        (Cell(value=0.5, interval=(0.5, 0.5)), "0.500"),
        (Cell(value=0.5, interval=(-math.inf, 0.7)), "0.500 [-∞, 0.700]"),
        (Cell(value=0.5, interval=(0.2, math.inf)), "0.500 [0.200, ∞]"),
        (Cell(value=0.97, interval=(0.0, 1.94)), "1.0 ± 1.0"),
    ],
)
def test_cells(cell, text):
    assert cell_text(cell) == text


def test_a_unit_can_stand_in_the_header_instead():
    assert cell_text(Cell(value=7.5, unit="g"), unit=False) == "7.50"


finite = st.floats(-1e9, 1e9)


@settings(deadline=None, max_examples=200)
@given(low=finite, width=st.floats(1e-6, 1e6))
def test_a_symmetric_interval_shows_its_half_width_to_a_tenth_of_itself_or_better(low, width):
    high = low + width
    value = (low + high) / 2
    text = cell_text(Cell(value=value, interval=(low, high)))
    half = (high - low) / 2
    if "±" not in text:  # the interval is as narrow as floating point can tell
        assert half <= abs(value) * 1e-9 or "[" in text
        return
    shown_value, shown_half = (float(part.replace(",", "")) for part in text.split(" ± "))
    assert abs(shown_half - half) <= 0.26 * half
    assert abs(shown_value - value) <= 0.51 * half + 1e-8


def parsed(markdown):
    """The cells of a table as a Markdown reader sees them."""
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    rows, current = [], None
    for token in tokens:
        if token.type == "tr_open":
            current = []
            rows.append(current)
        elif token.type == "inline" and current is not None:
            current.append("".join(child.content for child in token.children))
    return rows


plain = st.text(st.characters(categories=["L", "N"], include_characters=" |\\<.,:!?/"), max_size=15)


@settings(deadline=None, max_examples=150)
@given(st.integers(1, 4).flatmap(lambda width: st.lists(st.lists(plain, min_size=width, max_size=width), min_size=1)))
def test_a_table_reads_back_as_it_was_written(rows):
    header = [f"column {index}" for index in range(len(rows[0]))]
    lines = aligned(header, rows)
    assert parsed(lines) == [header, *[[" ".join(cell.split()) for cell in row] for row in rows]]


def test_columns_line_up_and_numbers_stand_right():
    text = aligned(["name", "R2", "n"], [["a", "0.70 ± .02", "5"], ["longer name", "–", "12"]])
    assert text.splitlines() == [
        "| name        |         R2 |   n |",
        "| ----------- | ---------: | --: |",
        "| a           | 0.70 ± .02 |   5 |",
        "| longer name |          – |  12 |",
    ]


def test_words_that_begin_with_a_number_are_words():
    assert aligned(["claims"], [["1 of 6 hold"]]).splitlines()[1] == "| ----------- |"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (40, "40 s"), (99.4, "99 s"), (725, "12 min"), (5399, "90 min"), (9000, "2.5 h")],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_gibibytes():
    assert gibibytes(2.7 * 2**30) == "2.7 GiB"
