"""Leads, people, works, nature and places by hand: what is read from a text, and what is rightly not."""

import pytest

from october.data.worldqa.definitions import definition_facts
from october.data.worldqa.facts import Fact
from october.data.worldqa.leads import Lead
from october.data.worldqa.names import folded, fraction, listed, with_article
from october.data.worldqa.people_facts import people_facts
from october.data.worldqa.thing_facts import thing_facts

COUNTRIES = [("Egypt", ("Egypt",)), ("the United Kingdom", ("United Kingdom", "UK")), ("Niger", ("Niger",))]


def person(prose: str, description: str, title: str = "Ada Lovell") -> dict[str, Fact]:
    facts = list(people_facts(Lead(title, prose, description, "People")))
    assert len({fact.kind for fact in facts}) == len(facts)
    return {fact.kind: fact for fact in facts}


def thing(title: str, prose: str, description: str, topic: str) -> dict[str, tuple[str, ...]]:
    return {fact.kind: fact.answers for fact in thing_facts(Lead(title, prose, description, topic), COUNTRIES)}


def test_a_persons_heading_and_first_sentence() -> None:
    lead = Lead("Ada Lovell", "Ada Lovell was a German composer.", "German composer (1685–1750)", "People")
    assert lead.text == "Ada Lovell (1685–1750). Ada Lovell was a German composer."
    facts = person(lead.prose, lead.description)
    assert facts["birth_year"].answers == ("1685",)
    assert facts["death_year"].sentence == "Ada Lovell (1685–1750)."
    assert facts["nationality"].answers == ("German",)
    assert facts["occupation"].answers == ("composer", "German composer")


def test_years_before_christ_and_of_the_living() -> None:
    ancient = person("Ada Lovell was a Greek writer.", "Greek writer (384–322 BC)")
    assert ancient["birth_year"].answers == ("384 BC", "384 BCE", "384")
    assert ancient["birth_year"].value == -384
    alive = person("Ada Lovell is a Greek writer.", "Greek writer (born 1963)")
    assert alive["birth_year"].answers == ("1963",)
    assert "death_year" not in alive
    assert alive["nationality"].slots["was"] == "is"


@pytest.mark.parametrize(
    ("prose", "description", "missing"),
    [
        ("Ada Lovell was a Greek writer.", "Greek writer (c. 384–322 BC)", "birth_year"),
        ("Ada Lovell was a writer until her death in 1751.", "German writer (1685–1750)", "death_year"),
        ("Ada Lovell was a writer born in 1684.", "German writer (1685–1750)", "birth_year"),
        ("Ada Lovell was a German and French writer.", "German writer (1685–1750)", "nationality"),
        ("Ada Lovell was a German-born writer.", "German writer (1685–1750)", "nationality"),
        ("Ada Lovell was a French writer.", "German writer (1685–1750)", "nationality"),
        ("Ada Lovell was a French king.", "King of France (1685–1750)", "nationality"),
        ("Ada Lovell was a German sailor.", "German writer (1685–1750)", "occupation"),
    ],
)
def test_what_is_vague_or_contradicted_is_left_out(prose: str, description: str, missing: str) -> None:
    assert missing not in person(prose, description)


def test_every_occupation_that_the_sentence_lists_is_right() -> None:
    facts = person("Ada Lovell was a German physicist, chemist and writer.", "German chemist (1685–1750)")
    assert facts["occupation"].answers == ("chemist", "physicist", "writer", "German chemist")


def test_reigns_need_both_years_in_one_sentence() -> None:
    facts = person(
        "Louis was King of Burgundy from 1174 until his death in 1189.", "King of Burgundy from 1174 to 1189"
    )
    assert facts["reign_begin"].answers == ("1174",)
    assert facts["reign_end"].slots["office"] == "King of Burgundy"
    assert person("Louis was King of Burgundy from 1175.", "King of Burgundy from 1174 to 1189") == {}
    assert person("The war was from 1174 to 1189.", "Conflict from 1174 to 1189") == {}


def test_one_nobel_prize_is_told_and_two_are_not() -> None:
    prose = "Ada Lovell was a German writer. She received the 1970 Nobel Prize in Literature."
    facts = person(prose, "German writer (1905–1990)")
    assert facts["nobel_prize"].answers[0] == "Literature"
    assert facts["nobel_year"].answers == ("1970",)
    twice = prose + " She won the 1971 Nobel Prize in Physics."
    assert not {"nobel_prize", "nobel_year"} & set(person(twice, "German writer (1905–1990)"))


