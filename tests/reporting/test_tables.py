import pytest

from october.errors import OctoberError
from october.reporting import Cell, Row, decide
from october.reporting.tables import (
    Line,
    best_per_table,
    circumstances,
    claims_table,
    comparison,
    headline,
    paper_claims,
    published_tables,
    summary,
    tally,
    view,
)


def test_our_rows_stand_beside_the_published_ones(record, published):
    shown = view(record, published)
    assert shown.columns == ["heads", "weight (g)", "spins"]
    assert shown.lines == [
        Line("ours", "our coin", "", ["0.51 ± .02", "7.50", "–"], "30", "scaled down"),
        Line("published", "a coin", "Table 1", ["0.5", "–", "12,000"], "–", "published"),
        Line("ours", "a <die>", "", ["–", "4", "–"], "–", "scaled down"),
        Line("published", "a bent coin", "Table 1, unverified", ["0.61", "–", "–"], "–", "not run"),
    ]


def test_rows_beside_the_same_published_row_stand_together(make_record, published):
    rows = [
        Row(name=name, cells={"heads": Cell(value=0.5, n=n)}, published="a coin") for name, n in (("a", 3), ("b", 7))
    ]
    rows.insert(1, Row(name="c", cells={"heads": Cell(value=0.1, n=1), "spins": Cell(value=1, n=2000)}))
    shown = view(make_record(rows=rows, columns=["heads", "spins"]), published)
    assert [line.name for line in shown.lines] == ["a", "b", "a coin", "c", "a bent coin"]
    assert [line.n for line in shown.lines] == ["3", "7", "–", "1–2,000", "–"]


def test_mixed_units_stay_in_the_cells(make_record, published):
    cells = [Cell(value=1, unit="s"), Cell(value=2, unit="ms"), Cell(value=3)]
    rows = [Row(name=str(index), cells={"time": cell}) for index, cell in enumerate(cells)]
    shown = view(make_record(rows=rows, columns=["time"]), published)
    assert shown.columns == ["time", "heads", "spins"]
    assert [line.cells[0] for line in shown.lines[:3]] == ["1 s", "2 ms", "3"]


def test_markdown_comparison(record, published):
    assert comparison(record, published).splitlines() == [
        "| row                                |      heads | weight (g) |  spins |   n | status      |",
        "| ---------------------------------- | ---------: | ---------: | -----: | --: | ----------- |",
        "| our coin                           | 0.51 ± .02 |       7.50 |      – |  30 | scaled down |",
        "| *a coin, Table 1*                  |        0.5 |          – | 12,000 |   – | published   |",
        "| a &lt;die>                         |          – |          4 |      – |   – | scaled down |",
        "| *a bent coin, Table 1, unverified* |       0.61 |          – |      – |   – | not run     |",
    ]


def test_every_unverified_number_is_marked(record, published):
    for row in published.tables[0].rows:
        row.verified = False
    published_lines = [line for line in view(record, published).lines if line.source == "published"]
    assert [line.note for line in published_lines] == ["Table 1, unverified"] * 2
    assert "0.5 (a coin, Table 1, unverified)" in summary([published], [record])
    assert "| Figure 2 (number unverified) | heads by century |" in published_tables(published)


def test_a_record_beside_a_row_that_is_gone_is_refused(record, published):
    del published.tables[0].rows[0]
    with pytest.raises(OctoberError, match="no published row 'a coin'"):
        view(record, published)


def test_summary_names_the_failing_claims(record, published):
    header, _, line = summary([published], [record]).splitlines()
    assert [cell.strip() for cell in header.strip("|").split("|")] == [
        "paper",
        "table",
        "ours",
        "run at",
        "published",
        "status",
        "claims",
    ]
    assert [cell.strip() for cell in line.strip("|").split("|")] == [
        "coin",
        "fairness",
        "our coin, heads: 0.51 ± .02",
        "full, cpu",
        "0.5 (a coin, Table 1)",
        "scaled down",
        "1 of 3 hold; **does not hold: heavy**; 1 not tested",
    ]
    assert "[On Coins & &lt;Dice>](experiments/coin/README.md)" in summary([published], [record], links=True)


def test_summary_of_nothing(published):
    assert summary([published], []) == summary([], []) == "No runs are recorded yet."


def test_claims_of_a_paper_come_in_its_order_whatever_was_judged(record, published):
    claims = paper_claims(published, [record])
    assert [(claim.name, claim.verdict) for claim in claims] == [
        ("fair", "holds"),
        ("heavy", "does not hold"),
        ("quick", "not tested at this scale"),
    ]
    assert claims[2].reason == "no record of speed judged it"
    assert tally([]) == "no claims"
    assert claims_table([]) == ""
    first = claims_table(claims).splitlines()[2]
    assert first.startswith(
        "| **holds**                    | Heads come up \\| half &lt;b>the&lt;/b> time. | Table 1   |"
    )
    assert "0.51 ± .02 (claim: > 0.4)" in first


def test_a_claim_judged_at_small_only_keeps_its_verdict(record, published):
    published.claims[0].sizes = ["small"]
    judged_at_full = record.model_copy(update={"claims": [decide(claim, {}, "full") for claim in published.claims[:2]]})
    small = record.model_copy(update={"size": "small"})
    for records in ([small, judged_at_full], [judged_at_full, small]):
        assert [claim.verdict for claim in paper_claims(published, records)][:2] == ["holds", "does not hold"]


@pytest.mark.parametrize("change", [{"margin": 0.3}, {"direction": "<"}, {"metric": "tails"}])
def test_a_claim_changed_after_the_run_is_not_judged_by_it(record, published, change):
    published.claims[0] = published.claims[0].model_copy(update=change)
    result = paper_claims(published, [record])[0]
    assert (result.verdict, result.evidence) == ("not tested at this scale", None)
    assert result.reason == "the claim was changed after the run"


def test_the_largest_then_newest_record_stands_for_a_table(make_record):
    small = make_record(size="small", started="2026-03-01T00:00:00Z")
    old, new = (make_record(started=f"2026-0{month}-01T00:00:00Z") for month in (1, 2))
    other = make_record(table="speed", size="tiny")
    for records in ([small, old, new, other], [other, new, small, old]):
        assert best_per_table(records) == [new, other]


def test_headline_falls_back_to_a_number_beside_a_published_one(make_record, published):
    rows = [
        Row(name="x", cells={"heads": Cell(value=1.0)}),
        Row(name="y", cells={"kind": Cell(value="bent"), "heads": Cell(value=2.0)}, published="a coin"),
    ]
    row, column = headline(make_record(rows=rows, columns=["kind", "heads"]), published)
    assert (row.name, column) == ("y", "heads")
    words = [Row(name="x", cells={"kind": Cell(value="bent"), "fair": Cell(value=True)})]
    assert headline(make_record(rows=words, columns=["kind", "fair"]), published) is None
    assert " –" in summary([published], [make_record(rows=words)])


def test_circumstances(make_record):
    line = circumstances(make_record())
    assert line == "size=full, 3 seeds, Abacus 3000, 2 threads, 12 min, commit 0123456789, 2026-01-02"
    dirty = circumstances(make_record(clean=False, seeds=[0]))
    assert "1 seed, " in dirty
    assert "with uncommitted changes" in dirty
    assert "no commit" in circumstances(make_record(commit=None))
