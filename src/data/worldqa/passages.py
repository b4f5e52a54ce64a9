"""Short paragraphs about countries and cities, and the facts that their sentences state.

Every fact has several wordings, and the order of the sentences varies. The passages of an entity of the test split are
worded as none of the other splits is.
"""

from collections.abc import Mapping

from ..cities import PACKAGE
from ..documents import Document
from .facts import Fact, worded
from .names import fraction, listed, split_of
from .places import CityFacts, CountryFacts


def country_passage(
    country: CountryFacts, countries: Mapping[str, CountryFacts], seed: int
) -> tuple[Document, list[Fact]]:
    """Return a country's document and the facts in it; one that is dissolved has a document without facts."""
    slots: dict[str, dict[str, str]] = {}
    if country.continent:
        slots["continent"] = {"answer": country.continent}
    if country.capital and country.capital != country.name:
        slots["capital"] = {"answer": country.capital}
    if country.currency:
        slots["currency"] = {"answer": country.currency, "code": country.currency_code}
    if country.languages:
        slots["language"] = {"answer": listed(country.languages[:4])}
    if country.neighbours:
        slots["neighbour"] = {"answer": listed([countries[code].subject for code in country.neighbours])}
    if country.area:
        slots["area"] = {"answer": f"{country.area:,}"}
    if country.population:
        slots["population"] = {"answer": f"{country.population:,}"}
    if country.former:
        slots = {"former": {}}
    sentences = _sentences("country", country.subject, split_of(country.entity, seed), country.code, slots)
    document = Document(country.id, country.name.removeprefix("The "), " ".join(sentences.values()), PACKAGE)
    return document, [] if country.former else _country_facts(country, countries, sentences)


def city_passage(city: CityFacts, countries: Mapping[str, CountryFacts], seed: int) -> tuple[Document, list[Fact]]:
    """Return a city's document and the facts in it; none are asked of a name that is ambiguous or unreadable."""
    country = countries[city.country]
    where = f"{city.state}, {country.subject}" if city.state else country.subject
    slots = {
        "country": {"answer": where},
        "population": {"answer": f"{city.population:,}"},
        "time_zone": {"answer": city.time_zone},
        "coordinates": {"latitude": _degrees(city.latitude, "NS"), "longitude": _degrees(city.longitude, "EW")},
    }
    if country.capital and city.name == country.capital:
        slots["capital_of"] = {"answer": country.subject}
    sentences = _sentences("city", city.name, split_of(city.entity, seed), city.id, slots)
    document = Document(city.id, city.name, " ".join(sentences.values()), PACKAGE)
    readable = city.name.replace("-", "").replace(" ", "").replace("'", "").isalpha()
    return document, _city_facts(city, country, sentences) if readable and not city.ambiguous else []


def _sentences(file: str, subject: str, split: str, key: str, slots: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return a sentence per fact, in their order in the paragraph; the one that names the place comes first."""
    first, *others = slots
    order = [first, *sorted(others, key=lambda kind: fraction("order", key, kind))]
    return {kind: worded(file, kind, split, key, subject=subject, **slots[kind]) for kind in order}


def _country_facts(
    country: CountryFacts, countries: Mapping[str, CountryFacts], sentences: Mapping[str, str]
) -> list[Fact]:
    neighbours = [name for code in country.neighbours for name in countries[code].answers]
    answers: dict[str, tuple[str, ...]] = {
        "continent": (country.continent,),
        "capital": (country.capital,),
        "currency": (country.currency, country.currency_code, f"{country.currency} ({country.currency_code})"),
        "language": (*country.languages[:4], listed(country.languages[:4])),
        "neighbour": (*neighbours, listed([countries[code].subject for code in country.neighbours])),
        "area": _number(country.area),
        "population": _number(country.population),
    }
    values = {"area": country.area, "population": country.population}
    return [
        Fact(
            kind=kind,
            entity=country.entity,
            subject=country.subject,
            answers=tuple(dict.fromkeys(answers[kind])),
            document=country.id,
            sentence=sentence,
            evidence="template",
            value=values.get(kind),
            target=country.code,
        )
        for kind, sentence in sentences.items()
    ]


def _city_facts(city: CityFacts, country: CountryFacts, sentences: Mapping[str, str]) -> list[Fact]:
    zone = city.time_zone
    answers: dict[str, tuple[str, ...]] = {
        "country": country.answers,
        "population": _number(city.population),
        "time_zone": tuple(dict.fromkeys([zone, zone.replace(" ", "_")])),
        "capital_of": country.answers,
    }
    kinds = {"country": "country", "population": "population", "time_zone": "time_zone", "capital_of": "capital_of"}
    return [
        Fact(
            kind=kinds[kind],
            entity=city.entity,
            subject=city.name,
            answers=answers[kind],
            document=city.id,
            sentence=sentence,
            evidence="template",
            value=city.population if kind == "population" else None,
            target=city.country,
        )
        for kind, sentence in sentences.items()
        if kind in answers
    ]


def _number(value: int | None) -> tuple[str, ...]:
    return (f"{value:,}", str(value)) if value else ()


def _degrees(angle: float, directions: str) -> str:
    return f"{abs(angle):.1f}° {directions[angle < 0]}"
