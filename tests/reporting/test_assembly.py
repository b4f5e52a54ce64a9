import pytest

from october.errors import OctoberError
from october.reporting import Cell, Result, Row
from october.reporting.assembly import RunFacts, assemble

FACTS = RunFacts(
    table="fairness",
    size="full",
    seeds=[0, 1],
    config={"num_throws": 10},
    started="2026-01-02T03:04:05Z",
    wall_seconds=1.5,
    commit="abc",
    clean=True,
)


def test_a_result_becomes_a_record_with_verdicts(published, tmp_path):
    heads = Cell(value=0.5, n=2, interval=(0.45, 0.55))
    result = Result(
        rows=[Row(name="our coin", cells={"heads": heads}, published="a coin", status="reproduced")],
        evidence={"heads": heads, "grams": Cell(value=7.0, interval=(6.0, 8.0))},
        figures={"Heads by throw": tmp_path / "figures" / "heads.svg"},
        fingerprints={"coins": "deadbeef"},
    )
    record = assemble(result, published, FACTS)
    assert {claim.name: claim.verdict for claim in record.claims} == {"fair": "holds", "heavy": "does not hold"}
    assert [(figure.file, figure.caption) for figure in record.figures] == [("heads.svg", "Heads by throw")]
    assert (record.paper, record.table, record.columns, record.fingerprints) == (
        "coin",
        "fairness",
        ["heads"],
        {"coins": "deadbeef"},
    )
    assert (record.commit, record.clean, record.seeds, record.wall_seconds) == ("abc", True, [0, 1], 1.5)
    assert record.hardware.cores >= 1
    assert record.versions["october"]
    assert record.peak_memory_bytes > 10 * 2**20


def test_a_row_beside_nothing_is_refused(published):
    with pytest.raises(OctoberError, match="no published row 'a dice'"):
        assemble(Result(rows=[Row(name="r", cells={}, published="a dice")]), published, FACTS)


def test_doubled_rows_are_refused(published):
    rows = [Row(name="r", cells={}), Row(name="r", cells={})]
    with pytest.raises(OctoberError, match="coin/fairness: two rows are called 'r'"):
        assemble(Result(rows=rows), published, FACTS)
