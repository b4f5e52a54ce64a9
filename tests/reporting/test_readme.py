import re

import pytest

from october.errors import OctoberError
from october.reporting.readme import readme_files, regenerated, table_block


@pytest.fixture
def readme(tmp_path):
    def write(text):
        path = tmp_path / "README.md"
        path.write_text(text)
        return path

    return write


PAGE = """# Title

<!-- results:start -->
typed by hand
<!-- results:end -->

between
<!-- table:coin/fairness:start -->
<!-- table:coin/fairness:end -->
<!-- claims:coin:start -->
<!-- claims:coin:end -->
<!-- published:coin:start -->
<!-- published:coin:end -->
the end"""


def test_parts_are_made_from_records_and_the_rest_is_left(readme, record, published):
    path = readme(PAGE)
    new = regenerated([path], {"coin": published}, [record])[path]
    assert "typed by hand" not in new
    assert new.startswith("# Title\n\n<!-- results:start -->\n\n| paper ")
    assert new.endswith("<!-- published:coin:end -->\nthe end")
    assert "\n\nbetween\n<!-- table:coin/fairness:start -->\n\n- Table 1: share of heads." in new
    assert " What differs: An ordinary coin.\n\n| row" in new
    assert "Run: size=full, 3 seeds, Abacus 3000" in new
    assert "1 of 3 hold; **does not hold: heavy**; 1 not tested.\n\n| verdict" in new
    assert "| Centuries are not at hand. |" in new
    path.write_text(new)
    assert regenerated([path], {"coin": published}, [record]) == {}


def test_a_new_record_makes_a_file_stale(readme, record, published):
    path = readme(PAGE)
    path.write_text(regenerated([path], {"coin": published}, [])[path])
    assert "Not recorded yet: `october experiment=coin/fairness` runs it." in path.read_text()
    assert "No runs are recorded yet." in path.read_text()
    assert list(regenerated([path], {"coin": published}, [record])) == [path]


BENCHMARK = {
    "environment": {
        "hardware": {"cpu": "Abacus 3000", "threads": 2},
        "commit": "0123456789abcdef",
        "clean": True,
        "measured_at": "2023-10-31T00:00:00Z",
    },
    "cases": [
        {
            "case": "toss",
            "ours": 2.0,
            "peer": 11.0,
            "unit": "s",
            "ratio": 5.5,
            "spread": [5, 6],
            "bar": ">=5",
            "met": True,
        },
        {
            "case": "fall",
            "ours": 2.0,
            "peer": 2.0,
            "unit": "s",
            "ratio": 1.0,
            "spread": None,
            "bar": ">=5",
            "met": False,
        },
        {"case": "roll", "ours": 2.0, "peer": 2.0, "unit": "s", "ratio": 1.0, "spread": None, "bar": None, "met": None},
    ],
}


def test_a_benchmark_stands_beside_its_bars(readme, published):
    path = readme("<!-- benchmark:coin:start -->\n<!-- benchmark:coin:end -->\n")
    new = regenerated([path], {}, [], {"coin": [BENCHMARK]})[path]
    assert re.search(r"\| toss +\| +2 s +\| +11 s +\| +5.50 \| 5.00–6.00 \| 5.50 >= 5 +\| yes +\|", new)
    assert re.search(r"\| fall .* NO ", new)
    assert "1 of 2 bars are met. Run: Abacus 3000, 2 threads, commit 0123456789, 2023-10-31." in new
    changed = {**BENCHMARK, "environment": {**BENCHMARK["environment"], "clean": False}}
    on_two = regenerated([path], {}, [], {"coin": [changed, BENCHMARK]})[path]
    assert "commit 0123456789 with changes, " in on_two
    assert on_two.count("1 of 2 bars are met.") == 2
    assert "Not measured yet: `make benchmarks NAME=coin` does it." in regenerated([path], {}, [], {"coin": []})[path]


def test_one_record_for_each_device_is_shown(make_record, record, published):
    gpu = record.model_copy(update={"hardware": record.hardware.model_copy(update={"gpu": "G1", "gpus": 2})})
    small = record.model_copy(update={"size": "small"})
    block = table_block(published, "fairness", [small, gpu, record])
    assert block.count("Run: ") == 2
    assert "2 x G1" in block
    assert "size=small" not in block


def test_what_a_table_prints(readme, published):
    path = readme("<!-- cells:coin/heads:start -->\n<!-- cells:coin/heads:end -->\n")
    lines = regenerated([path], {"coin": published}, [])[path].splitlines()
    assert "Table 1: share of heads." in lines
    assert [cell.strip() for cell in lines[-4].strip("|").split("|")] == ["a coin", "0.5", "12,000"]
    assert [cell.strip() for cell in lines[-3].strip("|").split("|")] == ["a bent coin", "0.61", "–"]


def test_files_without_parts_are_left_alone(readme, published):
    assert regenerated([readme("no parts, <!-- a comment -->")], {"coin": published}, []) == {}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("<!-- results:start -->\n", "<!-- results:start --> is not followed by its own end mark"),
        ("<!-- results:end -->\n", "<!-- results:end --> is not followed by its own end mark"),
        ("<!-- claims:coin:start -->\n<!-- results:end -->\n", "is not followed by its own end mark"),
        ("<!-- claims:coin:start -->\n<!-- claims:coin:start -->\n", "is not followed by its own end mark"),
        (
            "<!-- claims:dice:start -->\n<!-- claims:dice:end -->\n",
            "nothing is known to fill claims:dice with (papers: coin)",
        ),
        ("<!-- chart:coin:start -->\n<!-- chart:coin:end -->\n", "nothing is known to fill chart:coin with"),
        ("<!-- table:coin:start -->\n<!-- table:coin:end -->\n", "nothing is known to fill table:coin with"),
        ("<!-- cells:coin/x:start -->\n<!-- cells:coin/x:end -->\n", "nothing is known to fill cells:coin/x with"),
        ("<!-- cells:dice/x:start -->\n<!-- cells:dice/x:end -->\n", "nothing is known to fill cells:dice/x with"),
        ("<!-- claims:coin/x:start -->\n<!-- claims:coin/x:end -->\n", "nothing is known to fill claims:coin/x with"),
    ],
)
def test_wrong_marks_get_one_line(readme, published, text, complaint):
    path = readme(text)
    with pytest.raises(OctoberError) as caught:
        regenerated([path], {"coin": published}, [])
    assert str(caught.value).startswith(f"{path}: ")
    assert complaint in str(caught.value)


def test_readme_files(tmp_path, readme):
    assert readme_files(tmp_path) == []
    path = readme("")
    inner = tmp_path / "experiments" / "coin" / "README.md"
    inner.parent.mkdir(parents=True)
    inner.write_text("")
    assert readme_files(tmp_path) == [path, inner]
