"""The paper's computed tables beside the printed ones."""

from pathlib import Path

import pytest

from october.attention.ring_attention.activation_memory import METHODS
from october.attention.ring_attention.layouts import LAYOUTS
from october.errors import OctoberError
from october.experiments.ring_attention import _common, _figures, _table_3, scale
from october.experiments.ring_attention.flops import flops
from october.run import Run
from october.tracking import LocalTracker


@pytest.mark.parametrize(
    ("computed", "printed", "same"),
    [(1.04, 1.0, True), (1.05001, 1.0, False), (24.96, 24.5, False), (4681.96, 4682.0, True), (3.6, 4, True)],
)
def test_digits_are_compared_as_printed(computed: float, printed: float, same: bool) -> None:
    assert _common.same_digits(computed, printed) is same


def test_figure_5_reproduces_and_the_texts_misprint_does_not(tmp_path: Path) -> None:
    with Run(tmp_path, "ring_attention/flops", {}, LocalTracker()) as run:
        result = flops(run)
    assert result.evidence["cells of Figure 5 that agree"].bounds == (54, 54)
    assert result.evidence["cells of 13B that agree with the text's h"].value < 9
    assert [row.published for row in result.rows[:6]] == ["7B", "13B", "33B", "65B", "175B", "1TB"]
    assert result.rows[0].cells["10M"].value == pytest.approx(439.714, abs=1e-3)


def test_what_the_claims_of_scale_rest_on() -> None:
    found = {name: cell.value for name, cell in scale.evidence().items()}
    assert found["cells of Table 2 that agree"] == 8  # InfiniBand's two do not follow from F / B
    assert found["GB of layer outputs, 100M tokens"] == pytest.approx(4915.2)
    assert found["times longer than blockwise, powers of two"] == 512
    assert found["B/F of TPU v5e at 40 % utilisation"] == pytest.approx(2.4e-3, rel=0.02)  # printed 2.4


def test_table_3_by_the_model_has_every_cell() -> None:
    cells = _table_3.comparisons()
    assert len(cells) == 13 * len(METHODS)
    rows = _table_3.model_rows(cells)
    published = {row.name: row.cells for row in _common.published_table("max_context").rows}
    assert [row.published for row in rows] == list(published)
    for row in rows:
        for label in _common.METHOD_LABELS.values():
            ratio = row.cells[f"{label}, over published"].value
            assert row.cells[label].value == pytest.approx(ratio * published[row.published][label])


def test_the_model_is_within_a_factor_of_four_where_the_kept_inputs_decide() -> None:
    ratios = [cell.ratio for cell in _table_3.comparisons() if cell.method in ("blockwise_feedforward", "ring")]
    assert all(0.5 <= ratio <= 4 for ratio in ratios)


def test_an_unknown_device_gets_one_line(tmp_path: Path) -> None:
    run = Run(tmp_path, "ring_attention/scale", {}, LocalTracker())
    with pytest.raises(OctoberError, match=r"devices='A100 NVlink': there is no such \(did you mean A100 NVLink"):
        scale.scale("7B", ["A100 NVlink"], [1], 1, [1], 0.5, 2, run)


def test_the_pictures_show_the_numbers() -> None:
    panels = _figures.work_balance(64, 4).axes
    assert [panel.get_title().split(":")[0] for panel in panels] == list(LAYOUTS)
    assert panels[0].get_title().endswith(f"{904 / 520:.2f} x mean")  # of 64 * 65 / 2 pairs, the last rank has 904
    contiguous = _figures.ring_timeline(64, 4).axes[0]
    ends = [bar.get_x() + bar.get_width() for bar in contiguous.patches]
    assert max(ends) == 3 * 16**2 + 16 * 17 / 2  # the last rank's pairs, without a pause
