"""Everything put together: documents, facts, checks, questions."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from ..documents import Document, Question
from .definitions import definition_facts
from .facts import Fact
from .leads import Lead, load_leads
from .names import folded, fraction
from .passages import city_passage, country_passage
from .people_facts import people_facts
from .places import CityFacts, CountryFacts, load_countries_in_full, load_largest_cities
from .questions import Facts, bridges, comparisons, single_hop, yes_no
from .thing_facts import thing_facts

WORDS_PER_PASSAGE = 100  # into which documents will be cut; a gold sentence lies in one piece
# What an article's lead, which counts by another source and year, would contradict.
_COUNTED = {"population": re.compile(r"population|inhabitants|residents|people"), "area": re.compile(r"km2|square")}


@dataclass(frozen=True)
class Built:
    """The corpus and its questions."""

    documents: tuple[Document, ...]
    questions: tuple[Question, ...]


@cache
def build(seed: int) -> Built:
    """Make the documents and the questions.

    Raises:
        OctoberError: A package's file is missing or damaged.
    """
    leads, countries = load_leads(), load_countries_in_full()
    places = {lead.entity: lead.entity for lead in leads if lead.topic in ("Geography", "Uncategorized")}
    cities = load_largest_cities(places)
    passages, place_facts = _passages(countries, cities, seed)
    documents = {document.id: document for document in [*(lead.document() for lead in leads), *passages]}
    facts = _uncontradicted(place_facts, leads) + _lead_facts(leads, countries)
    everything = Facts([fact for fact in facts if _stands(fact, documents)], seed)
    questions = [*single_hop(everything), *bridges(everything), *comparisons(everything), *yes_no(everything)]
    return Built(tuple(documents.values()), tuple(_unambiguous(questions)))


def _passages(
    countries: Mapping[str, CountryFacts], cities: Sequence[CityFacts], seed: int
) -> tuple[list[Document], list[Fact]]:
    made = [country_passage(country, countries, seed) for country in countries.values()]
    made += [city_passage(city, countries, seed) for city in cities]
    names = {(city.country, folded(city.name)): city.name for city in cities}
    facts = [_with_accents(fact, names) for _, facts in made for fact in facts]
    return [document for document, _ in made], facts


def _with_accents(fact: Fact, names: Mapping[tuple[str, str], str]) -> Fact:
    """Let a capital, which GeoNames' countries have in plain letters, be answered as its city is written: 'Bogotá'."""
    name = names.get((fact.target, folded(fact.answers[0]))) if fact.kind == "capital" else None
    return replace(fact, answers=tuple(dict.fromkeys([*fact.answers, name]))) if name else fact


def _lead_facts(leads: Sequence[Lead], countries: Mapping[str, CountryFacts]) -> list[Fact]:
    """Return the facts of leads, but for those that share their name with another article."""
    counts = Counter(lead.entity for lead in leads)
    names = [
        (country.subject, country.answers)
        for country in countries.values()
        if country.population and not country.former
    ]
    facts = list(definition_facts(leads))
    for lead in leads:
        if counts[lead.entity] == 1:
            facts += [*people_facts(lead), *thing_facts(lead, names)]
    return facts


def _uncontradicted(facts: Iterable[Fact], leads: Sequence[Lead]) -> list[Fact]:
    """Return the facts about places that no lead about the same place denies."""
    prose = {lead.entity: lead.prose for lead in leads if lead.topic in ("Geography", "Uncategorized", "History")}
    return [fact for fact in facts if not _denied(fact, prose.get(fact.entity, ""))]


def _denied(fact: Fact, prose: str) -> bool:
    if fact.kind in _COUNTED:
        return _COUNTED[fact.kind].search(prose) is not None
    if fact.kind in ("country", "capital_of"):
        return bool(prose) and not any(answer in prose for answer in fact.answers)
    if fact.kind == "capital" and "capital" in prose.lower():
        return folded(fact.answers[0]) not in folded(prose)
    return False


def _stands(fact: Fact, documents: Mapping[str, Document]) -> bool:
    """Whether the sentence stands in its document, in one passage of it, and the answer in the sentence."""
    text, sentence = documents[fact.document].text, fact.sentence
    start = text.find(sentence)
    if not sentence or start < 0 or not any(answer.lower() in sentence.lower() for answer in fact.answers):
        return False
    first = len(text[:start].split())
    return first // WORDS_PER_PASSAGE == (first + len(sentence.split()) - 1) // WORDS_PER_PASSAGE


def _unambiguous(questions: Sequence[Question]) -> list[Question]:
    """Return the questions of which no other has the same words and that do not name their answer; kinds mixed."""
    counts = Counter(question.text.casefold() for question in questions)
    kept = [question for question in questions if counts[question.text.casefold()] == 1 and not _told(question)]
    return sorted(kept, key=lambda question: (fraction(question.id), question.id))


def _told(question: Question) -> bool:
    """Whether the question holds its own answer, as that for the genus of Boletus edulis would."""
    if question.kind in ("comparison", "yes_no"):
        return False
    asked = question.text.lower()
    return any(re.search(rf"\b{re.escape(answer.lower())}\b", asked) for answer in question.answers)