def test_works() -> None:
    facts = thing("The Sea (novel)", "The Sea is a 1901 novel by Ada Lovell.", "1901 novel by Ada Lovell", "Arts")
    assert facts["creator"] == ("Ada Lovell", "Lovell")
    assert facts["work_year"] == ("1901",)
    full = thing("Sea Suite", "Sea Suite is an opera by Ada Maria Lovell.", "1741 opera by Lovell", "Arts")
    assert full == {"creator": ("Ada Maria Lovell", "Lovell")}


def test_events_and_foundings() -> None:
    war = thing("Salt War", "The Salt War was fought from 1540 to 1542.", "1540–1542 war in Umbria", "History")
    assert war == {"begin_year": ("1540",), "end_year": ("1542",)}
    assert thing("Salt War", "The war of 1540, 1541 and 1542.", "1540–1542 war in Umbria", "History") == {}
    club = "Acme is a club. It was founded in 1907 by miners."
    assert thing("Acme", club, "Football club", "Everyday life") == {"founded": ("1907",)}
    assert thing("Acme", "Acme is a club. Its rival was founded in 1907.", "Football club", "Everyday life") == {}


def test_living_things_and_elements() -> None:
    topic = "Biology and health sciences"
    plant = "The hop is a species of flowering plant in the family Cannabaceae, native to Europe."
    assert thing("Hop", plant, "Species of flowering plant", topic) == {
        "family": ("Cannabaceae",),
        "native": ("Europe",),
        "category": ("flowering plant", "plant"),
    }
    two = "The hop is in the family Cannabaceae, and not in the family Rosaceae."
    assert "family" not in thing("Hop", two, "Plant", topic)
    tin = "Tin is a chemical element; it has symbol Sn and atomic number 50."
    assert thing("Tin", tin, "Element", "Physical sciences") == {"chemical_symbol": ("Sn",), "atomic_number": ("50",)}


def test_places() -> None:
    facts = thing("Luxor", "Luxor is a city in Upper Egypt.", "City in Egypt", "Geography")
    assert facts == {"country": ("Egypt",)}
    nigeria = thing("Jos", "Jos is a city in Nigeria.", "City in Nigeria", "Geography")
    assert nigeria == {}  # 'Niger' is not in 'Nigeria'
    capital = "Belém is the capital and largest city of the state of Pará in the North of Brazil."
    assert thing("Belém", capital, "Capital of Pará, Brazil", "Geography") == {"capital_of": ("Pará",)}


def test_descriptions_that_tell_their_term() -> None:
    leads = [
        Lead("Angiology", "Angiology is the study of vascular disease.", "Medicine dealing with vascular disease", "x"),
        Lead("Rosaceae", "Rosaceae is a family.", "Family of flowering plants", "x"),
        Lead("Vascular tissue", "Vascular tissue is tissue.", "Complex conducting vascular tissue of plants", "x"),
        Lead("Left", "Left is one side.", "Side of the body opposite right", "x"),
        Lead("Sinister", "Sinister is a side.", "Side of the body opposite right", "x"),
    ]
    (fact,) = definition_facts(leads)
    assert fact.answers == ("Angiology",)
    assert fact.slots["description"] == "Medicine dealing with vascular disease"


def test_names() -> None:
    assert folded("The Dão (wine)") == "dao"
    assert folded("Xi'an") == folded("Xian") == "xian"
    assert folded("Ōta") == "ota"
    assert folded("道") == "道"
    assert with_article("The Netherlands") == "the Netherlands"
    assert with_article("Norway") == "Norway"
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert 0 <= fraction("x") < 1
    assert fraction("x", "y") != fraction("xy")


def test_a_subject_within_a_sentence() -> None:
    def subject(title: str, prose: str) -> str:
        return Lead(title, prose, "", "x").subject

    assert subject("Emu", "The emu is a bird. Another emu ran.") == "the emu"
    assert subject("Boxer Rebellion", "The Boxer Rebellion was an uprising.") == "the Boxer Rebellion"
    assert subject("Mount Fuji", "Mount Fuji is a volcano.") == "Mount Fuji"
    assert subject("Granite", "Granite is a rock; some granite is red.") == "granite"
    assert subject("Bee", "Bees are insects; most bees are solitary.") == "bees"
