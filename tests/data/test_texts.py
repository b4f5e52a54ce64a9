"""Leads as a corpus and as held-out text; WikiText's titles as Wikipedia writes them."""

from pathlib import Path

import pytest
from datasets import Dataset

from october.data import HeldOutLeads, Leads, WikiTextArticles
from october.data.texts import as_written, is_held_out


def test_a_tenth_of_the_leads_is_held_out() -> None:
    leads, held_out = list(Leads().documents()), HeldOutLeads().load()
    assert len(leads) == 10_033
    assert len(held_out) == pytest.approx(1_003, abs=60)
    assert [lead for lead in leads if is_held_out(lead.title)] == held_out
    assert HeldOutLeads().forbidden_titles(held_out[0]) == {held_out[0].title}


def test_leads_have_nothing_added() -> None:
    bach = next(lead for lead in Leads().documents() if lead.title == "Johann Sebastian Bach")
    assert bach.text.startswith("Johann Sebastian Bach was a German composer")
    assert "\n" not in bach.text


def test_fingerprints_differ() -> None:
    assert len({Leads().fingerprint(), HeldOutLeads().fingerprint()}) == 2
    assert "CC BY-SA" in HeldOutLeads().describe()["licence"]


def test_no_article_of_wikitext_may_be_retrieved_for_any_other(tmp_path: Path) -> None:
    lines = [
        "",
        " = Spider @-@ Man = \n",
        "",
        " He spins . \n",
        "",
        " = 1 @,@ 000 ( number ) = \n",
        "",
        " It counts . \n",
    ]
    Dataset.from_dict({"text": lines}).to_parquet(tmp_path / "test.parquet")
    text = WikiTextArticles(path=str(tmp_path))
    first, second = text.load()
    assert (first.title, second.text) == ("Spider @-@ Man", "It counts .")
    assert text.forbidden_titles(first) == text.forbidden_titles(second) == {"Spider-Man", "1,000 (number)"}


@pytest.mark.parametrize(
    ("title", "written"),
    [("Robert Boulter", "Robert Boulter"), ("Kiss Kiss ( Chris Brown song )", "Kiss Kiss (Chris Brown song)")],
)
def test_titles_as_written(title: str, written: str) -> None:
    assert as_written(title) == written
