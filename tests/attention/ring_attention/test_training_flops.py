"""Appendix D: the cost of a longer context, and every cell of Figure 5."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from october.attention.ring_attention.training_flops import (
    BASE_CONTEXT,
    FIGURE_5_CONTEXTS,
    FIGURE_5_HIDDEN_SIZES,
    forward_flops,
    training_flops_ratio,
)
from october.errors import OctoberError
from october.reporting.published import published_of

ROW_7B = ["1.1", "1.4", "2.0", "3.1", "5.4", "10.0", "37.4", "439.7", "4682.0"]


def test_the_row_of_7b_as_printed() -> None:
    found = [training_flops_ratio(FIGURE_5_HIDDEN_SIZES["7B"], context) for context in FIGURE_5_CONTEXTS.values()]
    assert [f"{ratio:.1f}" for ratio in found] == ROW_7B


def test_every_printed_cell() -> None:
    (table,) = (table for table in published_of("ring_attention").tables if table.number == "Figure 5")
    cells = {(row.name, column): value for row in table.rows for column, value in row.cells.items()}
    assert len(cells) == 54
    for (model, column), printed in cells.items():
        found = training_flops_ratio(FIGURE_5_HIDDEN_SIZES[model], FIGURE_5_CONTEXTS[column])
        assert f"{found:.1f}" == f"{printed:.1f}", (model, column)


@given(
    hidden_size=st.integers(1, 40_000),
    multiple=st.integers(1, 40_000),
    batch=st.integers(1, 4),
    num_layers=st.integers(1, 100),
)
def test_the_ratio_is_that_of_the_flops_for_the_same_tokens(
    hidden_size: int, multiple: int, batch: int, num_layers: int
) -> None:
    context = multiple * BASE_CONTEXT
    long = forward_flops(batch=batch, sequence=context, hidden_size=hidden_size, num_layers=num_layers)
    short = forward_flops(batch=batch, sequence=BASE_CONTEXT, hidden_size=hidden_size, num_layers=num_layers)
    assert training_flops_ratio(hidden_size, context) == pytest.approx(long / (multiple * short), rel=1e-12)


def test_flops_of_one_layer_by_its_matrix_products() -> None:
    batch, sequence, hidden = 2, 12, 8
    tokens = batch * sequence
    products = [  # rows, inner, columns
        *[(tokens, hidden, hidden)] * 4,  # query, key, value and output projections
        (tokens, hidden, 4 * hidden),
        (tokens, 4 * hidden, hidden),
        *[(sequence, hidden, sequence), (sequence, sequence, hidden)] * batch,  # all heads together
    ]
    expected = sum(2 * rows * inner * columns for rows, inner, columns in products)
    assert forward_flops(batch=batch, sequence=sequence, hidden_size=hidden, num_layers=3) == 3 * expected


def test_a_size_of_zero_gets_one_line() -> None:
    with pytest.raises(OctoberError, match="context=0: must be at least 1"):
        training_flops_ratio(4096, 0)
