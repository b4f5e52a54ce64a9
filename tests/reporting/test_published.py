import pytest

from october.errors import OctoberError
from october.reporting import Published
from october.reporting.published import papers, published_of


def test_reads_what_is_written(published):
    table, row = published.row("fairness", "a coin")
    assert (table.number, row.cells, row.verified) == ("Table 1", {"heads": 0.5, "spins": 12000}, True)
    assert published.row("fairness", "heads/a bent coin")[1].verified is False
    assert published.headline == "coin/fairness"
    assert [claim.name for claim in published.claims_of("fairness")] == ["fair", "heavy"]
    assert [table.id for table in published.tables_of("fairness")] == ["heads"]
    assert [claim.verified for claim in published.claims] == [True, False, False]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("title:", "titel:", "missing key title"),
        ("    what: share of heads\n", "    what: share of heads\n    colour: red\n", "unknown key tables.0.colour"),
        ("arxiv:", "paper: coin\narxiv:", "the key 'paper' is written twice"),
        ("{heads: 0.5, spins", "{heads: 0.5, heads: 0.6, spins", "the key 'heads' is written twice"),
        ("a bent coin", "a coin", "tables.0: table heads: row 'a coin' is written 2 times"),
        ("name: heavy", "name: fair", "claim 'fair' is written 2 times"),
        ("id: time", "id: heads", "table id 'heads' is written 2 times"),
        ("[heads, spins]", "[heads, heads, spins]", "tables.0: table heads: column 'heads' is written 2 times"),
        ("    why: Centuries are not at hand.\n", "", "tables.1: table time: status not_run needs a why"),
        (
            "status: run",
            "status: ran",
            "tables.0.status: Input should be 'run', 'paper_config' or 'not_run' (got 'ran')",
        ),
        ("    experiment: coin/fairness\n", "", "tables.0: table heads: status run needs an experiment"),
        ("coin/fairness", "fairness", "experiment 'fairness' is not of the form coin/TABLE"),
        (
            "{heads: 0.61}",
            "{tails: 0.39}",
            "tables.0: table heads: row a bent coin has a cell 'tails' that is no column",
        ),
        (
            "table: speed",
            "table: coin/speed",
            "claims.2.table: give the experiment's table alone, 'speed' (got 'coin/speed')",
        ),
        ("margin: 0.4", "margin: .nan", "claims.0.margin: Input should be a finite number (got 'nan')"),
        ("sizes: [full]", "sizes: []", "claims.1.sizes: List should have at least 1 item after validation, not 0"),
        ("sizes: [full]", "sizes: [tiny]", "claims.1.sizes.0: Input should be 'small' or 'full' (got 'tiny')"),
        ('direction: "<"', "direction: below", "claims.2.direction: Input should be '>' or '<' (got 'below')"),
        ("claims:", "claims: [", "while parsing a flow"),
    ],
)
def test_mistakes_get_one_line_with_the_file(published_file, old, new, complaint):
    text = published_file.read_text()
    assert old in text
    published_file.write_text(text.replace(old, new, 1))
    with pytest.raises(OctoberError) as caught:
        Published.load(published_file)
    message = str(caught.value)
    assert message.startswith(f"{published_file}: ")
    assert "\n" not in message
    assert complaint in message


def test_a_missing_or_binary_file_gets_one_line(tmp_path):
    path = tmp_path / "published.yaml"
    with pytest.raises(OctoberError, match="No such file"):
        Published.load(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(OctoberError, match=r"published\.yaml: "):
        Published.load(path)


def test_an_unknown_published_row_names_those_there_are(published):
    with pytest.raises(OctoberError, match=r"no published row 'a dice' .*heads/a coin, heads/a bent coin"):
        published.row("fairness", "a dice")


def test_a_name_in_two_tables_needs_its_table(published_file):
    text = published_file.read_text()
    second = """\
  - id: more
    number: Table 3
    what: w
    verified: true
    experiment: coin/fairness
    status: run
    columns: [x]
    rows: [{name: a coin, cells: {x: 1}}]
"""
    published_file.write_text(text.replace("claims:\n", second + "claims:\n"))
    published = Published.load(published_file)
    with pytest.raises(OctoberError, match="2 published rows 'a coin'"):
        published.row("fairness", "a coin")
    assert published.row("fairness", "more/a coin")[0].number == "Table 3"


def test_papers_are_found_by_folder(published_file):
    assert list(papers(published_file.parent.parent)) == ["coin"]
    published_file.parent.rename(published_file.parent.with_name("dice"))
    with pytest.raises(OctoberError, match="paper 'coin' stands in the folder 'dice'"):
        papers(published_file.parent.parent.parent / "experiments")


def test_every_published_yaml_of_the_package_is_right():
    for name, published in papers().items():
        assert published_of(name) == published
